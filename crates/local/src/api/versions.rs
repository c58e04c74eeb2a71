//! Kinds that are served in two shapes and stored in one: events, and autoscalers.
//!
//! What a shape cannot say is not lost: it stands in annotations, where Kubernetes keeps it too, until the object is
//! read in the other shape again.

use serde_json::{Value, json};

/// Fields of an event in the core group, and the same in `events.k8s.io`.
pub(super) const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn event_from_core(event: &mut Value) {
    for (core, newer) in EVENT_FIELDS {
        rename(event, core, newer);
    }
}

pub(super) fn event_to_core(event: &mut Value) {
    for (core, newer) in EVENT_FIELDS {
        rename(event, newer, core);
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(fields) = object.as_object_mut()
        && let Some(value) = fields.shift_remove(from)
    {
        fields.insert(to.to_owned(), value);
    }
}

/// Parts of a v2 autoscaler that v1 has no field for.
const ANNOTATED: &[(&str, &str, &str)] = &[
    ("spec", "metrics", "autoscaling.alpha.kubernetes.io/metrics"),
    ("spec", "behavior", "autoscaling.alpha.kubernetes.io/behavior"),
    (
        "status",
        "currentMetrics",
        "autoscaling.alpha.kubernetes.io/current-metrics",
    ),
    (
        "status",
        "conditions",
        "autoscaling.alpha.kubernetes.io/conditions",
    ),
];

/// `autoscaling/v2` as v1 shows it: the wanted use of CPU is a field, everything else an annotation.
pub(super) fn autoscaler_from_v2(scaler: &mut Value) {
    if let Some(metrics) = scaler.pointer_mut("/spec/metrics").and_then(Value::as_array_mut)
        && let Some(at) = metrics.iter().position(|metric| cpu_use(metric).is_some())
    {
        let wanted = cpu_use(&metrics.remove(at));
        scaler["spec"]["targetCPUUtilizationPercentage"] = json!(wanted);
    }
    for (part, field, annotation) in ANNOTATED {
        let Some(value) = scaler
            .get_mut(part)
            .and_then(Value::as_object_mut)
            .and_then(|fields| fields.shift_remove(*field))
        else {
            continue;
        };
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if !is_empty && scaler["metadata"].is_object() {
            scaler["metadata"]["annotations"][annotation] = value.to_string().into();
        }
    }
}

/// The way back.
pub(super) fn autoscaler_to_v2(scaler: &mut Value) {
    for (part, field, annotation) in ANNOTATED {
        let annotations = scaler.pointer_mut("/metadata/annotations");
        let Some(annotations) = annotations.and_then(Value::as_object_mut) else {
            break;
        };
        let kept = annotations.shift_remove(*annotation);
        let kept = kept.and_then(|text| serde_json::from_str::<Value>(text.as_str()?).ok());
        if let Some(kept) = kept.filter(|kept| kept.is_array() || kept.is_object()) {
            scaler[part][field] = kept;
        }
    }
    let wanted = scaler
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .and_then(|spec| spec.shift_remove("targetCPUUtilizationPercentage"));
    if let Some(wanted) = wanted {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageUtilization": wanted}}});
        match scaler.pointer_mut("/spec/metrics").and_then(Value::as_array_mut) {
            Some(metrics) => metrics.insert(0, metric),
            None => scaler["spec"]["metrics"] = json!([metric]),
        }
    }
    let annotations = scaler.pointer("/metadata/annotations");
    if annotations
        .and_then(Value::as_object)
        .is_some_and(serde_json::Map::is_empty)
        && let Some(metadata) = scaler.pointer_mut("/metadata").and_then(Value::as_object_mut)
    {
        metadata.shift_remove("annotations");
    }
}

/// The share of CPU that a metric wants, when that is what it measures.
fn cpu_use(metric: &Value) -> Option<i64> {
    let resource = &metric["resource"];
    (metric["type"] == "Resource" && resource["name"] == "cpu")
        .then(|| resource["target"]["averageUtilization"].as_i64())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::registry::Registry;

    #[test]
    fn an_event_is_one_object_in_both_groups() {
        let registry = Registry::built_in();
        let kind = registry.find("events.k8s.io", "v1", "events").unwrap();
        let core = json!({"apiVersion": "v1", "kind": "Event", "message": "Started", "count": 3});
        let served = kind.from_stored(core.clone());
        assert_eq!(served["note"], "Started");
        assert_eq!(served["apiVersion"], "events.k8s.io/v1");
        assert_eq!(kind.to_stored(served), core);
    }

    #[test]
    fn an_autoscaler_loses_nothing_in_its_older_version() {
        let registry = Registry::built_in();
        let kind = registry
            .find("autoscaling", "v1", "horizontalpodautoscalers")
            .unwrap();
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageUtilization": 60}}});
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target":
            {"type": "AverageValue", "averageValue": "1Gi"}}});
        for metrics in [json!([cpu]), json!([cpu, memory]), json!([memory])] {
            let stored = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "metrics": metrics}});
            let served = kind.from_stored(stored.clone());
            assert_eq!(served["spec"].get("metrics"), None);
            assert_eq!(kind.to_stored(served), stored);
        }
    }
}
