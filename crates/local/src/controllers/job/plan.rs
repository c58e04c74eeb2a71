//! One step of a Job: a pure function of the Job, its pods and the time.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::object::{self, list, text};
use super::indexes::Indexes;
use super::status::{self, Verdict};
use super::tally::Tally;
use super::view::Job;
use super::{TRACKING, failure, pod};
use crate::api::client::Object;
use crate::api::time;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Written first.
    pub(super) status: Value,
    pub(super) notes: Vec<Note>,
    /// Pods that lose their finalizer.
    pub(super) release: Vec<Object>,
    pub(super) delete: Vec<Object>,
    pub(super) create: Vec<Value>,
    /// The Job has been over for long enough.
    pub(super) remove: bool,
    /// When the same cluster will mean something else.
    pub(super) look_again: Option<Duration>,
}

/// What is told about a Job in an Event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Note {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// More than this at once is left for the next look.
const BURST: usize = 500;

pub(super) fn next(object: &Value, pods: &[Object], now: SystemTime) -> Plan {
    let job = Job::of(object, now);
    if let Some(end) = job.end() {
        return after_the_end(&job, end, pods);
    }
    let tally = Tally::of(&job, pods);
    let active = failure::active(&job, pods);
    let mut plan = Plan {
        release: tally.release.clone(),
        ..Plan::default()
    };
    let verdict = status::earlier_verdict(&job).or_else(|| verdict(&job, &tally, &active));
    if verdict.is_some() || job.is_suspended {
        let doomed = active.iter().take(BURST);
        plan.delete.extend(doomed.map(|pod| Object::clone(pod)));
    } else {
        size(&job, &tally, pods, &active, &mut plan);
    }
    let state = status::State {
        job: &job,
        tally: &tally,
        pods,
        active: &active,
        verdict,
    };
    plan.status = state.write(&mut plan.notes);
    let deadline = job
        .time_left()
        .filter(|left| !left.is_zero() && !job.is_suspended);
    plan.look_again = [plan.look_again, deadline].into_iter().flatten().min();
    plan
}

/// A Job that is over keeps its pods, and is removed when its time is up.
fn after_the_end(job: &Job<'_>, end: &Value, pods: &[Object]) -> Plan {
    let mut plan = Plan {
        status: job.object["status"].clone(),
        release: pods
            .iter()
            .filter(|pod| object::has_finalizer(pod, TRACKING))
            .cloned()
            .collect(),
        ..Plan::default()
    };
    if let Some(kept_for) = job.kept_for {
        let since = time::parse(text(&end["lastTransitionTime"])).unwrap_or(job.now);
        match (since + kept_for).duration_since(job.now) {
            Ok(left) if !left.is_zero() => plan.look_again = Some(left),
            _ => plan.remove = true,
        }
    }
    plan
}

/// Whether the Job is decided, and how. Failures come first, as in Kubernetes.
fn verdict(job: &Job<'_>, tally: &Tally, active: &[&Object]) -> Option<Verdict> {
    let failed = |reason: &'static str, message: &str| Some(Verdict::failed(reason, message));
    let too_many_failed = tally.failed() > job.backoff_limit;
    if let Some(why) = &tally.policy_verdict {
        return failed("PodFailurePolicy", why);
    }
    if too_many_failed || failure::restarted_too_often(job, active.iter().copied()) {
        return failed(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        );
    }
    if !job.is_suspended && job.time_left().is_some_and(|left| left.is_zero()) {
        return failed(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        );
    }
    if job
        .most_failed_indexes
        .is_some_and(|most| tally.failed_indexes.len() > most)
    {
        return failed(
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes",
        );
    }
    if let Some(rule) = matching_success_rule(job, tally) {
        let message = format!("Matched rules at index {rule}");
        return Some(Verdict::succeeded("SuccessPolicy", &message));
    }
    let reached = match job.completions {
        Some(wanted) => tally.succeeded() >= wanted,
        None => tally.succeeded() > 0 && active.is_empty(),
    };
    if reached {
        return Some(Verdict::succeeded(
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        ));
    }
    let decided = tally.completed.len() + tally.failed_indexes.len();
    if !tally.failed_indexes.is_empty() && job.completions.is_some_and(|wanted| decided >= wanted) {
        return failed("FailedIndexes", "Job has failed indexes");
    }
    None
}

