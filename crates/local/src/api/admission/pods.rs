//! Priority and DefaultTolerationSeconds: what every pod of a real cluster has in its spec.

use serde_json::{Value, json};

use super::{Lookup, Review, forbidden};
use crate::api::{Gvr, Status};

const PRIORITY_CLASSES: Gvr = Gvr::fixed("scheduling.k8s.io", "v1", "priorityclasses");
/// Classes that are there without being made.
const SYSTEM: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

/// The number behind the pod's priority class.
pub(super) fn priority(lookup: &dyn Lookup, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return Ok(());
    }
    let name = spec["priorityClassName"].as_str().unwrap_or_default();
    let class = if name.is_empty() {
        lookup
            .all(&PRIORITY_CLASSES)
            .into_iter()
            .find(|class| class["globalDefault"] == true)
    } else {
        lookup.find(&PRIORITY_CLASSES, "", name)
    };
    let system = SYSTEM
        .iter()
        .find(|(system, _)| *system == name)
        .map(|(_, value)| *value);
    let value = match (&class, system) {
        (Some(class), _) => class["value"].as_i64().unwrap_or(0),
        (None, Some(value)) => value,
        (None, None) if name.is_empty() => 0,
        (None, None) => {
            return Err(forbidden(
                review,
                &format!("no PriorityClass with name {name} was found"),
            ));
        }
    };
    let policy = class
        .as_ref()
        .and_then(|class| class["preemptionPolicy"].as_str());
    if name.is_empty()
        && let Some(class) = &class
    {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    spec["priority"] = json!(value);
    if spec["preemptionPolicy"].is_null() {
        spec["preemptionPolicy"] = json!(policy.unwrap_or("PreemptLowerPriority"));
    }
    Ok(())
}

/// A pod stays five minutes on a node that does not answer, unless it says otherwise.
pub(super) fn tolerations(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let given = spec["tolerations"].as_array().map_or(&[][..], Vec::as_slice);
        let tolerated = given.iter().any(|one| {
            let effect = one["effect"].as_str().unwrap_or_default();
            let its_key = one["key"].as_str().unwrap_or_default();
            matches!(effect, "" | "NoExecute") && (its_key == key || its_key.is_empty())
        });
        if tolerated {
            continue;
        }
        let added =
            json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        match spec["tolerations"].as_array_mut() {
            Some(list) => list.push(added),
            None => spec["tolerations"] = json!([added]),
        }
    }
}
