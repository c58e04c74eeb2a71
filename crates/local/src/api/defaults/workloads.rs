//! Workloads: numbers of replicas, how they roll, how long they are kept.

use serde_json::{Value, json};

use super::pod::template;
use super::{child, set};

pub fn deployment(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "replicas", json!(1));
    template(child(spec, "template"));
    let strategy = child(spec, "strategy");
    set(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", json!("25%"));
        set(rolling, "maxSurge", json!("25%"));
    }
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
}

pub fn replica_set(object: &mut Value) {
    labels_of_template(object);
    let spec = child(object, "spec");
    set(spec, "replicas", json!(1));
    template(child(spec, "template"));
}

pub fn replication_controller(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object() {
        set(child(object, "spec"), "selector", labels);
    }
    replica_set(object);
}

/// An object without labels of its own takes those of its template.
fn labels_of_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object() {
        set(child(object, "metadata"), "labels", labels);
    }
}

pub fn stateful_set(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "podManagementPolicy", json!("OrderedReady"));
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    template(child(spec, "template"));
    let strategy = child(spec, "updateStrategy");
    set(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        set(child(strategy, "rollingUpdate"), "partition", json!(0));
    }
    let kept = child(spec, "persistentVolumeClaimRetentionPolicy");
    set(kept, "whenDeleted", json!("Retain"));
    set(kept, "whenScaled", json!("Retain"));
}

pub fn daemon_set(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "revisionHistoryLimit", json!(10));
    template(child(spec, "template"));
    let strategy = child(spec, "updateStrategy");
    set(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", json!(1));
        set(rolling, "maxSurge", json!(0));
    }
}

pub fn job(object: &mut Value) {
    select_own_pods(object);
    labels_of_template(object);
    job_spec(child(object, "spec"));
}

/// A Job that says nothing of a selector selects its own pods and nobody else's: by its uid.
fn select_own_pods(object: &mut Value) {
    let (uid, name) = (
        object["metadata"]["uid"].clone(),
        object["metadata"]["name"].clone(),
    );
    if !uid.is_string() || object["spec"]["manualSelector"] == true || object["spec"]["selector"].is_object()
    {
        return;
    }
    let spec = child(object, "spec");
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for (label, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels[label] = value.clone();
    }
    set(
        spec,
        "selector",
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    );
}

pub fn cron_job(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "concurrencyPolicy", json!("Allow"));
    set(spec, "failedJobsHistoryLimit", json!(1));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "suspend", json!(false));
    job_spec_of_template(child(child(spec, "jobTemplate"), "spec"));
}

fn job_spec(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        set(spec, "completions", json!(1));
    }
    set(spec, "parallelism", json!(1));
    let most = if spec["backoffLimitPerIndex"].is_null() {
        6
    } else {
        i32::MAX
    };
    set(spec, "backoffLimit", json!(most));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "manualSelector", json!(false));
    let replaced = if spec["podFailurePolicy"].is_null() {
        "TerminatingOrFailed"
    } else {
        "Failed"
    };
    set(spec, "podReplacementPolicy", json!(replaced));
    job_spec_of_template(spec);
}

fn job_spec_of_template(spec: &mut Value) {
    template(child(spec, "template"));
}

pub fn horizontal_pod_autoscaler(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "minReplicas", json!(1));
    set(
        spec,
        "metrics",
        json!([{"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageUtilization": 80}}}]),
    );
}

/// The older version; what it cannot say is given by an annotation.
pub fn horizontal_pod_autoscaler_v1(object: &mut Value) {
    let by_annotation = object
        .pointer("/metadata/annotations")
        .is_some_and(|annotations| {
            annotations
                .get("autoscaling.alpha.kubernetes.io/metrics")
                .is_some()
        });
    let spec = child(object, "spec");
    set(spec, "minReplicas", json!(1));
    if !by_annotation {
        set(spec, "targetCPUUtilizationPercentage", json!(80));
    }
}