/// The position of the first rule of the success policy that holds.
fn matching_success_rule(job: &Job<'_>, tally: &Tally) -> Option<usize> {
    let rules = list(&job.object["spec"]["successPolicy"]["rules"]);
    let limit = job.completions.unwrap_or(0);
    rules.iter().position(|rule| {
        let listed = rule["succeededIndexes"]
            .as_str()
            .map(|text| Indexes::parse(text, limit));
        let reached = listed.as_ref().map_or(tally.completed.len(), |listed| {
            listed.shared_with(&tally.completed)
        });
        let needed = rule["succeededCount"]
            .as_i64()
            .or_else(|| listed.as_ref().map(Indexes::len));
        needed.is_some_and(|needed| reached >= needed)
    })
}

/// Makes what is missing and removes what is too much.
fn size(job: &Job<'_>, tally: &Tally, pods: &[Object], active: &[&Object], plan: &mut Plan) {
    let running = i64::try_from(active.len()).unwrap_or(i64::MAX);
    let wanted = match job.completions {
        Some(completions) => (completions - tally.succeeded()).min(job.parallelism),
        // One has done it: the others may end, but nobody starts anew.
        None if tally.succeeded() > 0 => running.min(job.parallelism),
        None => job.parallelism,
    };
    let surplus = usize::try_from(running - wanted).unwrap_or(0);
    if surplus > 0 {
        // The youngest have done the least.
        let doomed = active.iter().rev().take(surplus.min(BURST));
        plan.delete.extend(doomed.map(|pod| Object::clone(pod)));
        return;
    }
    let ending = pods
        .iter()
        .filter(|pod| job.replaces_only_failed && is_ending_alive(pod));
    let missing = wanted - running - i64::try_from(ending.count()).unwrap_or(i64::MAX);
    let missing = usize::try_from(missing).unwrap_or(0).min(BURST);
    if missing == 0 {
        return;
    }
    if job.is_indexed {
        return make_indexed(job, tally, pods, active, (missing, plan));
    }
    match failure::wait(job, pods.iter()) {
        Some(left) => plan.look_again = Some(left),
        None => plan.create = vec![pod::new(job, None); missing],
    }
}

/// The lowest indexes that nobody works on.
fn make_indexed(
    job: &Job<'_>,
    tally: &Tally,
    pods: &[Object],
    active: &[&Object],
    (missing, plan): (usize, &mut Plan),
) {
    let is_busy = |pod: &&&Object| job.replaces_only_failed && is_ending_alive(pod);
    let all: Vec<&Object> = pods.iter().collect();
    let busy: BTreeSet<i64> = active
        .iter()
        .chain(all.iter().filter(is_busy))
        .filter_map(|pod| pod::index(pod))
        .collect();
    let open = (0..job.completions.unwrap_or(0)).filter(|index| {
        !tally.completed.contains(*index) && !tally.failed_indexes.contains(*index) && !busy.contains(index)
    });
    // With a limit for each index, each waits for itself.
    let common_wait = match job.backoff_limit_per_index {
        None => failure::wait(job, pods.iter()),
        Some(_) => None,
    };
    for index in open {
        let own_wait = || failure::wait(job, pods.iter().filter(|pod| pod::index(pod) == Some(index)));
        let wait = match job.backoff_limit_per_index {
            None => common_wait,
            Some(_) => own_wait(),
        };
        match wait {
            Some(left) => {
                plan.look_again = Some(plan.look_again.map_or(left, |earlier| earlier.min(left)));
            }
            None => plan
                .create
                .push(pod::new(job, Some((index, tally.failures_of(index))))),
        }
        if plan.create.len() == missing {
            return;
        }
    }
}

/// About to be removed, and still running.
pub(super) fn is_ending_alive(pod: &Value) -> bool {
    object::is_ending(pod) && !super::super::pods::is_ended(pod)
}
