//! Which pods are sent to the injector, and which objects to the validator.
//!
//! The four selections of Istio (five with `enableNamespacesByDefault`), none of which reaches the mesh's own
//! namespace or Kubernetes'.

use serde_json::{Value, json};

use super::{Values, labels, values};

/// Configuration of the injector.
pub(crate) const INJECTOR: &str = "istio-sidecar-injector";

/// Configuration of the validator.
pub(crate) fn validator(istio_namespace: &str) -> String {
    format!("istio-validator-{istio_namespace}")
}

pub(super) fn manifests(values: &Values) -> Vec<Value> {
    vec![mutating(values), validating(values)]
}

fn mutating(values: &Values) -> Value {
    let mut webhooks = vec![
        injection(
            values,
            "rev.namespace",
            vec![revision_in(), absent("istio-injection")],
            &[not_refused()],
        ),
        injection(
            values,
            "rev.object",
            vec![absent("istio.io/rev"), absent("istio-injection")],
            &[not_refused(), revision_in()],
        ),
        injection(
            values,
            "namespace",
            vec![is_in("istio-injection", "enabled")],
            &[not_refused()],
        ),
        injection(
            values,
            "object",
            vec![absent("istio-injection"), absent("istio.io/rev")],
            &[is_in("sidecar.istio.io/inject", "true"), absent("istio.io/rev")],
        ),
    ];
    if values.sidecar_injector_webhook.enable_namespaces_by_default {
        let unlabelled = vec![absent("istio-injection"), absent("istio.io/rev")];
        let undecided = [absent("sidecar.istio.io/inject"), absent("istio.io/rev")];
        webhooks.push(injection(values, "auto", unlabelled, &undecided));
    }
    let mut labels = labels();
    labels.insert("app", "sidecar-injector");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": INJECTOR, "labels": labels},
        "webhooks": webhooks,
    })
}

fn injection(values: &Values, name: &str, mut namespaces: Vec<Value>, pods: &[Value]) -> Value {
    let system = [
        "kube-system",
        "kube-public",
        "kube-node-lease",
        values.global.istio_namespace.as_str(),
    ];
    namespaces.push(json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": system}));
    json!({
        "name": format!("{name}.sidecar-injector.istio.io"),
        "admissionReviewVersions": ["v1"],
        "clientConfig": client(values, "/inject"),
        "failurePolicy": "Fail",
        "namespaceSelector": {"matchExpressions": namespaces},
        "objectSelector": {"matchExpressions": pods},
        "reinvocationPolicy": values.sidecar_injector_webhook.reinvocation_policy,
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
        }],
        "sideEffects": "None",
        "timeoutSeconds": 10,
    })
}

fn validating(values: &Values) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": validator(&values.global.istio_namespace), "labels": labels()},
        "webhooks": [
            validation(values, "rev.validation.istio.io", &revision_in()),
            validation(values, "validation.istio.io", &absent("istio.io/rev")),
        ],
    })
}

/// Begins by ignoring failures, so that the mesh can be installed; the controller ends that once it serves.
fn validation(values: &Values, name: &str, objects: &Value) -> Value {
    json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": client(values, "/validate"),
        "failurePolicy": "Ignore",
        "objectSelector": {"matchExpressions": [objects]},
        "rules": [{
            "apiGroups": [
                "security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io",
                "policy.amime.io",
            ],
            "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["*"],
        }],
        "sideEffects": "None",
        "timeoutSeconds": 10,
    })
}

fn client(values: &Values, path: &str) -> Value {
    let namespace = values.global.istio_namespace.as_str();
    json!({"service": {"name": "istiod", "namespace": namespace, "path": path, "port": 443}})
}

fn revision_in() -> Value {
    is_in("istio.io/rev", values::REVISION)
}

fn not_refused() -> Value {
    json!({"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]})
}

fn is_in(key: &str, value: &str) -> Value {
    json!({"key": key, "operator": "In", "values": [value]})
}

fn absent(key: &str) -> Value {
    json!({"key": key, "operator": "DoesNotExist"})
}
