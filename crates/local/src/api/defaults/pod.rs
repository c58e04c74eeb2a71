//! Pods, wherever a pod's spec stands.

use serde_json::{Value, json};

use super::{child, force, list, set};

/// A Pod.
pub fn pod(object: &mut Value) {
    let spec = child(object, "spec");
    pod_spec(spec);
    set(spec, "enableServiceLinks", json!(true));
    for containers in ["initContainers", "containers"] {
        for container in list(spec, containers) {
            requests_from_limits(container);
        }
    }
    if spec["hostNetwork"] == true {
        host_ports(spec);
    }
    set(child(object, "status"), "phase", json!("Pending"));
    let class = quality_of_service(&object["spec"]);
    set(child(object, "status"), "qosClass", json!(class));
}

/// A PodTemplate object.
pub fn pod_template(object: &mut Value) {
    template(child(object, "template"));
}

/// A template inside a workload.
pub(super) fn template(template: &mut Value) {
    pod_spec(child(template, "spec"));
}

fn pod_spec(spec: &mut Value) {
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        list(spec, containers).iter_mut().for_each(container);
    }
    for volume in list(spec, "volumes") {
        self::volume(volume);
    }
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    account(spec);
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
}

/// The old name of `serviceAccountName` is kept in step with it.
fn account(spec: &mut Value) {
    let (new, old) = (spec["serviceAccountName"].clone(), spec["serviceAccount"].clone());
    if new.is_string() && new != "" {
        force(spec, "serviceAccount", new);
    } else if old.is_string() && old != "" {
        force(spec, "serviceAccountName", old);
    }
}

fn container(container: &mut Value) {
    for port in list(container, "ports") {
        set(port, "protocol", json!("TCP"));
    }
    for variable in list(container, "env") {
        if variable["valueFrom"]["fieldRef"].is_object() {
            set(&mut variable["valueFrom"]["fieldRef"], "apiVersion", json!("v1"));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(name).filter(|probe| probe.is_object()) {
            probe(found);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(found) = container.pointer_mut(&format!("/lifecycle/{hook}/httpGet")) {
            http_get(found);
        }
    }
    set(container, "resources", json!({}));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    set(container, "imagePullPolicy", json!(policy));
}

/// `latest` may change behind its name; other tags and digests do not.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn probe(probe: &mut Value) {
    if let Some(found) = probe.get_mut("httpGet").filter(|handler| handler.is_object()) {
        http_get(found);
    }
    if let Some(found) = probe.get_mut("grpc").filter(|handler| handler.is_object()) {
        set(found, "service", json!(""));
    }
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        // Zero is Go's way to say "not given".
        if probe[field].is_null() || probe[field] == 0 {
            force(probe, field, json!(value));
        }
    }
}

fn http_get(handler: &mut Value) {
    set(handler, "path", json!("/"));
    set(handler, "scheme", json!("HTTP"));
}

fn volume(volume: &mut Value) {
    if volume
        .as_object()
        .is_some_and(|fields| fields.keys().all(|key| key == "name"))
    {
        force(volume, "emptyDir", json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(found) = volume.get_mut(source).filter(|source| source.is_object()) {
            set(found, "defaultMode", json!(0o644));
        }
    }
    if let Some(found) = volume.get_mut("hostPath").filter(|source| source.is_object()) {
        set(found, "type", json!(""));
    }
    if let Some(found) = volume.get_mut("downwardAPI") {
        items(found);
    }
    if let Some(found) = volume.get_mut("projected") {
        for source in list(found, "sources") {
            if let Some(token) = source
                .get_mut("serviceAccountToken")
                .filter(|token| token.is_object())
            {
                set(token, "expirationSeconds", json!(3600));
            }
            if let Some(downward) = source.get_mut("downwardAPI") {
                items(downward);
            }
        }
    }
}

fn items(downward: &mut Value) {
    for item in list(downward, "items") {
        if item["fieldRef"].is_object() {
            set(&mut item["fieldRef"], "apiVersion", json!("v1"));
        }
    }
}

/// What has a limit and no request asks for its limit.
fn requests_from_limits(container: &mut Value) {
    let limits = container["resources"]["limits"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (name, limit) in limits {
        set(child(child(container, "resources"), "requests"), &name, limit);
    }
}

fn host_ports(spec: &mut Value) {
    for container in list(spec, "containers") {
        for port in list(container, "ports") {
            let number = port["containerPort"].clone();
            set(port, "hostPort", number);
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by what the containers ask for.
fn quality_of_service(spec: &Value) -> &'static str {
    let containers = || {
        ["initContainers", "containers"]
            .iter()
            .flat_map(|list| spec[*list].as_array().into_iter().flatten())
    };
    let amount = |container: &Value, field: &str, name: &str| container["resources"][field][name].clone();
    let names = ["cpu", "memory"];
    let none = containers().all(|container| {
        names.iter().all(|name| {
            amount(container, "requests", name).is_null() && amount(container, "limits", name).is_null()
        })
    });
    let full = containers().all(|container| {
        names.iter().all(|name| {
            let limit = amount(container, "limits", name);
            !limit.is_null() && limit == amount(container, "requests", name)
        })
    });
    match (none, full) {
        (true, _) => "BestEffort",
        (false, true) => "Guaranteed",
        (false, false) => "Burstable",
    }
}
