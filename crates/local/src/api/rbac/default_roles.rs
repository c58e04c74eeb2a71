//! The roles and bindings that every cluster begins with, as Kubernetes has them. Pure.
//!
//! Left out are the roles of Kubernetes' own components (`system:controller:…`, `system:kube-scheduler`, `system:node`):
//! here they are parts of one process and call as members of `system:masters`.

use serde_json::{Value, json};

use super::aggregate;

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const CREATE: &[&str] = &["create"];
const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// All ClusterRoles; aggregated ones come last, with the rules they begin with.
pub(super) fn cluster_roles() -> Vec<Value> {
    let mut roles = vec![
        role(
            "cluster-admin",
            &[rule(&["*"], &["*"], &["*"]), paths(&["*"], &["*"])],
        ),
        role("system:discovery", &[paths(DISCOVERY, &["get"])]),
        role("system:public-info-viewer", &[paths(PUBLIC, &["get"])]),
        role("system:monitoring", &[paths(MONITORING, &["get"])]),
        role(
            "system:service-account-issuer-discovery",
            &[paths(
                &["/.well-known/openid-configuration", "/openid/v1/jwks"],
                &["get"],
            )],
        ),
        role("system:basic-user", &basic_user()),
        role("system:auth-delegator", &auth_delegator()),
        role("system:persistent-volume-provisioner", &provisioner()),
        selected(role("system:aggregate-to-admin", &admin()), "admin"),
        selected(role("system:aggregate-to-edit", &edit()), "edit"),
        selected(role("system:aggregate-to-view", &view()), "view"),
    ];
    let aggregated = [
        selected(aggregated("view"), "edit"),
        selected(aggregated("edit"), "admin"),
        aggregated("admin"),
    ];
    for mut role in aggregated {
        role["rules"] = aggregate::rules(&role, &roles).into_iter().flatten().collect();
        roles.push(role);
    }
    roles
}

pub(super) fn cluster_role_bindings() -> Vec<Value> {
    let everybody = &[AUTHENTICATED, UNAUTHENTICATED][..];
    [
        ("cluster-admin", &[super::MASTERS][..]),
        ("system:monitoring", &["system:monitoring"]),
        ("system:discovery", &[AUTHENTICATED]),
        ("system:basic-user", &[AUTHENTICATED]),
        ("system:public-info-viewer", everybody),
        (
            "system:service-account-issuer-discovery",
            &["system:serviceaccounts"],
        ),
    ]
    .into_iter()
    .map(|(name, groups)| {
        let subject = |group| json!({"apiGroup": super::GROUP, "kind": "Group", "name": group});
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata(name),
            "roleRef": {"apiGroup": super::GROUP, "kind": "ClusterRole", "name": name},
            "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
        })
    })
    .collect()
}

/// What API servers of extensions bind to.
pub(super) fn roles() -> Vec<Value> {
    let mut metadata = metadata("extension-apiserver-authentication-reader");
    metadata["namespace"] = "kube-system".into();
    let mut read = rule(&[""], &["configmaps"], READ);
    read["resourceNames"] = json!(["extension-apiserver-authentication"]);
    vec![json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [read],
    })]
}

const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];
const DISCOVERY: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];
const MONITORING: &[&str] = &[
    "/healthz",
    "/healthz/*",
    "/livez",
    "/livez/*",
    "/metrics",
    "/metrics/slis",
    "/readyz",
    "/readyz/*",
];

fn basic_user() -> Vec<Value> {
    vec![
        rule(
            &["authorization.k8s.io"],
            &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            CREATE,
        ),
        rule(&["authentication.k8s.io"], &["selfsubjectreviews"], CREATE),
    ]
}

fn auth_delegator() -> Vec<Value> {
    vec![
        rule(&["authentication.k8s.io"], &["tokenreviews"], CREATE),
        rule(&["authorization.k8s.io"], &["subjectaccessreviews"], CREATE),
    ]
}

