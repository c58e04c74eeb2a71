//! The pods of a Job: labels, the finalizer by which they are counted, and an index for those that have one.

use serde_json::{Value, json};

use super::super::object;
use super::super::pods;
use super::TRACKING;
use super::view::Job;

pub(super) const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Label and annotation of an indexed pod.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often pods of the same index have failed before.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// A new pod; an indexed one with its index and the failures of those before it.
pub(super) fn new(job: &Job<'_>, index: Option<(i64, i64)>) -> Value {
    let mut pod = pods::from_template(job.object, &job.object["spec"]["template"]);
    let metadata = &mut pod["metadata"];
    let own = object::list(&metadata["finalizers"]).iter().cloned();
    metadata["finalizers"] = own.chain([TRACKING.into()]).collect();
    let Some((index, failures)) = index else {
        return pod;
    };
    let name = format!("{}-{index}", object::name(job.object));
    metadata["generateName"] = format!("{name}-").into();
    metadata["labels"][INDEX] = index.to_string().into();
    metadata["annotations"][INDEX] = index.to_string().into();
    if job.backoff_limit_per_index.is_some() {
        metadata["annotations"][FAILURES] = failures.to_string().into();
    }
    if pod["spec"]["hostname"].is_null() {
        pod["spec"]["hostname"] = name.into();
    }
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            tell_index(container);
        }
    }
    pod
}

/// Gives a container the index as a variable, unless it has one of that name.
fn tell_index(container: &mut Value) {
    let known = object::list(&container["env"]);
    if known.iter().any(|variable| variable["name"] == VARIABLE) {
        return;
    }
    let from = format!("metadata.labels['{INDEX}']");
    let variable =
        json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": from}}});
    container["env"] = known.iter().cloned().chain([variable]).collect();
}

pub(super) fn index(pod: &Value) -> Option<i64> {
    object::annotation(pod, INDEX).parse().ok()
}

/// How often pods of its index had failed before it was made.
pub(super) fn failures_before(pod: &Value) -> i64 {
    object::annotation(pod, FAILURES).parse().unwrap_or(0)
}
