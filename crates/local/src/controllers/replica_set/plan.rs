//! What a ReplicaSet is to do next, given its pods: a pure function of both and the time.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::object;
use super::super::pods::{self, is_ready, ready_since, restarts, until_available};
use crate::api::client::Object;
use crate::api::time;

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    /// So many more pods.
    Create(usize),
    /// These pods are too many.
    Delete(Vec<Object>),
}

/// More than this at once is left for the next look.
const BURST: usize = 500;

pub(super) fn step(replica_set: &Value, pods: &[Object]) -> Step {
    if object::is_ending(replica_set) {
        return Step::Nothing;
    }
    let active = active(pods);
    let wanted = wanted(replica_set);
    match active.len().cmp(&wanted) {
        Ordering::Equal => Step::Nothing,
        Ordering::Less => Step::Create((wanted - active.len()).min(BURST)),
        Ordering::Greater => {
            let too_many = (active.len() - wanted).min(BURST);
            Step::Delete(least_missed(active).into_iter().take(too_many).collect())
        }
    }
}

/// Replicas; absent means one.
pub(super) fn wanted(replica_set: &Value) -> usize {
    let replicas = replica_set["spec"]["replicas"].as_i64().unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

/// Pods that run or will: not ended, not about to be removed.
pub(super) fn active(pods: &[Object]) -> Vec<Object> {
    pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect()
}

/// The pods in the order in which they are given up: those that do the least good first.
///
/// <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset>
fn least_missed(mut pods: Vec<Object>) -> Vec<Object> {
    pods.sort_by(|one, other| {
        let by_worth = worth(one).cmp(&worth(other));
        // The longest ready, the least restarted and the oldest stay.
        by_worth
            .then_with(|| ready_since(other).cmp(ready_since(one)))
            .then_with(|| restarts(other).cmp(&restarts(one)))
            .then_with(|| object::created(other).cmp(object::created(one)))
            .then_with(|| object::name(one).cmp(object::name(other)))
    });
    pods
}

/// Scheduled, phase, ready, and what the user says that it costs to delete the pod.
fn worth(pod: &Value) -> (bool, u8, bool, i64) {
    let phase = match pod["status"]["phase"].as_str() {
        Some("Running") => 2,
        Some("Unknown") => 1,
        _ => 0,
    };
    let cost = object::annotation(pod, "controller.kubernetes.io/pod-deletion-cost")
        .parse()
        .unwrap_or(0);
    (pod["spec"]["nodeName"].is_string(), phase, is_ready(pod), cost)
}

/// The status as it should be, and when it may change by time alone. `failure` is what went wrong this time:
/// reason and message.
pub(super) fn status(
    replica_set: &Value,
    pods: &[Object],
    failure: Option<(&str, &str)>,
    now: SystemTime,
) -> (Value, Option<Duration>) {
    let active = active(pods);
    let template_labels = &replica_set["spec"]["template"]["metadata"]["labels"];
    let count = |test: &dyn Fn(&Value) -> bool| active.iter().filter(|pod| test(pod)).count();
    let least = object::number(&replica_set["spec"]["minReadySeconds"]);
    let left: Vec<Duration> = active
        .iter()
        .filter_map(|pod| until_available(pod, least, now))
        .collect();
    let mut status = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas":
            count(&|pod| super::super::selector::matches_map(template_labels, &pod["metadata"]["labels"])),
        "readyReplicas": count(&is_ready),
        "availableReplicas": left.iter().filter(|left| left.is_zero()).count(),
        "observedGeneration": replica_set["metadata"]["generation"],
    });
    let conditions = conditions(replica_set, failure, now);
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    (status, left.into_iter().filter(|left| !left.is_zero()).min())
}

