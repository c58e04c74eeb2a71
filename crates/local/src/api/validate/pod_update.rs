//! What of a pod may change once it exists: images, deadlines, tolerations; the rest is fixed.
//!
//! Source: `ValidatePodUpdate` in `pkg/apis/core/validation`. Kubernetes adds a diff of its Go types to the last text.

use serde_json::Value;

use super::{items, text};
use crate::api::field::FieldErrors;

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                          `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions \
                          to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
                          was previously negative)";

/// Compares the specs of a pod.
pub(super) fn check(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for list in ["containers", "initContainers"] {
        if items(&new[list]).count() != items(&old[list]).count() {
            errors.forbidden(
                format!("spec.{list}"),
                "pod updates may not add or remove containers",
            );
            return;
        }
    }
    deadline(
        &new["activeDeadlineSeconds"],
        &old["activeDeadlineSeconds"],
        errors,
    );
    gates(new, old, errors);
    tolerations(&new["tolerations"], &old["tolerations"], errors);
    if fixed(new, old) != fixed(old, old) {
        errors.forbidden("spec", MAY_CHANGE);
    }
}

/// A deadline may come, and then only come nearer.
fn deadline(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = "spec.activeDeadlineSeconds";
    match (new.as_i64(), old.as_i64()) {
        (Some(now), Some(before)) if now > before => {
            errors.invalid(path, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(path, new, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

/// Gates only open.
fn gates(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for (index, gate) in items(&new["schedulingGates"]) {
        let name = text(gate, "/name");
        if !items(&old["schedulingGates"]).any(|(_, gate)| text(gate, "/name") == name) {
            errors.forbidden(
                format!("spec.schedulingGates[{index}].name"),
                &format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            );
        }
    }
}

fn tolerations(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let what = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.shift_remove("tolerationSeconds");
        }
        toleration
    };
    let is_kept = |before: &Value| items(new).any(|(_, now)| what(now) == what(before));
    if !items(old).all(|(_, before)| is_kept(before)) {
        errors.forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

/// A spec without what may differ from `old`, the spec that is there.
fn fixed(spec: &Value, old: &Value) -> Value {
    let mut spec = spec.clone();
    let gated = items(&old["schedulingGates"]).next().is_some();
    let grace_was_negative = old["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0);
    if let Some(fields) = spec.as_object_mut() {
        for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
            fields.shift_remove(field);
        }
        // The scheduler says where, once.
        if text(old, "/nodeName").is_empty() {
            fields.shift_remove("nodeName");
        }
        // Who gates a pod may still say where it can go.
        if gated {
            fields.shift_remove("nodeSelector");
            fields.shift_remove("affinity");
        }
        if grace_was_negative && fields.get("terminationGracePeriodSeconds") == Some(&1.into()) {
            fields.insert(
                "terminationGracePeriodSeconds".to_owned(),
                old["terminationGracePeriodSeconds"].clone(),
            );
        }
    }
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for fields in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            fields.shift_remove("image");
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(new: Value, old: Value) -> String {
        let whole = |part: Value| {
            let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
            for (field, value) in part.as_object().unwrap() {
                spec[field] = value.clone();
            }
            spec
        };
        let mut errors = FieldErrors::default();
        check(&whole(new), &whole(old), &mut errors);
        let texts: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.path, e.body)).collect();
        texts.join("; ")
    }

    #[test]
    fn what_may_change_changes() {
        let toleration =
            |seconds: u32| json!({"key": "a", "operator": "Exists", "tolerationSeconds": seconds});
        for (new, old) in [
            (json!({"containers": [{"name": "c", "image": "j"}]}), json!({})),
            (json!({"activeDeadlineSeconds": 5}), json!({})),
            (
                json!({"activeDeadlineSeconds": 5}),
                json!({"activeDeadlineSeconds": 6}),
            ),
            (
                json!({"tolerations": [toleration(1), {"key": "b"}]}),
                json!({"tolerations": [toleration(2)]}),
            ),
            (json!({"nodeName": "n"}), json!({})),
            (
                json!({"nodeSelector": {"a": "b"}}),
                json!({"schedulingGates": [{"name": "g"}]}),
            ),
            (
                json!({"terminationGracePeriodSeconds": 1}),
                json!({"terminationGracePeriodSeconds": -1}),
            ),
        ] {
            assert_eq!(said(new.clone(), old), "", "{new}");
        }
    }

    #[test]
    fn what_may_not_change_is_refused_in_kubernetes_words() {
        let anything = format!("spec: Forbidden: {MAY_CHANGE}");
        for (new, old, expected) in [
            (json!({"nodeName": "m"}), json!({"nodeName": "n"}), &*anything),
            (json!({"nodeSelector": {"a": "b"}}), json!({}), &*anything),
            (
                json!({"terminationGracePeriodSeconds": 2}),
                json!({"terminationGracePeriodSeconds": 1}),
                &*anything,
            ),
            (
                json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}),
                json!({}),
                &*anything,
            ),
            (
                json!({"containers": [{"name": "c"}, {"name": "d"}]}),
                json!({}),
                "spec.containers: Forbidden: pod updates may not add or remove containers",
            ),
            (
                json!({"activeDeadlineSeconds": 7}),
                json!({"activeDeadlineSeconds": 6}),
                "spec.activeDeadlineSeconds: Invalid value: 7: must be less than or equal to previous value",
            ),
            (
                json!({}),
                json!({"activeDeadlineSeconds": 6}),
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ),
            (
                json!({"tolerations": [{"key": "b"}]}),
                json!({"tolerations": [{"key": "a"}]}),
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ),
            (
                json!({"schedulingGates": [{"name": "g"}]}),
                json!({}),
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
            ),
        ] {
            assert_eq!(said(new, old), expected);
        }
    }
}
