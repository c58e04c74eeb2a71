//! What a Job says about itself; `kubectl wait --for=condition=complete` lives on it.
//!
//! A decided Job first says what it will be (`SuccessCriteriaMet`, `FailureTarget`), and is `Complete` or `Failed`
//! when the last of its pods has ended and is counted.

use serde_json::{Value, json};

use super::super::object::{self, list, text};
use super::super::pods;
use super::plan::{Note, is_ending_alive};
use super::tally::Tally;
use super::view::Job;
use crate::api::client::Object;
use crate::api::time;

/// How a Job ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    good: bool,
    reason: String,
    message: String,
}

impl Verdict {
    pub(super) fn failed(reason: &str, message: &str) -> Self {
        Self {
            good: false,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    pub(super) fn succeeded(reason: &str, message: &str) -> Self {
        Self {
            good: true,
            ..Self::failed(reason, message)
        }
    }
}

const INTERIM: [(&str, bool); 2] = [("SuccessCriteriaMet", true), ("FailureTarget", false)];

/// What was decided in an earlier step.
pub(super) fn earlier_verdict(job: &Job<'_>) -> Option<Verdict> {
    INTERIM.iter().find_map(|(kind, good)| {
        let condition = object::condition(job.object, kind).filter(|one| one["status"] == "True")?;
        Some(Verdict {
            good: *good,
            reason: text(&condition["reason"]).to_owned(),
            message: text(&condition["message"]).to_owned(),
        })
    })
}

/// Everything that a status is made of.
pub(super) struct State<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) tally: &'a Tally,
    pub(super) pods: &'a [Object],
    pub(super) active: &'a [&'a Object],
    pub(super) verdict: Option<Verdict>,
}

impl State<'_> {
    /// The whole status, and what there is to tell.
    pub(super) fn write(&self, notes: &mut Vec<Note>) -> Value {
        let mut status = json!({});
        self.tally.write(self.job, &mut status);
        let ready = self.active.iter().filter(|pod| pods::is_ready(pod)).count();
        let ending = self.pods.iter().filter(|pod| is_ending_alive(pod)).count();
        status["ready"] = ready.into();
        status["terminating"] = ending.into();
        if !self.active.is_empty() {
            status["active"] = self.active.len().into();
        }
        let mut conditions = list(&self.job.object["status"]["conditions"]).to_vec();
        let started = self.note_suspension(&mut conditions, notes);
        if let Some(started) = started {
            status["startTime"] = started;
        }
        if let Some(verdict) = &self.verdict {
            let is_over = self.active.is_empty() && ending == 0 && self.tally.is_settled();
            self.note_end(verdict, is_over, &mut conditions, notes);
            if is_over && verdict.good {
                status["completionTime"] = time::rfc3339(self.job.now).into();
            }
        }
        if !conditions.is_empty() {
            status["conditions"] = conditions.into();
        }
        status
    }

    /// A suspended Job has not started; one that goes on starts anew. Since when it runs.
    fn note_suspension(&self, conditions: &mut Vec<Value>, notes: &mut Vec<Note>) -> Option<Value> {
        let Job {
            object,
            is_suspended,
            now,
            ..
        } = self.job;
        let was = object::is_condition_true(object, "Suspended");
        if self.verdict.is_none() && *is_suspended && !was {
            self.set(conditions, "Suspended", "True", ("JobSuspended", "Job suspended"));
            notes.push(note("Suspended", "Job suspended"));
        } else if was && !is_suspended {
            self.set(conditions, "Suspended", "False", ("JobResumed", "Job resumed"));
            notes.push(note("Resumed", "Job resumed"));
        }
        let before = &object["status"]["startTime"];
        match (is_suspended, self.verdict.is_some()) {
            (true, false) => None,
            _ if before.is_string() && !was => Some(before.clone()),
            (true, true) => None,
            _ => Some(time::rfc3339(*now).into()),
        }
    }

    fn note_end(&self, verdict: &Verdict, is_over: bool, conditions: &mut Vec<Value>, notes: &mut Vec<Note>) {
        let (interim, last) = match verdict.good {
            true => ("SuccessCriteriaMet", "Complete"),
            false => ("FailureTarget", "Failed"),
        };
        let why = (&*verdict.reason, &*verdict.message);
        self.set(conditions, interim, "True", why);
        if !is_over {
            return;
        }
        self.set(conditions, last, "True", why);
        notes.push(match verdict.good {
            true => note("Completed", "Job completed"),
            false => Note {
                warning: true,
                reason: known_reason(&verdict.reason),
                message: verdict.message.clone(),
            },
        });
    }

    /// Says something new; the same status again changes nothing.
    fn set(&self, conditions: &mut Vec<Value>, kind: &str, status: &str, why: (&str, &str)) {
        let is_known = conditions
            .iter()
            .any(|one| one["type"] == kind && one["status"] == status);
        if is_known {
            return;
        }
        let now = time::rfc3339(self.job.now);
        conditions.retain(|one| one["type"] != kind);
        conditions.push(json!({
            "type": kind, "status": status, "lastProbeTime": now, "lastTransitionTime": now,
            "reason": why.0, "message": why.1,
        }));
    }
}

fn note(reason: &'static str, message: &str) -> Note {
    Note {
        warning: false,
        reason,
        message: message.to_owned(),
    }
}

/// Reasons come back from conditions as text; an Event needs one of ours.
fn known_reason(reason: &str) -> &'static str {
    const REASONS: [&str; 5] = [
        "PodFailurePolicy",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
    ];
    REASONS
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("JobFailed")
}
