//! Kinds that are kept for others to act on: what Kubernetes would refuse is refused here too, before they do.

use serde_json::Value;

use super::quantity::{self, Quantity};
use super::{IMMUTABLE, items, one_of, text};
use crate::api::field::FieldErrors;

/// Rules of an Ingress: paths, and a backend for each.
pub fn ingress(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    if spec["rules"].as_array().is_none_or(Vec::is_empty) && spec["defaultBackend"].is_null() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.invalid("spec", &Value::from(""), detail);
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", errors);
    }
    for (at, rule) in items(&spec["rules"]) {
        for (number, path) in items(&rule["http"]["paths"]) {
            let place = format!("spec.rules[{at}].http.paths[{number}]");
            match path["pathType"].as_str() {
                None => errors.required(format!("{place}.pathType"), "pathType must be specified"),
                Some(kind) => {
                    let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
                    one_of(&path["pathType"], format!("{place}.pathType"), &kinds, errors);
                    let absolute = path["path"].as_str().unwrap_or_default().starts_with('/');
                    if kind != "ImplementationSpecific" && !absolute {
                        let detail = "must be an absolute path";
                        errors.invalid(format!("{place}.path"), &Value::from(text(path, "/path")), detail);
                    }
                }
            }
            backend(&path["backend"], &format!("{place}.backend"), errors);
        }
    }
}

fn backend(backend: &Value, path: &str, errors: &mut FieldErrors) {
    let service = &backend["service"];
    match (service.is_object(), backend["resource"].is_object()) {
        (true, true) => errors.invalid(
            path,
            &Value::from(""),
            "cannot set both resource and service backends",
        ),
        (false, true) => {}
        (false, false) => errors.required(path, "port name or number is required"),
        (true, false) => {
            if text(service, "/name").is_empty() {
                errors.required(format!("{path}.service.name"), "");
            }
            let port = &service["port"];
            if text(port, "/name").is_empty() && port["number"].as_i64().is_none_or(|number| number == 0) {
                errors.required(path, "port name or number is required");
            }
        }
    }
}

/// One of two bounds, not both.
pub fn disruption_budget(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
    if !least.is_null() && !most.is_null() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid("spec", spec, detail);
    }
    for (field, bound) in [("minAvailable", least), ("maxUnavailable", most)] {
        let path = format!("spec.{field}");
        match bound {
            Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
                errors.invalid(path, bound, "must be greater than or equal to 0");
            }
            Value::String(text) => match text.strip_suffix('%').map(str::parse::<u32>) {
                Some(Ok(0..=100)) => {}
                Some(Ok(_)) => errors.invalid(path, bound, "must not be greater than 100%"),
                Some(Err(_)) | None => {
                    let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
                                  '1%',  or '93%', regex used for validation is '[0-9]+%')";
                    errors.invalid(path, bound, detail);
                }
            },
            _ => {}
        }
    }
}

/// Bounds and target of an autoscaler, in either version.
pub fn autoscaler(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    let (least, most) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64());
    if least.is_some_and(|least| least < 1) {
        errors.invalid(
            "spec.minReplicas",
            &spec["minReplicas"],
            "must be greater than or equal to 1",
        );
    }
    match most {
        None | Some(i64::MIN..=0) => {
            let value = Value::from(most.unwrap_or(0));
            errors.invalid("spec.maxReplicas", &value, "must be greater than 0");
        }
        Some(most) if least.is_some_and(|least| most < least) => {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.invalid("spec.maxReplicas", &Value::from(most), detail);
        }
        Some(_) => {}
    }
    for field in ["kind", "name"] {
        if spec["scaleTargetRef"][field].as_str().is_none_or(str::is_empty) {
            errors.required(format!("spec.scaleTargetRef.{field}"), "");
        }
    }
}

/// The highest value that users may give.
const HIGHEST_PRIORITY: i64 = 1_000_000_000;

pub fn priority_class(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let name = text(new, "/metadata/name");
    let of_system = matches!(name, "system-cluster-critical" | "system-node-critical");
    if name.starts_with("system-") && !of_system {
        let detail = "priority class names with 'system-' prefix are reserved for system use only";
        errors.forbidden("metadata.name", detail);
    }
    if new["value"]
        .as_i64()
        .is_some_and(|value| value > HIGHEST_PRIORITY)
        && !of_system
    {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}");
        errors.forbidden("value", &detail);
    }
    one_of(
        &new["preemptionPolicy"],
        "preemptionPolicy".to_owned(),
        &["Never", "PreemptLowerPriority"],
        errors,
    );
}

const ACCESS_MODES: &[&str] = &[
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

fn access_modes(spec: &Value, errors: &mut FieldErrors) {
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        errors.required("spec.accessModes", "at least 1 access mode is required");
    }
    for (_, mode) in items(&spec["accessModes"]) {
        one_of(mode, "spec.accessModes".to_owned(), ACCESS_MODES, errors);
    }
}

pub fn persistent_volume_claim(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    access_modes(spec, errors);
    if spec["resources"]["requests"]["storage"].is_null() {
        errors.required("spec.resources[storage]", "");
    }
    if let Some(old) = old {
        claim_update(new, old, errors);
    }
}

