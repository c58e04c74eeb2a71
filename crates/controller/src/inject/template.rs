//! What is added to a pod, as plain JSON in the order of Istio's template.
//!
//! Left out on purpose: what only Envoy and its agent read.

use serde_json::{Map, Value, json};

use super::annotations::{Capture, Probes, Wishes};
use super::owner::Owner;
use super::probes::{self, Probers};
use super::{INIT, PROXY, Settings};
use crate::install::values::{CaptureExemption, REVISION};

/// The user that capture lets pass, and the mark where users cannot tell; users' network policies know it too.
const PROXY_USER: u32 = 1337;
const TLS_MODE: &str = "security.istio.io/tlsMode";
/// Never captured: metrics and readiness, and the agent's port.
const OWN_PORTS: &str = "15090,15021";

/// Everything that the additions depend on.
pub(super) struct Subject<'a> {
    pub(super) pod: &'a Value,
    pub(super) owner: Owner,
    pub(super) wishes: &'a Wishes,
    /// What the sidecar asks the application in the kubelet's place.
    pub(super) probers: &'a Probers,
    pub(super) settings: &'a Settings,
}

/// What comes into the pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Additions {
    pub(super) labels: Map<String, Value>,
    pub(super) annotations: Map<String, Value>,
    pub(super) init: Option<Value>,
    pub(super) proxy: Value,
    pub(super) volumes: Vec<Value>,
    pub(super) image_pull_secrets: Vec<Value>,
}

pub(super) fn additions(subject: &Subject<'_>) -> Additions {
    let secrets = &subject.settings.values.global.image_pull_secrets;
    let mut volumes = volumes();
    volumes.extend(subject.wishes.volumes.iter().cloned());
    Additions {
        labels: labels(subject),
        annotations: annotations(subject),
        init: subject
            .wishes
            .capture
            .as_ref()
            .map(|capture| init_container(subject, capture)),
        proxy: proxy_container(subject),
        volumes,
        image_pull_secrets: secrets.iter().map(|name| json!({"name": name})).collect(),
    }
}

fn labels(subject: &Subject<'_>) -> Map<String, Value> {
    let label = |name: &str| subject.pod["metadata"]["labels"][name].as_str();
    let first = |names: &[&str], default: &str| {
        names
            .iter()
            .find_map(|name| label(name))
            .unwrap_or(default)
            .to_owned()
    };
    let names = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
    let revisions = [
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ];
    let mut labels = Map::new();
    labels.insert(names[0].to_owned(), first(&names, &subject.owner.name).into());
    labels.insert(revisions[0].to_owned(), first(&revisions, "latest").into());
    // By this clients know that they can speak mutual TLS with it; users may deny it.
    if let Some(promised) = label(TLS_MODE).or(subject.wishes.capture.is_some().then_some("istio")) {
        labels.insert(TLS_MODE.to_owned(), promised.into());
    }
    labels
}

fn annotations(subject: &Subject<'_>) -> Map<String, Value> {
    let mut annotations = Map::new();
    let mut put = |name: &str, value: &str| annotations.insert(name.to_owned(), value.into());
    put("istio.io/rev", REVISION);
    if let Some(first) = application_containers(subject.pod).first() {
        put("kubectl.kubernetes.io/default-container", first);
        put("kubectl.kubernetes.io/default-logs-container", first);
    }
    // Scraping is the user's where it is set up: the application's metrics are not merged into ours.
    let given = subject.pod["metadata"]["annotations"].as_object();
    if !given.is_some_and(|given| given.keys().any(|name| name.starts_with("prometheus.io/"))) {
        put("prometheus.io/scrape", "true");
        put("prometheus.io/port", "15090");
        put("prometheus.io/path", "/stats/prometheus");
    }
    for (name, value) in &subject
        .settings
        .values
        .sidecar_injector_webhook
        .injected_annotations
    {
        put(name, value);
    }
    annotations
}

fn application_containers(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["containers"].as_array();
    let names = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str());
    names.filter(|name| *name != PROXY).collect()
}

