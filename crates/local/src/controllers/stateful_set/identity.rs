//! What makes a pod of a StatefulSet that one: name, host name, labels, volumes.
//!
//! <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity>

use serde_json::{Value, json};

use super::super::object::{self, list};
use super::super::{pods, revision};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal of a pod of the set; `None` for a pod that only happens to have its labels.
pub(super) fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let rest = object::name(pod).strip_prefix(object::name(set))?;
    let digits = rest.strip_prefix('-')?;
    let number: i64 = digits.parse().ok()?;
    // `web-01` and `web-+1` are not `web-1`.
    (number >= 0 && number.to_string() == digits).then_some(number)
}

/// The pod with this ordinal, by the template of a revision.
pub(super) fn pod(set: &Value, revision: &Value, ordinal: i64) -> Value {
    let name = format!("{}-{ordinal}", object::name(set));
    let mut pod = pods::from_template(set, &revision::template(revision));
    let metadata = pod["metadata"].as_object_mut().expect("from_template makes one");
    metadata.shift_remove("generateName");
    metadata.insert("name".to_owned(), name.as_str().into());
    pod["metadata"]["labels"][revision::OF_POD] = object::name(revision).into();
    for (label, value) in labels(&name, ordinal) {
        pod["metadata"]["labels"][label] = value.into();
    }
    pod["spec"]["hostname"] = name.into();
    pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    replace_claims(set, &mut pod["spec"]);
    pod
}

/// The labels that a pod lacks to be the one with this ordinal.
pub(super) fn missing_labels(pod: &Value, ordinal: i64) -> Option<Value> {
    let wanted = labels(object::name(pod), ordinal);
    let is_there = wanted
        .iter()
        .all(|(label, value)| object::label(pod, label) == value);
    let patch = wanted
        .into_iter()
        .map(|(label, value)| (label, Value::from(value)));
    (!is_there).then(|| Value::from_iter(patch))
}

pub(super) fn claim_names(set: &Value) -> Vec<&str> {
    list(&set["spec"]["volumeClaimTemplates"])
        .iter()
        .map(object::name)
        .collect()
}

fn labels(name: &str, ordinal: i64) -> [(&'static str, String); 2] {
    [(POD_NAME, name.to_owned()), (POD_INDEX, ordinal.to_string())]
}

/// A claim takes the place of the template's volume of the same name, and an empty directory that of the claim.
fn replace_claims(set: &Value, spec: &mut Value) {
    let claims = claim_names(set);
    if claims.is_empty() {
        return;
    }
    let own = list(&spec["volumes"])
        .iter()
        .filter(|volume| !claims.contains(&object::text(&volume["name"])));
    let empty = claims.iter().map(|name| json!({"name": name, "emptyDir": {}}));
    spec["volumes"] = own.cloned().chain(empty).collect();
}
