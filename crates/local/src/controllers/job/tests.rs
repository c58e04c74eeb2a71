//! Steps of Jobs, on plain data.
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::object;
use super::plan::{Plan, next};
use crate::api::client::Object;
use crate::api::time;

fn at(second: u64) -> SystemTime {
    time::parse("2026-01-01T00:00:00Z").unwrap() + Duration::from_secs(second)
}

fn job(spec: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "pi", "namespace": "n", "uid": "u"},
        "spec": {"completions": 1, "parallelism": 1, "backoffLimit": 6,
            "template": {"metadata": {"labels": {"app": "pi"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}});
    for (field, value) in spec.as_object().unwrap() {
        job["spec"][field] = value.clone();
    }
    job
}

/// A pod that ended (or not) at the beginning, still to be counted.
fn pod(uid: &str, phase: &str, code: i64) -> Value {
    json!({"metadata": {"name": uid, "namespace": "n", "uid": uid, "finalizers": [super::TRACKING]},
        "status": {"phase": phase, "containerStatuses": [{"name": "c", "state": {"terminated":
            {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}}]}})
}

fn indexed(index: i64, mut pod: Value) -> Value {
    pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = index.to_string().into();
    pod
}

fn step(job: &Value, pods: &[Value], second: u64) -> Plan {
    let pods: Vec<Object> = pods.iter().cloned().map(Arc::new).collect();
    next(job, &pods, at(second))
}

/// Steps with the status written and finalizers taken until nothing changes; the plan at the end.
fn settle(job: &mut Value, pods: &mut [Value], second: u64) -> Plan {
    for _ in 0..10 {
        let plan = step(job, pods, second);
        let before = job["status"].clone();
        job["status"] = plan.status.clone();
        for released in &plan.release {
            for pod in pods
                .iter_mut()
                .filter(|pod| object::uid(pod) == object::uid(released))
            {
                pod["metadata"]["finalizers"] = json!([]);
            }
        }
        if job["status"] == before && plan.release.is_empty() {
            return plan;
        }
    }
    panic!("it never settles: {job}");
}

fn reason<'a>(job: &'a Value, kind: &str) -> &'a str {
    object::condition(job, kind).map_or("", |condition| object::text(&condition["reason"]))
}

#[test]
fn a_pod_that_succeeds_completes_the_job_and_is_counted_once() {
    let mut job = job(json!({}));
    let plan = step(&job, &[], 0);
    assert_eq!(plan.create.len(), 1);
    assert_eq!(plan.create[0]["metadata"]["finalizers"], json!([super::TRACKING]));
    assert_eq!(plan.status["startTime"], "2026-01-01T00:00:00Z");
    let mut pods = [pod("a", "Succeeded", 0)];
    let first = step(&job, &pods, 5);
    assert_eq!(
        first.status["uncountedTerminatedPods"],
        json!({"succeeded": ["a"]})
    );
    assert_eq!(first.status["succeeded"], Value::Null);
    assert_eq!(first.status["conditions"][0]["type"], "SuccessCriteriaMet");
    settle(&mut job, &mut pods, 5);
    assert_eq!(job["status"]["succeeded"], 1);
    assert_eq!(reason(&job, "Complete"), "CompletionsReached");
    assert_eq!(job["status"]["completionTime"], "2026-01-01T00:00:05Z");
    assert_eq!(job["status"]["uncountedTerminatedPods"], json!({}));
}

#[test]
fn failures_are_tried_again_ever_later_until_the_limit() {
    let mut object = job(json!({"backoffLimit": 1}));
    let mut pods = vec![pod("a", "Failed", 1)];
    let plan = settle(&mut object, &mut pods, 4);
    assert!(plan.create.is_empty());
    assert_eq!(plan.look_again, Some(Duration::from_secs(6)));
    let plan = step(&object, &pods, 10);
    assert_eq!((plan.create.len(), plan.look_again), (1, None));
    pods.push(pod("b", "Failed", 1));
    settle(&mut object, &mut pods, 11);
    assert_eq!(object["status"]["failed"], 2);
    assert_eq!(reason(&object, "Failed"), "BackoffLimitExceeded");
}

#[test]
fn a_job_that_fails_waits_for_the_pods_that_still_run() {
    let mut object = job(json!({"backoffLimit": 0, "parallelism": 2, "completions": 2}));
    let mut pods = vec![pod("a", "Failed", 1), pod("b", "Running", 0)];
    let plan = step(&object, &pods, 1);
    assert_eq!(plan.delete.len(), 1);
    settle(&mut object, &mut pods[..], 1);
    assert_eq!(
        (reason(&object, "FailureTarget"), reason(&object, "Failed")),
        ("BackoffLimitExceeded", "")
    );
    pods[1]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:02Z".into();
    settle(&mut object, &mut pods[..], 2);
    assert_eq!(reason(&object, "Failed"), "", "it has not ended yet");
    pods[1]["status"]["phase"] = "Failed".into();
    settle(&mut object, &mut pods[..], 3);
    assert_eq!(reason(&object, "Failed"), "BackoffLimitExceeded");
}

