//! Injection of whole pods. `testdata/*.json` are read by people in reviews: they say what a pod looks like afterwards.

use serde_json::{Value, json};

use super::{INIT, Injected, NotInjected, OVERRIDES, PROXY, STATUS, Settings, Skipped, inject, patch};
use crate::golden;
use crate::install::values::CaptureExemption;

fn settings() -> Settings {
    Settings {
        trust_domain: Some("cluster.local".to_owned()),
        ..Settings::default()
    }
}

/// The pod of the article's first Deployment, as its ReplicaSet makes it.
fn backend() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "backend-0-6d4cf56db6-",
            "labels": {"app": "backend", "version": "0", "pod-template-hash": "6d4cf56db6"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "backend-0-6d4cf56db6",
                                 "controller": true}],
        },
        "spec": {
            "containers": [{"name": "echo", "image": "h3poteto/playground-echo-go:master",
                            "ports": [{"containerPort": 8080, "name": "http"}]}],
            "serviceAccountName": "default",
        },
    })
}

fn annotated(name: &str, value: &str) -> Value {
    let mut pod = backend();
    pod["metadata"]["annotations"][name] = value.into();
    pod
}

fn injected(pod: &Value, settings: &Settings) -> Injected {
    inject(pod, "istio-http-example", settings).unwrap()
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let items = pod["spec"][list].as_array().into_iter().flatten();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

fn container<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    pod["spec"][list]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["name"] == name)
        .unwrap()
}

#[test]
fn the_articles_pod_gets_capture_and_sidecar() {
    let result = injected(&backend(), &settings());
    assert_eq!(result.warnings, Vec::<String>::new());
    golden::check("inject/testdata/backend.json", &result.pod);
}

/// One probe or hook of each kind, and what cannot be turned.
fn probed() -> Value {
    let mut pod = backend();
    pod["spec"]["initContainers"] = json!([{
        "name": "helper", "image": "x", "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": 9092}, "failureThreshold": 60},
        "livenessProbe": {"tcpSocket": {"port": 9092}},
    }]);
    let echo = &mut pod["spec"]["containers"][0];
    echo["readinessProbe"] = json!({
        "httpGet": {"path": "/ready?deep", "port": "http", "scheme": "HTTPS",
                    "httpHeaders": [{"name": "Host", "value": "example.com"}]},
        "timeoutSeconds": 3, "periodSeconds": 5,
    });
    echo["livenessProbe"] = json!({"grpc": {"port": 9091, "service": "shop"}, "timeoutSeconds": 1});
    echo["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["true"]}},
        "preStop": {"httpGet": {"path": "/stop", "port": 8080}},
    });
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "other", "image": "x",
        "readinessProbe": {"httpGet": {"port": "nameless"}},
        "livenessProbe": {"httpGet": {"port": 80, "host": "10.0.0.1"}},
        "startupProbe": {"httpGet": {"port": 15020, "path": "/healthz/ready"}},
    }));
    pod
}

#[test]
fn probes_and_hooks_are_turned_to_the_sidecar() {
    let result = injected(&probed(), &settings());
    golden::check("inject/testdata/probes.json", &result.pod);
}

#[test]
fn the_beginning_of_an_init_container_waits_for_no_sidecar_that_comes_after_it() {
    let mut native = probed();
    native["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] = "true".into();
    for (pod, asked) in [(probed(), "tcpSocket"), (native, "httpGet")] {
        let pod = injected(&pod, &settings()).pod;
        let helper = container(&pod, "initContainers", "helper");
        assert!(helper["startupProbe"][asked].is_object(), "{helper}");
        assert!(helper["livenessProbe"]["httpGet"].is_object(), "{helper}");
    }
}

#[test]
fn probes_stay_as_they_are_where_that_is_wished() {
    let annotation = "sidecar.istio.io/rewriteAppHTTPProbers";
    let mut off = settings();
    off.values.sidecar_injector_webhook.rewrite_app_http_probe = false;
    for (wish, settings, turned) in [
        (Some("false"), &settings(), false),
        (None, &off, false),
        (Some("true"), &off, true),
    ] {
        let mut pod = probed();
        if let Some(wish) = wish {
            pod["metadata"]["annotations"][annotation] = wish.into();
        }
        let result = injected(&pod, settings);
        let (before, after) = (
            container(&pod, "containers", "echo"),
            container(&result.pod, "containers", "echo"),
        );
        assert_eq!(before != after, turned, "{wish:?}");
        let environment = container(&result.pod, "containers", PROXY)["env"]
            .as_array()
            .unwrap();
        let told = environment
            .iter()
            .any(|item| item["name"] == "ISTIO_KUBE_APP_PROBERS");
        assert_eq!(told, turned, "{wish:?}");
        assert_eq!(result.warnings, Vec::<String>::new());
    }
}

#[test]
fn probes_follow_the_status_port_and_capture_leaves_it_alone() {
    let mut pod = probed();
    pod["metadata"]["annotations"]["status.sidecar.istio.io/port"] = "15999".into();
    let pod = injected(&pod, &settings()).pod;
    let probe = &container(&pod, "containers", "echo")["readinessProbe"];
    assert_eq!(probe["httpGet"]["port"], 15999);
    let arguments = container(&pod, "initContainers", INIT)["args"]
        .as_array()
        .unwrap();
    assert!(arguments.contains(&json!("15090,15021,15999")), "{arguments:?}");
}

#[test]
fn a_container_that_came_after_the_first_injection_is_probed_by_the_second() {
    let mut once = injected(&probed(), &settings()).pod;
    once["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "late", "image": "x", "readinessProbe": {"tcpSocket": {"port": 81}},
    }));
    let twice = injected(&once, &settings()).pod;
    let environment = container(&twice, "containers", PROXY)["env"].as_array().unwrap();
    let told = environment
        .iter()
        .find(|item| item["name"] == "ISTIO_KUBE_APP_PROBERS")
        .unwrap();
    let told: Value = serde_json::from_str(told["value"].as_str().unwrap()).unwrap();
    assert_eq!(told["/app-health/late/readyz"]["tcpSocket"]["port"], 81);
    assert_eq!(told["/app-health/echo/readyz"]["httpGet"]["port"], 8080);
    assert_eq!(told.as_object().unwrap().len(), 5);
}