fn conditions(replica_set: &Value, failure: Option<(&str, &str)>, now: SystemTime) -> Vec<Value> {
    let kind = "ReplicaFailure";
    let before = object::condition(replica_set, kind);
    let others = object::list(&replica_set["status"]["conditions"])
        .iter()
        .filter(|one| one["type"] != kind);
    let mut conditions: Vec<Value> = others.cloned().collect();
    if let Some((reason, message)) = failure {
        let same = before.filter(|before| before["reason"] == reason);
        let condition = same.cloned().unwrap_or_else(|| {
            json!({
                "type": kind, "status": "True", "lastTransitionTime": time::rfc3339(now),
                "reason": reason, "message": message,
            })
        });
        conditions.push(condition);
    }
    conditions
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(name: &str, phase: &str, ready_at: Option<&str>) -> Object {
        let ready = ready_at.map(|at| json!({"type": "Ready", "status": "True", "lastTransitionTime": at}));
        Arc::new(json!({
            "metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"nodeName": "n"},
            "status": {"phase": phase, "conditions": ready.into_iter().collect::<Vec<_>>()},
        }))
    }

    fn replica_set(replicas: i64) -> Value {
        json!({"metadata": {"name": "r", "generation": 3}, "spec": {"replicas": replicas, "minReadySeconds": 10,
            "template": {"metadata": {"labels": {"app": "a"}}}}})
    }

    #[test]
    fn ended_pods_are_replaced_and_surplus_ones_given_up() {
        let pods = [pod("a", "Running", None), pod("b", "Failed", None)];
        assert_eq!(step(&replica_set(3), &pods), Step::Create(2));
        assert_eq!(step(&replica_set(1), &pods), Step::Nothing);
        assert_eq!(step(&replica_set(0), &pods), Step::Delete(vec![pods[0].clone()]));
    }

    #[test]
    fn pods_that_do_the_least_good_go_first() {
        let mut unscheduled = Value::clone(&pod("unscheduled", "Pending", None));
        unscheduled["spec"] = json!({});
        let mut cheap = Value::clone(&pod("cheap", "Running", Some("2026-01-01T00:00:00Z")));
        cheap["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-1"});
        let pods = vec![
            pod("old", "Running", Some("2026-01-01T00:00:00Z")),
            pod("young", "Running", Some("2026-01-02T00:00:00Z")),
            pod("unready", "Running", None),
            Arc::new(cheap),
            pod("pending", "Pending", None),
            Arc::new(unscheduled),
        ];
        let order: Vec<String> = least_missed(pods)
            .iter()
            .map(|pod| object::name(pod).to_owned())
            .collect();
        assert_eq!(
            order,
            ["unscheduled", "pending", "unready", "cheap", "young", "old"]
        );
    }

    #[test]
    fn a_pod_is_available_after_it_was_ready_for_the_least_time() {
        let pods = [
            pod("a", "Running", Some("2026-01-01T00:00:00Z")),
            pod("b", "Running", None),
        ];
        let at = |text: &str| time::parse(text).unwrap();
        let (early, left) = status(&replica_set(2), &pods, None, at("2026-01-01T00:00:04Z"));
        assert_eq!(
            (&early["readyReplicas"], &early["availableReplicas"]),
            (&json!(1), &json!(0))
        );
        assert_eq!(left, Some(Duration::from_secs(6)));
        let (late, left) = status(&replica_set(2), &pods, None, at("2026-01-01T00:00:10Z"));
        assert_eq!((&late["availableReplicas"], left), (&json!(1), None));
        assert_eq!(
            (&late["fullyLabeledReplicas"], &late["observedGeneration"]),
            (&json!(2), &json!(3))
        );
    }

    #[test]
    fn a_failure_is_a_condition_until_it_is_over() {
        let now = time::parse("2026-01-01T00:00:00Z").unwrap();
        let mut set = replica_set(1);
        let (failed, _) = status(&set, &[], Some(("FailedCreate", "no")), now);
        set["status"] = failed.clone();
        let (again, _) = status(
            &set,
            &[],
            Some(("FailedCreate", "no, really")),
            now + Duration::from_secs(9),
        );
        assert_eq!(
            again, failed,
            "the condition does not change while the reason is the same"
        );
        let (over, _) = status(&set, &[], None, now);
        assert!(over["conditions"].is_null());
    }
}