#[test]
fn a_job_out_of_time_fails_and_a_suspended_one_has_no_time() {
    let mut object = job(json!({"activeDeadlineSeconds": 10}));
    let mut pods = [pod("a", "Running", 0)];
    let plan = settle(&mut object, &mut pods, 0);
    assert_eq!(plan.look_again, Some(Duration::from_secs(10)));
    let plan = step(&object, &pods, 10);
    assert_eq!(plan.delete.len(), 1);
    assert_eq!(plan.status["conditions"][0]["reason"], "DeadlineExceeded");
    object["spec"]["suspend"] = true.into();
    let plan = step(&object, &pods, 5);
    assert_eq!(plan.delete.len(), 1);
    assert_eq!(plan.status["startTime"], Value::Null);
    assert_eq!(plan.status["conditions"][0]["type"], "Suspended");
    object["status"] = plan.status;
    object["spec"]["suspend"] = false.into();
    let plan = step(&object, &[], 60);
    assert_eq!(plan.create.len(), 1);
    assert_eq!(plan.status["startTime"], "2026-01-01T00:01:00Z");
    assert_eq!(plan.status["conditions"][0]["reason"], "JobResumed");
}

#[test]
fn indexed_pods_are_numbered_and_each_index_completes_once() {
    let mut object = job(json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2}));
    let plan = step(&object, &[], 0);
    let names: Vec<&str> = plan
        .create
        .iter()
        .map(|pod| object::text(&pod["metadata"]["generateName"]))
        .collect();
    assert_eq!(names, ["pi-0-", "pi-1-"]);
    assert_eq!(plan.create[1]["spec"]["hostname"], "pi-1");
    assert_eq!(
        plan.create[1]["spec"]["containers"][0]["env"][0]["name"],
        "JOB_COMPLETION_INDEX"
    );
    let mut pods = vec![
        indexed(0, pod("a", "Succeeded", 0)),
        indexed(0, pod("b", "Succeeded", 0)),
        indexed(1, pod("c", "Running", 0)),
    ];
    let plan = settle(&mut object, &mut pods, 1);
    assert_eq!(
        (
            &object["status"]["completedIndexes"],
            &object["status"]["succeeded"]
        ),
        (&json!("0"), &json!(1))
    );
    assert_eq!(plan.create[0]["metadata"]["generateName"], "pi-2-");
}

#[test]
fn with_a_limit_for_each_index_the_others_go_on() {
    let mut object = job(
        json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2,
        "backoffLimit": i32::MAX, "backoffLimitPerIndex": 0}),
    );
    let mut pods = vec![
        indexed(0, pod("a", "Failed", 1)),
        indexed(1, pod("b", "Running", 0)),
    ];
    let plan = settle(&mut object, &mut pods, 20);
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    assert_eq!(object["status"]["failedIndexes"], "0");
    pods[1]["status"]["phase"] = "Succeeded".into();
    settle(&mut object, &mut pods, 21);
    assert_eq!(reason(&object, "Failed"), "FailedIndexes");
}

#[test]
fn the_failure_policy_ignores_counts_and_ends() {
    let rule = |action: &str| {
        json!({"podFailurePolicy": {"rules": [
        {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]}})
    };
    let mut ignoring = job(rule("Ignore"));
    settle(&mut ignoring, &mut [pod("a", "Failed", 42)], 60);
    assert_eq!(ignoring["status"]["failed"], Value::Null);
    let mut ending = job(rule("FailJob"));
    settle(&mut ending, &mut [pod("a", "Failed", 42)], 60);
    assert_eq!(reason(&ending, "Failed"), "PodFailurePolicy");
    assert_eq!(
        object::condition(&ending, "Failed").unwrap()["message"],
        "Container c for pod n/a failed with exit code 42 matching FailJob rule at index 0"
    );
    let mut other_code = job(rule("FailJob"));
    settle(&mut other_code, &mut [pod("a", "Failed", 1)], 60);
    assert_eq!(other_code["status"]["failed"], 1);
}

#[test]
fn a_success_policy_ends_the_job_early() {
    let mut object = job(
        json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "0,1", "succeededCount": 1}]}}),
    );
    let mut pods = vec![indexed(1, pod("a", "Succeeded", 0))];
    settle(&mut object, &mut pods, 1);
    assert_eq!(reason(&object, "Complete"), "SuccessPolicy");
}

#[test]
fn without_completions_one_success_is_enough() {
    let mut object = job(json!({"completions": null, "parallelism": 2}));
    assert_eq!(step(&object, &[], 0).create.len(), 2);
    let mut pods = vec![pod("a", "Succeeded", 0), pod("b", "Running", 0)];
    let plan = settle(&mut object, &mut pods, 1);
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    pods[1]["status"]["phase"] = "Failed".into();
    settle(&mut object, &mut pods, 2);
    assert_eq!(reason(&object, "Complete"), "CompletionsReached");
}

#[test]
fn a_job_that_is_over_goes_when_its_time_is_up() {
    let mut object = job(json!({"ttlSecondsAfterFinished": 30}));
    let mut pods = [pod("a", "Succeeded", 0)];
    let plan = settle(&mut object, &mut pods, 10);
    assert_eq!(
        (plan.remove, plan.look_again),
        (false, Some(Duration::from_secs(30)))
    );
    assert!(step(&object, &pods, 40).remove);
}
