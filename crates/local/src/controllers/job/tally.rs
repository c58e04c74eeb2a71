//! Who has succeeded and who has failed: every pod is counted once, even if the counting is interrupted.
//!
//! 1. A pod that has ended is named in the status (`uncountedTerminatedPods`).
//! 2. Its finalizer goes.
//! 3. When it has none, or is gone, its name is taken from the status and the sum is one more.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::object::{self, list, number, text};
use super::failure::{self, Judgement};
use super::indexes::Indexes;
use super::view::{Job, has_failed, has_succeeded};
use super::{TRACKING, pod};
use crate::api::client::Object;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Counted for good.
    succeeded: i64,
    failed: i64,
    /// Named, not counted yet: uids.
    new_successes: Vec<String>,
    new_failures: Vec<String>,
    /// Of Indexed Jobs.
    pub(super) completed: Indexes,
    pub(super) failed_indexes: Indexes,
    /// By index, if they are counted by index.
    failures: BTreeMap<i64, i64>,
    /// Pods that may lose their finalizer once the status is written.
    pub(super) release: Vec<Object>,
    /// Why the failure policy ends the Job.
    pub(super) policy_verdict: Option<String>,
}

impl Tally {
    pub(super) fn of(job: &Job<'_>, pods: &[Object]) -> Self {
        let status = &job.object["status"];
        let limit = job.completions.unwrap_or(0);
        let mut tally = Self {
            succeeded: number(&status["succeeded"]),
            failed: number(&status["failed"]),
            completed: Indexes::parse(text(&status["completedIndexes"]), limit),
            failed_indexes: Indexes::parse(text(&status["failedIndexes"]), limit),
            ..Self::default()
        };
        tally.move_counted(&status["uncountedTerminatedPods"], pods);
        for pod in pods {
            tally.count(job, pod);
        }
        if job.is_indexed {
            tally.succeeded = tally.completed.len();
        }
        tally
    }

    pub(super) fn succeeded(&self) -> i64 {
        self.succeeded + i64::try_from(self.new_successes.len()).unwrap_or(i64::MAX)
    }

    pub(super) fn failed(&self) -> i64 {
        self.failed + i64::try_from(self.new_failures.len()).unwrap_or(i64::MAX)
    }

    /// How often pods of this index have failed.
    pub(super) fn failures_of(&self, index: i64) -> i64 {
        self.failures.get(&index).copied().unwrap_or(0)
    }

    /// Whether nobody is left who is named but not counted.
    pub(super) fn is_settled(&self) -> bool {
        self.new_successes.is_empty() && self.new_failures.is_empty() && self.release.is_empty()
    }

    /// The part of the status that is about this.
    pub(super) fn write(&self, job: &Job<'_>, status: &mut Value) {
        let mut uncounted = json!({});
        for (name, uids) in [("succeeded", &self.new_successes), ("failed", &self.new_failures)] {
            if !uids.is_empty() {
                uncounted[name] = uids.clone().into();
            }
        }
        status["uncountedTerminatedPods"] = uncounted;
        for (name, number) in [("succeeded", self.succeeded), ("failed", self.failed)] {
            if number != 0 {
                status[name] = number.into();
            }
        }
        if !self.completed.is_empty() {
            status["completedIndexes"] = self.completed.to_string().into();
        }
        if job.backoff_limit_per_index.is_some() {
            status["failedIndexes"] = self.failed_indexes.to_string().into();
        }
    }

    /// Those whose finalizer is gone are counted for good.
    fn move_counted(&mut self, uncounted: &Value, pods: &[Object]) {
        let is_held = |uid: &str| {
            pods.iter()
                .any(|pod| object::uid(pod) == uid && object::has_finalizer(pod, TRACKING))
        };
        let lists = [
            ("succeeded", &mut self.succeeded, &mut self.new_successes),
            ("failed", &mut self.failed, &mut self.new_failures),
        ];
        for (name, counted, new) in lists {
            for uid in list(&uncounted[name]).iter().map(text) {
                match is_held(uid) {
                    true => new.push(uid.to_owned()),
                    false => *counted += 1,
                }
            }
        }
    }

    fn count(&mut self, job: &Job<'_>, pod: &Object) {
        let (succeeded, failed) = (has_succeeded(pod), has_failed(job, pod));
        if !succeeded && !failed {
            return;
        }
        let is_held = object::has_finalizer(pod, TRACKING);
        if is_held {
            self.release.push(pod.clone());
        }
        let index = job.is_indexed.then(|| pod::index(pod)).flatten();
        match (succeeded, index) {
            (true, Some(index)) => {
                if job.completions.is_some_and(|completions| index < completions) {
                    self.completed.insert(index);
                }
            }
            (true, None) if is_held => name_once(&mut self.new_successes, pod),
            (true, None) => {}
            (false, index) => self.count_failure(job, pod, index, is_held),
        }
    }

    fn count_failure(&mut self, job: &Job<'_>, pod: &Object, index: Option<i64>, is_held: bool) {
        let judgement = failure::judge(job, pod);
        if judgement == Judgement::Ignore {
            return;
        }
        if let (Some(limit), Some(index)) = (job.backoff_limit_per_index, index) {
            let failures = self.failures.entry(index).or_default();
            *failures = (*failures).max(pod::failures_before(pod) + 1);
            if *failures > limit || judgement == Judgement::FailIndex {
                self.failed_indexes.insert(index);
            }
        }
        if !is_held {
            return;
        }
        name_once(&mut self.new_failures, pod);
        if let Judgement::FailJob(why) = judgement {
            self.policy_verdict.get_or_insert(why);
        }
    }
}

fn name_once(list: &mut Vec<String>, pod: &Value) {
    let uid = object::uid(pod);
    if !list.iter().any(|known| known == uid) {
        list.push(uid.to_owned());
    }
}