/// A claim that has its volume may grow; everything else is fixed.
fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let is_bound = new["status"]["phase"] == "Bound";
    let has_volume = !text(old, "/spec/volumeName").is_empty();
    let fixed = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            if is_bound {
                fields.shift_remove("volumeAttributesClassName");
            }
            if !has_volume {
                fields.shift_remove("volumeName");
            }
            // A claim without a class gets the default one later.
            if old["spec"]["storageClassName"].is_null() {
                fields.shift_remove("storageClassName");
            }
        }
        if is_bound && let Some(requests) = spec.pointer_mut("/resources/requests") {
            requests["storage"] = Value::Null;
        }
        spec
    };
    if fixed(new) != fixed(old) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        errors.forbidden("spec", detail);
    }
    let size = |place: &Value| {
        place["storage"]
            .as_str()
            .and_then(quantity::parse)
            .map(Quantity::nanos)
    };
    let asked = |claim: &Value| size(&claim["spec"]["resources"]["requests"]);
    let has = size(&new["status"]["capacity"]).unwrap_or(0);
    if let (Some(now), Some(before)) = (asked(new), asked(old))
        && now < before
        && now <= has
    {
        let detail = "field can not be less than status.capacity";
        errors.forbidden("spec.resources.requests.storage", detail);
    }
}

pub fn persistent_volume(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    access_modes(spec, errors);
    if spec["capacity"].as_object().is_none_or(serde_json::Map::is_empty) {
        errors.required("spec.capacity", "");
    } else if spec["capacity"]["storage"].is_null() {
        errors.not_supported("spec.capacity", &spec["capacity"], &["storage"]);
    }
    one_of(
        &spec["persistentVolumeReclaimPolicy"],
        "spec.persistentVolumeReclaimPolicy".to_owned(),
        &["Delete", "Recycle", "Retain"],
        errors,
    );
    const SETTINGS: &[&str] = &[
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let sources = spec.as_object().into_iter().flatten();
    match sources
        .filter(|(field, _)| !SETTINGS.contains(&&***field))
        .count()
    {
        0 => errors.required("spec", "must specify a volume type"),
        1 => {}
        _ => errors.forbidden("spec", "may not specify more than 1 volume type"),
    }
    if let Some(old) = old {
        let source = |spec: &Value| {
            let mut spec = spec.clone();
            if let Some(fields) = spec.as_object_mut() {
                fields.retain(|field, _| !SETTINGS.contains(&&**field));
            }
            spec
        };
        if source(spec) != source(&old["spec"]) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.forbidden("spec.persistentvolumesource", detail);
        }
        if spec["volumeMode"] != old["spec"]["volumeMode"] {
            errors.invalid("volumeMode", &spec["volumeMode"], IMMUTABLE);
        }
    }
}

pub fn storage_class(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    if text(new, "/provisioner").is_empty() {
        errors.required("provisioner", "");
    }
    one_of(
        &new["reclaimPolicy"],
        "reclaimPolicy".to_owned(),
        &["Delete", "Retain"],
        errors,
    );
    let modes = ["Immediate", "WaitForFirstConsumer"];
    one_of(
        &new["volumeBindingMode"],
        "volumeBindingMode".to_owned(),
        &modes,
        errors,
    );
}

pub fn runtime_class(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    if text(new, "/handler").is_empty() {
        errors.required("handler", "");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::registry::Registry;
    use crate::api::{defaults, validate};

    /// What is said about an object of this kind, after defaults.
    fn complaint(api_version: &str, kind: &str, spec: &Value) -> String {
        let registry = Registry::built_in();
        let kind = registry.find_kind(api_version, kind).unwrap();
        let mut object =
            json!({"apiVersion": api_version, "kind": kind.kind, "metadata": {"name": "a"}, "spec": spec});
        if kind.namespaced {
            object["metadata"]["namespace"] = "n".into();
        }
        defaults::default_object(kind, &mut object);
        match validate::validate(kind, &object, None) {
            Ok(()) => String::new(),
            Err(status) => status.message,
        }
    }

    #[test]
    fn what_nobody_here_acts_on_is_still_judged() {
        let target = json!({"kind": "Deployment", "name": "d"});
        for (api_version, kind, spec, expected) in [
            (
                "networking.k8s.io/v1",
                "Ingress",
                json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}),
                "",
            ),
            (
                "networking.k8s.io/v1",
                "Ingress",
                json!({"rules": [{"http": {"paths": [{"path": "x", "pathType": "Exact",
                "backend": {"service": {"name": "s", "port": {"name": "http"}}}}]}}]}),
                "must be an absolute path",
            ),
            (
                "networking.k8s.io/v1",
                "Ingress",
                json!({}),
                "either `defaultBackend` or `rules`",
            ),
            (
                "policy/v1",
                "PodDisruptionBudget",
                json!({"minAvailable": "50%"}),
                "",
            ),
            (
                "policy/v1",
                "PodDisruptionBudget",
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                "cannot be both set",
            ),
            (
                "policy/v1",
                "PodDisruptionBudget",
                json!({"minAvailable": "101%"}),
                "must not be greater than 100%",
            ),
            (
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                json!({"maxReplicas": 3, "scaleTargetRef": target}),
                "",
            ),
            (
                "autoscaling/v1",
                "HorizontalPodAutoscaler",
                json!({"minReplicas": 4, "maxReplicas": 3, "scaleTargetRef": target}),
                "greater than or equal to `minReplicas`",
            ),
            (
                "v1",
                "PersistentVolumeClaim",
                json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
                "",
            ),
            (
                "v1",
                "PersistentVolumeClaim",
                json!({"accessModes": ["Often"]}),
                "spec.accessModes: Unsupported value: \"Often\"",
            ),
            (
                "v1",
                "PersistentVolume",
                json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}),
                "",
            ),
            (
                "v1",
                "PersistentVolume",
                json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}),
                "must specify a volume type",
            ),
        ] {
            let said = complaint(api_version, kind, &spec);
            assert_eq!(said.is_empty(), expected.is_empty(), "{kind} {spec}: {said}");
            assert!(said.contains(expected), "{kind} {spec}: {said}");
        }
    }
}
