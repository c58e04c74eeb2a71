//! What the real server fills in when the user leaves it out (`pkg/apis/*/v1/defaults.go` of Kubernetes).
//!
//! Defaults are written into the object before admission and again after it, so that what a webhook added is complete.
//! They never replace what is there.

mod pod;
mod workloads;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::registry::{Shape, Type};

pub use pod::{pod, pod_template};
pub use workloads::{
    cron_job, daemon_set, deployment, horizontal_pod_autoscaler, horizontal_pod_autoscaler_v1, job,
    replica_set, replication_controller, stateful_set,
};

/// Fills in the defaults of the object's kind.
pub fn default_object(kind: &Type, object: &mut Value) {
    match &kind.shape {
        Shape::BuiltIn(built_in) => (built_in.default)(object),
        Shape::Custom(version) => version.schema.set_defaults(object),
    }
}

/// The label by which selectors name a namespace, and the finalizer that makes its deletion linger.
pub fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty() {
        child(child(object, "metadata"), "labels")["kubernetes.io/metadata.name"] = Value::String(name);
    }
    set(child(object, "spec"), "finalizers", json!(["kubernetes"]));
    set(child(object, "status"), "phase", json!("Active"));
}

/// A Service, except for its addresses, which the server hands out.
pub fn service(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "type", json!("ClusterIP"));
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    for port in list(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
            let number = port["port"].clone();
            force(port, "targetPort", number);
        }
    }
    if spec["sessionAffinity"] == "ClientIP" {
        let config = child(child(spec, "sessionAffinityConfig"), "clientIP");
        set(config, "timeoutSeconds", json!(10800));
    }
    if kind != "ExternalName" {
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", json!("SingleStack"));
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    child(child(object, "status"), "loadBalancer");
}

pub fn endpoints(object: &mut Value) {
    for subset in list(object, "subsets") {
        for port in list(subset, "ports") {
            set(port, "protocol", json!("TCP"));
        }
    }
}

pub fn endpoint_slice(object: &mut Value) {
    for port in list(object, "ports") {
        set(port, "name", json!(""));
        set(port, "protocol", json!("TCP"));
    }
}

/// `stringData` is written once and read as `data`.
pub fn secret(object: &mut Value) {
    set(object, "type", json!("Opaque"));
    let plain = object
        .as_object_mut()
        .and_then(|fields| fields.shift_remove("stringData"));
    for (key, value) in plain.iter().filter_map(Value::as_object).flatten() {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        child(object, "data")[key] = Value::String(encoded);
    }
}

pub fn persistent_volume(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "persistentVolumeReclaimPolicy", json!("Retain"));
    set(spec, "volumeMode", json!("Filesystem"));
    set(child(object, "status"), "phase", json!("Pending"));
}

pub fn priority_class(object: &mut Value) {
    set(object, "preemptionPolicy", json!("PreemptLowerPriority"));
}

/// Nothing counts what is used, so that a quota says what is allowed from the start.
pub fn resource_quota(object: &mut Value) {
    let hard = child(child(object, "spec"), "hard").clone();
    let unused: Map<String, Value> = hard
        .as_object()
        .into_iter()
        .flatten()
        .map(|(resource, _)| (resource.clone(), json!("0")))
        .collect();
    let status = child(object, "status");
    set(status, "hard", hard);
    set(status, "used", unused.into());
}

pub fn csi_driver(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "attachRequired", json!(true));
    set(spec, "fsGroupPolicy", json!("ReadWriteOnceWithFSType"));
    for field in [
        "podInfoOnMount",
        "requiresRepublish",
        "storageCapacity",
        "seLinuxMount",
    ] {
        set(spec, field, json!(false));
    }
    set(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

pub fn persistent_volume_claim(object: &mut Value) {
    set(child(object, "spec"), "volumeMode", json!("Filesystem"));
    set(child(object, "status"), "phase", json!("Pending"));
}

pub fn storage_class(object: &mut Value) {
    set(object, "reclaimPolicy", json!("Delete"));
    set(object, "volumeBindingMode", json!("Immediate"));
}

pub fn network_policy(object: &mut Value) {
    let spec = child(object, "spec");
    if !spec["policyTypes"].is_array() {
        let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        force(
            spec,
            "policyTypes",
            if egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            },
        );
    }
    for rules in ["ingress", "egress"] {
        for rule in list(spec, rules) {
            for port in list(rule, "ports") {
                set(port, "protocol", json!("TCP"));
            }
        }
    }
}

/// Subjects and the role are of the RBAC group unless they say otherwise.
pub fn role_binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    set(child(object, "roleRef"), "apiGroup", json!(GROUP));
    for subject in list(object, "subjects") {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            set(subject, "apiGroup", json!(GROUP));
        }
    }
}

pub fn mutating_webhooks(object: &mut Value) {
    for webhook in list(object, "webhooks") {
        webhook_fields(webhook);
        set(webhook, "reinvocationPolicy", json!("Never"));
    }
}

pub fn validating_webhooks(object: &mut Value) {
    list(object, "webhooks").iter_mut().for_each(webhook_fields);
}

pub fn admission_policy(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "failurePolicy", json!("Fail"));
    match_resources(child(spec, "matchConstraints"));
}

pub fn admission_policy_binding(object: &mut Value) {
    let spec = child(object, "spec");
    if spec["matchResources"].is_object() {
        match_resources(child(spec, "matchResources"));
    }
}

fn match_resources(resources: &mut Value) {
    set(resources, "matchPolicy", json!("Equivalent"));
    set(resources, "namespaceSelector", json!({}));
    set(resources, "objectSelector", json!({}));
    for rules in ["resourceRules", "excludeResourceRules"] {
        for rule in list(resources, rules) {
            set(rule, "scope", json!("*"));
        }
    }
}

fn webhook_fields(webhook: &mut Value) {
    set(webhook, "failurePolicy", json!("Fail"));
    set(webhook, "matchPolicy", json!("Equivalent"));
    set(webhook, "namespaceSelector", json!({}));
    set(webhook, "objectSelector", json!({}));
    set(webhook, "timeoutSeconds", json!(10));
    for rule in list(webhook, "rules") {
        set(rule, "scope", json!("*"));
    }
    if webhook["clientConfig"]["service"].is_object() {
        set(
            child(child(webhook, "clientConfig"), "service"),
            "port",
            json!(443),
        );
    }
}

/// Gives a field a value unless it has one.
fn set(object: &mut Value, field: &str, value: Value) {
    if object.get(field).is_none_or(Value::is_null) {
        force(object, field, value);
    }
}

fn force(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// The object in a field, made when absent.
fn child<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    set(object, field, json!({}));
    &mut object[field]
}

/// The items of a list field; none when absent.
fn list<'a>(object: &'a mut Value, field: &str) -> &'a mut [Value] {
    object
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .map_or(&mut [], Vec::as_mut_slice)
}

#[cfg(test)]
mod tests;
