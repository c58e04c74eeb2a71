//! Who may do what: the controller reads the mesh and writes only what is its own.

use serde_json::{Value, json};

use super::{Values, labels};

pub(super) fn manifests(values: &Values) -> Vec<Value> {
    let namespace = values.global.istio_namespace.as_str();
    let cluster = format!("istiod-clusterrole-{namespace}");
    let reader = format!("istio-reader-clusterrole-{namespace}");
    vec![
        service_account(values, "istiod"),
        service_account(values, "istio-reader-service-account"),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": cluster, "labels": labels()},
            "rules": controller_rules(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": reader, "labels": labels()},
            "rules": reader_rules(),
        }),
        cluster_role_binding(namespace, &cluster, "istiod"),
        cluster_role_binding(namespace, &reader, "istio-reader-service-account"),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "istiod", "namespace": namespace, "labels": labels()},
            "rules": own_namespace_rules(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "istiod", "namespace": namespace, "labels": labels()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "istiod"},
            "subjects": [{"kind": "ServiceAccount", "name": "istiod", "namespace": namespace}],
        }),
    ]
}

fn service_account(values: &Values, name: &str) -> Value {
    let mut account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": values.global.istio_namespace, "labels": labels()},
    });
    let secrets = &values.global.image_pull_secrets;
    if !secrets.is_empty() {
        account["imagePullSecrets"] = secrets.iter().map(|name| json!({"name": name})).collect();
    }
    account
}

fn cluster_role_binding(namespace: &str, role: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": role, "labels": labels()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    })
}

fn controller_rules() -> Value {
    let read = ["get", "list", "watch"];
    json!([
        {"apiGroups": [""], "resources": ["namespaces", "nodes", "pods", "services"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": read},
        {"apiGroups": ["networking.istio.io"], "resources": ["virtualservices", "destinationrules"], "verbs": read},
        {"apiGroups": ["networking.istio.io"],
         "resources": ["virtualservices/status", "destinationrules/status"], "verbs": ["get", "patch", "update"]},
        {"apiGroups": ["security.istio.io"],
         "resources": ["peerauthentications", "requestauthentications", "authorizationpolicies"], "verbs": read},
        {"apiGroups": ["security.istio.io"],
         "resources": ["peerauthentications/status", "requestauthentications/status", "authorizationpolicies/status"],
         "verbs": ["get", "patch", "update"]},
        {"apiGroups": ["policy.amime.io"], "resources": ["ratelimits"], "verbs": read},
        {"apiGroups": ["policy.amime.io"], "resources": ["ratelimits/status"], "verbs": ["get", "patch", "update"]},
        // The root certificate is published in every namespace.
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "update", "patch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["admissionregistration.k8s.io"],
         "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
         "verbs": ["get", "list", "watch", "patch", "update"]},
    ])
}

fn reader_rules() -> Value {
    let read = ["get", "list", "watch"];
    json!([
        {"apiGroups": [""], "resources": ["namespaces", "nodes", "pods", "services"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": ["networking.istio.io"], "resources": ["virtualservices", "destinationrules"], "verbs": read},
        {"apiGroups": ["security.istio.io"],
         "resources": ["peerauthentications", "requestauthentications", "authorizationpolicies"], "verbs": read},
        {"apiGroups": ["policy.amime.io"], "resources": ["ratelimits"], "verbs": read},
    ])
}

/// Keys of the certificate authority stay in one namespace.
fn own_namespace_rules() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get", "list", "watch", "update"]},
        // A dry run that finds out whether the validating webhook is reached.
        {"apiGroups": ["networking.istio.io"], "resources": ["destinationrules"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
         "verbs": ["create", "get", "list", "watch", "update", "patch"]},
    ])
}