#[test]
fn a_native_sidecar_comes_second_among_the_init_containers() {
    let mut pod = annotated("sidecar.istio.io/nativeSidecar", "true");
    pod["spec"]["initContainers"] = json!([{"name": "migrate", "image": "x"}]);
    let pod = injected(&pod, &settings()).pod;
    assert_eq!(names(&pod, "initContainers"), [INIT, PROXY, "migrate"]);
    assert_eq!(names(&pod, "containers"), ["echo"]);
    assert_eq!(
        container(&pod, "initContainers", PROXY)["restartPolicy"],
        "Always"
    );
}

#[test]
fn without_native_sidecar_init_containers_run_before_capture() {
    let mut pod = backend();
    pod["spec"]["initContainers"] = json!([{"name": "migrate", "image": "x"}]);
    let pod = injected(&pod, &settings()).pod;
    assert_eq!(names(&pod, "initContainers"), ["migrate", INIT]);
    assert_eq!(names(&pod, "containers"), ["echo", PROXY]);
}

#[test]
fn the_mark_replaces_the_user_and_keeps_one_capability() {
    let mut settings = settings();
    settings.values.global.capture_exemption = CaptureExemption::Mark;
    let pod = injected(&backend(), &settings).pod;
    let arguments = container(&pod, "initContainers", INIT)["args"]
        .as_array()
        .unwrap()
        .clone();
    assert!(
        arguments.contains(&json!("--exempt-mark")) && !arguments.contains(&json!("-u")),
        "{arguments:?}"
    );
    let context = &container(&pod, "containers", PROXY)["securityContext"];
    assert_eq!(
        context["capabilities"],
        json!({"add": ["NET_ADMIN"], "drop": ["ALL"]})
    );
}

#[test]
fn injecting_twice_is_injecting_once() {
    let mut with_override = annotated("sidecar.istio.io/userVolume", r#"{"extra": {"emptyDir": {}}}"#);
    with_override["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .insert(
            0,
            json!({"name": PROXY, "image": "auto", "resources": {"limits": {"cpu": "1"}}}),
        );
    let native = annotated("sidecar.istio.io/nativeSidecar", "true");
    let mut native_and_probed = probed();
    native_and_probed["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] = "true".into();
    for pod in [backend(), with_override, native, probed(), native_and_probed] {
        let once = injected(&pod, &settings());
        let twice = injected(&once.pod, &settings());
        assert_eq!(once.pod, twice.pod);
        assert_eq!(patch(&once.pod, &twice), json!([]));
    }
}

#[test]
fn the_users_own_istio_proxy_container_changes_ours() {
    let mut pod = backend();
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": PROXY, "image": "auto",
        "resources": {"limits": {"cpu": "1"}},
        "env": [{"name": "TRUST_DOMAIN", "value": "other"}, {"name": "MINE", "value": "yes"}],
        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
        "terminationMessagePath": "/foo",
    }));
    let pod = injected(&pod, &settings()).pod;
    assert_eq!(names(&pod, "containers"), ["echo", PROXY]);
    let proxy = container(&pod, "containers", PROXY);
    assert_eq!(proxy["image"], "amime/proxyv2:0.0.0");
    assert_eq!(
        proxy["resources"]["limits"],
        json!({"cpu": "1", "memory": "1024Mi"})
    );
    let environment = proxy["env"].as_array().unwrap();
    let value = |name: &str| {
        environment
            .iter()
            .filter(|item| item["name"] == name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        value("TRUST_DOMAIN"),
        [&json!({"name": "TRUST_DOMAIN", "value": "other"})]
    );
    assert_eq!(value("MINE").len(), 1);
    assert_eq!(proxy["volumeMounts"].as_array().unwrap().len(), 4);
    assert_eq!(proxy["terminationMessagePath"], "/foo");
    assert!(
        pod["metadata"]["annotations"][OVERRIDES]
            .as_str()
            .unwrap()
            .contains("/foo")
    );
}

