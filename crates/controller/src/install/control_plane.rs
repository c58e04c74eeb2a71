//! The controller itself: a Deployment and the Service under whose name proxies and the API server know it.

use serde_json::{Value, json};

use super::{Values, labels, values};

pub(super) fn manifests(values: &Values) -> Vec<Value> {
    vec![service(values), deployment(values)]
}

fn service(values: &Values) -> Value {
    let mut labels = labels();
    labels.insert("istio", "pilot");
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "istiod", "namespace": values.global.istio_namespace, "labels": labels},
        "spec": {
            "ports": [
                {"name": "https-dns", "port": 15012, "protocol": "TCP", "targetPort": 15012},
                {"name": "https-webhook", "port": 443, "protocol": "TCP", "targetPort": 15017},
                {"name": "http-monitoring", "port": 15014, "protocol": "TCP", "targetPort": 15014},
            ],
            "selector": {"app": "istiod", "istio": "pilot"},
        },
    })
}

fn deployment(values: &Values) -> Value {
    let mut labels = labels();
    labels.insert("istio", "pilot");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "istiod", "namespace": values.global.istio_namespace, "labels": labels},
        "spec": {
            "replicas": values.pilot.replica_count,
            "selector": {"matchLabels": {"app": "istiod", "istio": "pilot"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": "25%"}},
            "template": {"metadata": pod_metadata(values), "spec": pod_spec(values)},
        },
    })
}

fn pod_metadata(values: &Values) -> Value {
    let mut metadata = json!({
        "labels": {
            "app": "istiod", "istio": "pilot", "istio.io/rev": values::REVISION,
            "istio.io/dataplane-mode": "none", "operator.istio.io/component": "Pilot",
            "sidecar.istio.io/inject": "false",
        },
        "annotations": {
            "prometheus.io/port": "15014", "prometheus.io/scrape": "true", "sidecar.istio.io/inject": "false",
        },
    });
    for (name, value) in &values.pilot.pod_labels {
        metadata["labels"][name] = value.as_str().into();
    }
    for (name, value) in &values.pilot.pod_annotations {
        metadata["annotations"][name] = value.as_str().into();
    }
    metadata
}

fn pod_spec(values: &Values) -> Value {
    let mut spec = json!({
        "serviceAccountName": "istiod",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container(values)],
        "tolerations": tolerations(values),
    });
    let pilot = &values.pilot;
    if !pilot.node_selector.is_empty() {
        spec["nodeSelector"] = json!(pilot.node_selector);
    }
    if !pilot.affinity.is_empty() {
        spec["affinity"] = json!(pilot.affinity);
    }
    if !values.global.priority_class_name.is_empty() {
        spec["priorityClassName"] = values.global.priority_class_name.as_str().into();
    }
    spec
}

/// As Istio's chart: the controller may run where the CNI node agent is not ready yet.
fn tolerations(values: &Values) -> Vec<Value> {
    let mut tolerations = vec![json!({"key": "cni.istio.io/not-ready", "operator": "Exists"})];
    tolerations.extend(values.pilot.tolerations.iter().cloned());
    tolerations
}

fn container(values: &Values) -> Value {
    let mut container = json!({
        "name": "discovery",
        "image": values.image(&values.pilot.image),
        "args": arguments(values),
        "ports": [
            {"name": "http-debug", "containerPort": 8080, "protocol": "TCP"},
            {"name": "tls-xds", "containerPort": 15012, "protocol": "TCP"},
            {"name": "https-webhooks", "containerPort": 15017, "protocol": "TCP"},
            {"name": "http-monitoring", "containerPort": 15014, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": 8080},
            "initialDelaySeconds": 1, "periodSeconds": 3, "timeoutSeconds": 5,
        },
        "env": environment(values),
        "resources": values.pilot.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true, "runAsNonRoot": true,
        },
    });
    if !values.global.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = values.global.image_pull_policy.as_str().into();
    }
    container
}

fn arguments(values: &Values) -> Vec<String> {
    let global = &values.global;
    let mut arguments = vec![
        "controller".to_owned(),
        "--monitoringAddr=:15014".to_owned(),
        format!("--log_output_level={}", global.logging.level),
        format!("--domain={}", global.proxy.cluster_domain),
    ];
    if global.log_as_json {
        arguments.push("--log_as_json".to_owned());
    }
    arguments
}

fn environment(values: &Values) -> Vec<Value> {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let mut environment = vec![
        json!({"name": "REVISION", "value": values::REVISION}),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        json!({"name": "CLUSTER_ID", "value": values.global.multi_cluster.cluster_name}),
    ];
    for (name, value) in &values.pilot.env {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        environment.push(json!({"name": name, "value": text}));
    }
    environment
}