/// Sets up capture before anything of the application runs.
fn init_container(subject: &Subject<'_>, capture: &Capture) -> Value {
    with_pull_policy(
        subject,
        json!({
            "name": INIT,
            "image": subject.wishes.image,
            "args": redirect_arguments(capture, subject.wishes.status_port),
            "resources": subject.wishes.resources,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "privileged": false,
                "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
                "readOnlyRootFilesystem": false,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "runAsUser": 0,
            },
        }),
    )
}

/// The flags of `amime redirect`, which are those of `istio-iptables`.
fn redirect_arguments(capture: &Capture, status_port: u16) -> Vec<String> {
    let mut excluded = format!("{OWN_PORTS},{status_port}");
    if !capture.exclude_inbound_ports.is_empty() {
        excluded = format!("{excluded},{}", capture.exclude_inbound_ports);
    }
    let mut arguments = vec!["redirect".to_owned()];
    let mut put = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
    put("-p", "15001");
    put("-z", "15006");
    match capture.exemption {
        CaptureExemption::Uid => put("-u", &PROXY_USER.to_string()),
        CaptureExemption::Mark => put("--exempt-mark", &PROXY_USER.to_string()),
    }
    put("-i", &capture.include_ip_ranges);
    put("-x", &capture.exclude_ip_ranges);
    put("-b", &capture.include_inbound_ports);
    put("-d", &excluded);
    for (flag, value) in [
        ("-q", &capture.include_outbound_ports),
        ("-o", &capture.exclude_outbound_ports),
        ("-c", &capture.exclude_interfaces),
    ] {
        if !value.is_empty() {
            put(flag, value);
        }
    }
    arguments
}

fn proxy_container(subject: &Subject<'_>) -> Value {
    let (wishes, values) = (subject.wishes, &subject.settings.values);
    let mut container = with_pull_policy(
        subject,
        json!({
            "name": PROXY,
            "image": wishes.image,
            "args": [
                "proxy", "sidecar",
                "--domain", format!("$(POD_NAMESPACE).svc.{}", values.global.proxy.cluster_domain),
                format!("--proxyLogLevel={}", wishes.log_level),
                format!("--proxyComponentLogLevel={}", wishes.component_log_level),
                format!("--log_output_level={}", wishes.agent_log_level),
            ],
            "env": environment(subject),
            "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
            "resources": wishes.resources,
            "securityContext": security_context(wishes.capture.as_ref()),
            "volumeMounts": volume_mounts(wishes),
        }),
    );
    if let Some(probes) = &wishes.probes {
        add_probes(&mut container, probes, subject);
    }
    if !values.global.proxy.lifecycle.is_empty() {
        container["lifecycle"] = Value::Object(values.global.proxy.lifecycle.clone());
    }
    if wishes.native_sidecar {
        container["restartPolicy"] = "Always".into();
    }
    container
}

fn add_probes(container: &mut Value, probes: &Probes, subject: &Subject<'_>) {
    let page = json!({"path": "/healthz/ready", "port": 15021});
    let startup = &subject.settings.values.global.proxy.startup_probe;
    if startup.enabled {
        container["startupProbe"] = json!({
            "httpGet": page, "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 3,
            "failureThreshold": startup.failure_threshold,
        });
    }
    container["readinessProbe"] = json!({
        "httpGet": page, "initialDelaySeconds": probes.initial_delay_seconds,
        "periodSeconds": probes.period_seconds, "timeoutSeconds": 3,
        "failureThreshold": probes.failure_threshold,
    });
}

/// With the mark, the proxy needs a capability, which only root can use once the rest is dropped.
fn security_context(capture: Option<&Capture>) -> Value {
    let marks = capture.is_some_and(|capture| capture.exemption == CaptureExemption::Mark);
    let (user, capabilities) = if marks {
        (0, json!({"add": ["NET_ADMIN"], "drop": ["ALL"]}))
    } else {
        (PROXY_USER, json!({"drop": ["ALL"]}))
    };
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": capabilities,
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsGroup": user,
        "runAsNonRoot": user != 0,
        "runAsUser": user,
    })
}

