//! What a failed pod means for its Job: `podFailurePolicy`, and how long to wait before the next try.
//!
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy>

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::object::{self, list, text};
use super::super::pods;
use super::view::{Job, has_failed, has_succeeded};
use crate::api::client::Object;
use crate::api::time;

/// What a rule says about a pod's failure.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judgement {
    /// It counts like any other.
    Count,
    Ignore,
    FailIndex,
    /// The whole Job fails, for this reason.
    FailJob(String),
}

/// The first rule that matches a failed pod decides.
pub(super) fn judge(job: &Job<'_>, pod: &Value) -> Judgement {
    if pod["status"]["phase"] != "Failed" {
        return Judgement::Count;
    }
    let rules = list(&job.object["spec"]["podFailurePolicy"]["rules"]);
    let matching = rules.iter().enumerate().find_map(|(position, rule)| {
        let why = by_exit_code(rule, pod).or_else(|| by_condition(rule, pod))?;
        Some((position, rule, why))
    });
    let Some((position, rule, why)) = matching else {
        return Judgement::Count;
    };
    match text(&rule["action"]) {
        "Ignore" => Judgement::Ignore,
        "FailIndex" if job.backoff_limit_per_index.is_some() => Judgement::FailIndex,
        "FailJob" => Judgement::FailJob(format!("{why} matching FailJob rule at index {position}")),
        _ => Judgement::Count,
    }
}

fn by_exit_code(rule: &Value, pod: &Value) -> Option<String> {
    let requirement = &rule["onExitCodes"];
    if !requirement.is_object() {
        return None;
    }
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let ended = statuses.iter().flat_map(|name| list(&pod["status"][*name]));
    ended
        .filter(|status| {
            let only = &requirement["containerName"];
            only.is_null() || *only == status["name"]
        })
        .find_map(|status| {
            let code = &status["state"]["terminated"]["exitCode"];
            let is_listed = list(&requirement["values"]).contains(code);
            let matches = code.as_i64()? != 0
                && match text(&requirement["operator"]) {
                    "In" => is_listed,
                    "NotIn" => !is_listed,
                    _ => false,
                };
            matches.then(|| {
                let (namespace, name) = (object::namespace(pod), object::name(pod));
                let container = text(&status["name"]);
                format!("Container {container} for pod {namespace}/{name} failed with exit code {code}")
            })
        })
}

fn by_condition(rule: &Value, pod: &Value) -> Option<String> {
    list(&rule["onPodConditions"]).iter().find_map(|pattern| {
        let condition = object::condition(pod, text(&pattern["type"]))?;
        let wanted = pattern["status"].as_str().unwrap_or("True");
        (condition["status"] == wanted).then(|| {
            let (namespace, name) = (object::namespace(pod), object::name(pod));
            format!("Pod {namespace}/{name} has condition {}", text(&pattern["type"]))
        })
    })
}

const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long to wait before the next pod is made: 10 s after the first failure since the last success, then twice as
/// long each time, up to 10 minutes. `None` when there is nothing to wait for.
pub(super) fn wait<'p>(job: &Job<'_>, pods: impl Iterator<Item = &'p Object>) -> Option<Duration> {
    let (mut failures, mut last_success) = (Vec::new(), None);
    for pod in pods {
        if has_failed(job, pod) {
            failures.push(end_of(pod).unwrap_or(job.now));
        } else if has_succeeded(pod) {
            last_success = last_success.max(end_of(pod));
        }
    }
    failures.retain(|failure| Some(*failure) > last_success);
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let wait = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
    let left = (*last + wait).duration_since(job.now).unwrap_or_default();
    (!left.is_zero()).then_some(left)
}

/// When the last of a pod's containers ended.
fn end_of(pod: &Value) -> Option<SystemTime> {
    let ended = list(&pod["status"]["containerStatuses"]).iter();
    let ends = ended.filter_map(|status| time::parse(text(&status["state"]["terminated"]["finishedAt"])));
    ends.max()
        .or_else(|| time::parse(text(&pod["metadata"]["deletionTimestamp"])))
}

/// Whether containers that are restarted in place (`OnFailure`) were restarted too often.
pub(super) fn restarted_too_often<'p>(job: &Job<'_>, active: impl Iterator<Item = &'p Object>) -> bool {
    if job.object["spec"]["template"]["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let statuses = |pod: &'p Object| {
        let names = ["initContainerStatuses", "containerStatuses"];
        names.into_iter().flat_map(move |name| list(&pod["status"][name]))
    };
    let running = active.filter(|pod| matches!(text(&pod["status"]["phase"]), "Running" | "Pending"));
    let restarts: i64 = running
        .flat_map(statuses)
        .map(|status| object::number(&status["restartCount"]))
        .sum();
    match job.backoff_limit {
        0 => restarts > 0,
        limit => restarts >= limit,
    }
}

/// Pods that run or will.
pub(super) fn active<'p>(job: &Job<'_>, pods: &'p [Object]) -> Vec<&'p Object> {
    let is_active = |pod: &&Object| pods::is_active(pod) && !has_failed(job, pod);
    pods.iter().filter(is_active).collect()
}