fn provisioner() -> Vec<Value> {
    vec![
        rule(
            &[""],
            &["persistentvolumes"],
            &["create", "delete", "get", "list", "watch"],
        ),
        rule(
            &[""],
            &["persistentvolumeclaims"],
            &["get", "list", "update", "watch"],
        ),
        rule(&["storage.k8s.io"], &["storageclasses"], READ),
        rule(&[""], &["events"], &["watch"]),
        rule(
            &["", "events.k8s.io"],
            &["events"],
            &["create", "patch", "update"],
        ),
    ]
}

fn admin() -> Vec<Value> {
    vec![
        rule(&["authorization.k8s.io"], &["localsubjectaccessreviews"], CREATE),
        rule(&[super::GROUP], &["rolebindings", "roles"], ALL),
    ]
}

fn edit() -> Vec<Value> {
    let streams = [
        "pods/attach",
        "pods/exec",
        "pods/portforward",
        "pods/proxy",
        "secrets",
        "services/proxy",
    ];
    let pods = [
        "pods",
        "pods/attach",
        "pods/exec",
        "pods/portforward",
        "pods/proxy",
    ];
    let core = [
        "configmaps",
        "events",
        "persistentvolumeclaims",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "secrets",
        "serviceaccounts",
        "services",
        "services/proxy",
    ];
    let apps = [
        "daemonsets",
        "deployments",
        "deployments/rollback",
        "deployments/scale",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
    ];
    vec![
        rule(&[""], &streams, READ),
        rule(&[""], &["serviceaccounts"], &["impersonate"]),
        rule(&[""], &pods, WRITE),
        rule(&[""], &["pods/eviction"], CREATE),
        rule(&[""], &core, WRITE),
        rule(&[""], &["serviceaccounts/token"], CREATE),
        rule(&["apps"], &apps, WRITE),
        rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
        rule(&["batch"], &["cronjobs", "jobs"], WRITE),
        rule(&["policy"], &["poddisruptionbudgets"], WRITE),
        rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], WRITE),
        rule(&["coordination.k8s.io"], &["leases"], ALL),
    ]
}

fn view() -> Vec<Value> {
    let core = [
        "configmaps",
        "endpoints",
        "persistentvolumeclaims",
        "persistentvolumeclaims/status",
        "pods",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "serviceaccounts",
        "services",
        "services/status",
    ];
    let more = [
        "bindings",
        "events",
        "limitranges",
        "namespaces/status",
        "pods/log",
        "pods/status",
        "replicationcontrollers/status",
        "resourcequotas",
        "resourcequotas/status",
    ];
    let apps = [
        "controllerrevisions",
        "daemonsets",
        "daemonsets/status",
        "deployments",
        "deployments/scale",
        "deployments/status",
        "replicasets",
        "replicasets/scale",
        "replicasets/status",
        "statefulsets",
        "statefulsets/scale",
        "statefulsets/status",
    ];
    let autoscaling = ["horizontalpodautoscalers", "horizontalpodautoscalers/status"];
    vec![
        rule(&[""], &core, READ),
        rule(&[""], &more, READ),
        rule(&[""], &["namespaces"], READ),
        rule(&["discovery.k8s.io"], &["endpointslices"], READ),
        rule(&["apps"], &apps, READ),
        rule(&["autoscaling"], &autoscaling, READ),
        rule(
            &["batch"],
            &["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
            READ,
        ),
        rule(
            &["policy"],
            &["poddisruptionbudgets", "poddisruptionbudgets/status"],
            READ,
        ),
        rule(
            &["networking.k8s.io"],
            &["ingresses", "ingresses/status", "networkpolicies"],
            READ,
        ),
    ]
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn role(name: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(name), "rules": rules,
    })
}

fn aggregated(name: &str) -> Value {
    let mut role = role(name, &[]);
    let labels = json!({label(name): "true"});
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
    role
}

/// A role that is part of an aggregated one.
fn selected(mut role: Value, into: &str) -> Value {
    role["metadata"]["labels"][label(into)] = "true".into();
    role
}

fn label(into: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{into}")
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

fn paths(paths: &[&str], verbs: &[&str]) -> Value {
    json!({"nonResourceURLs": paths, "verbs": verbs})
}