fn environment(subject: &Subject<'_>) -> Vec<Value> {
    let global = &subject.settings.values.global;
    let config = &subject.wishes.proxy_config;
    let discovery = text_or(
        config,
        "discoveryAddress",
        &subject.settings.values.discovery_address(),
    );
    let mut environment = vec![
        variable("PILOT_CERT_PROVIDER", "istiod"),
        variable("CA_ADDR", &discovery),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("INSTANCE_IP", "status.podIP"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("HOST_IP", "status.hostIP"),
        variable("PROXY_CONFIG", &Value::Object(config.clone()).to_string()),
        variable("ISTIO_META_POD_PORTS", &pod_ports(subject.pod).to_string()),
        variable(
            "ISTIO_META_APP_CONTAINERS",
            &application_containers(subject.pod).join(","),
        ),
        variable("ISTIO_META_CLUSTER_ID", &global.multi_cluster.cluster_name),
        field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        variable("ISTIO_META_INTERCEPTION_MODE", mode(subject.wishes)),
        variable("ISTIO_META_WORKLOAD_NAME", &subject.owner.name),
        variable("ISTIO_META_OWNER", &subject.owner.path),
        variable("ISTIO_META_MESH_ID", mesh_id(subject)),
        variable("TRUST_DOMAIN", trust_domain(subject)),
    ];
    if global.capture_exemption == CaptureExemption::Mark {
        environment.push(variable("AMIME_CAPTURE_MARK", &PROXY_USER.to_string()));
    }
    if !global.network.is_empty() {
        environment.push(variable("ISTIO_META_NETWORK", &global.network));
    }
    for (name, value) in config
        .get("proxyMetadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        environment.push(variable(name, value.as_str().unwrap_or_default()));
    }
    if !subject.probers.is_empty() {
        let probers = json!(subject.probers);
        environment.push(variable(probes::VARIABLE, &probers.to_string()));
    }
    environment
}

fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

fn text_or(config: &Map<String, Value>, name: &str, default: &str) -> String {
    config
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or(default)
        .to_owned()
}

fn mode(wishes: &Wishes) -> &'static str {
    if wishes.capture.is_some() {
        "REDIRECT"
    } else {
        "NONE"
    }
}

/// Pods of a mesh whose trust domain is not known are not admitted.
fn trust_domain<'a>(subject: &Subject<'a>) -> &'a str {
    subject.settings.trust_domain.as_deref().unwrap_or_default()
}

fn mesh_id<'a>(subject: &Subject<'a>) -> &'a str {
    let id = subject.settings.values.global.mesh_id.as_str();
    if id.is_empty() { trust_domain(subject) } else { id }
}

/// The ports that the application declares, as the agent's metadata has them.
fn pod_ports(pod: &Value) -> Value {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let applications = containers.filter(|container| container["name"] != PROXY);
    applications
        .flat_map(|container| container["ports"].as_array().into_iter().flatten())
        .cloned()
        .collect()
}

fn volume_mounts(wishes: &Wishes) -> Vec<Value> {
    let mut mounts = vec![
        json!({"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"}),
        json!({"name": "istio-token", "mountPath": "/var/run/secrets/tokens"}),
        json!({"name": "istio-podinfo", "mountPath": "/etc/istio/pod"}),
    ];
    mounts.extend(wishes.volume_mounts.iter().cloned());
    mounts
}

fn volumes() -> Vec<Value> {
    let info = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    vec![
        json!({"name": "istio-podinfo", "downwardAPI": {"items": [
            info("labels", "metadata.labels"), info("annotations", "metadata.annotations"),
        ]}}),
        json!({"name": "istio-token", "projected": {"sources": [
            {"serviceAccountToken": {"path": "istio-token", "expirationSeconds": 43200, "audience": "istio-ca"}},
        ]}}),
        json!({"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}}),
    ]
}

fn with_pull_policy(subject: &Subject<'_>, mut container: Value) -> Value {
    let policy = subject.settings.values.global.image_pull_policy.as_str();
    if !policy.is_empty() {
        container["imagePullPolicy"] = policy.into();
    }
    container
}
