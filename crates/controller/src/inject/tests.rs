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
    for pod in [backend(), with_override, native] {
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