#[test]
fn without_capture_there_is_no_init_container() {
    let pod = injected(
        &annotated("sidecar.istio.io/interceptionMode", "NONE"),
        &settings(),
    )
    .pod;
    assert!(names(&pod, "initContainers").is_empty());
    assert!(
        pod["metadata"]["annotations"][STATUS]
            .as_str()
            .unwrap()
            .starts_with(r#"{"initContainers":[],"#)
    );
}

#[test]
fn traffic_annotations_become_flags() {
    let pod = annotated("traffic.sidecar.istio.io/excludeInboundPorts", "9090");
    let pod = injected(&pod, &settings()).pod;
    let arguments = container(&pod, "initContainers", INIT)["args"]
        .as_array()
        .unwrap();
    assert!(
        arguments.contains(&json!("15090,15021,15020,9090")),
        "{arguments:?}"
    );
}

#[test]
fn scraping_that_the_user_set_up_stays() {
    let pod = injected(&annotated("prometheus.io/port", "8080"), &settings()).pod;
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], "8080");
    assert!(pod["metadata"]["annotations"]["prometheus.io/path"].is_null());
}

#[test]
fn a_volume_that_the_user_named_like_ours_is_left_alone() {
    let mut pod = backend();
    pod["spec"]["volumes"] = json!([{"name": "istio-token", "emptyDir": {}}]);
    let once = injected(&pod, &settings()).pod;
    assert_eq!(
        names(&once, "volumes")
            .iter()
            .filter(|name| **name == "istio-token")
            .count(),
        1
    );
    let twice = injected(&once, &settings()).pod;
    assert_eq!(
        twice["spec"]["volumes"][0],
        json!({"name": "istio-token", "emptyDir": {}})
    );
}

#[test]
fn the_mesh_and_the_pod_both_configure_the_proxy() {
    let mut settings = settings();
    settings.proxy_config = serde_json::from_value(json!({
        "discoveryAddress": "istiod.istio-system.svc:15012", "proxyMetadata": {"A": "1", "B": "1"},
    }))
    .unwrap();
    let pod = annotated(
        "proxy.istio.io/config",
        "concurrency: 3\nproxyMetadata:\n  B: \"2\"\n",
    );
    let pod = injected(&pod, &settings).pod;
    let environment = container(&pod, "containers", PROXY)["env"]
        .as_array()
        .unwrap()
        .clone();
    let value = |name: &str| environment.iter().find(|item| item["name"] == name).unwrap()["value"].clone();
    assert_eq!((value("A"), value("B")), (json!("1"), json!("2")));
    let config: Value = serde_json::from_str(value("PROXY_CONFIG").as_str().unwrap()).unwrap();
    assert_eq!(config["concurrency"], 3);
}

#[test]
fn pods_that_are_not_injected_say_why() {
    let mut host = backend();
    host["spec"]["hostNetwork"] = true.into();
    let result = inject(&host, "shop", &settings());
    assert_eq!(result, Err(NotInjected::Skipped(Skipped::HostNetwork)));
    let broken = annotated("sidecar.istio.io/nativeSidecar", "perhaps");
    assert!(matches!(
        inject(&broken, "shop", &settings()),
        Err(NotInjected::Invalid(_))
    ));
}

#[test]
fn what_is_not_a_pod_is_refused() {
    for broken in [
        json!(null),
        json!([]),
        json!("pod"),
        json!({}),
        json!({"spec": []}),
        json!({"spec": {}, "metadata": "x"}),
        json!({"spec": {}, "metadata": {"annotations": 1}}),
    ] {
        assert!(
            matches!(inject(&broken, "shop", &settings()), Err(NotInjected::Invalid(_))),
            "{broken}"
        );
    }
    let strange = json!({"spec": {"containers": "x", "initContainers": [1], "volumes": {}}, "metadata": {"labels": null}});
    assert!(
        inject(&strange, "shop", &settings()).is_ok(),
        "the API server judges the rest"
    );
}
