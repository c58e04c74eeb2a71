//! What a Job wants, read once from the object.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::object::{self, text};
use crate::api::time;

pub(super) struct Job<'a> {
    pub(super) object: &'a Value,
    pub(super) parallelism: i64,
    /// `None`: one success is enough, and then no new pods.
    pub(super) completions: Option<i64>,
    pub(super) is_indexed: bool,
    pub(super) is_suspended: bool,
    pub(super) backoff_limit: i64,
    /// How many failures each index may have, if they are counted by index.
    pub(super) backoff_limit_per_index: Option<i64>,
    pub(super) most_failed_indexes: Option<i64>,
    /// A pod that is about to end is replaced when it has failed, not before.
    pub(super) replaces_only_failed: bool,
    pub(super) started: Option<SystemTime>,
    pub(super) deadline: Option<Duration>,
    pub(super) kept_for: Option<Duration>,
    pub(super) now: SystemTime,
}

impl<'a> Job<'a> {
    pub(super) fn of(object: &'a Value, now: SystemTime) -> Self {
        let spec = &object["spec"];
        let seconds = |field: &str| {
            let seconds = spec[field].as_i64()?;
            Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
        };
        Self {
            object,
            parallelism: spec["parallelism"].as_i64().unwrap_or(1),
            completions: spec["completions"].as_i64(),
            is_indexed: spec["completionMode"] == "Indexed",
            is_suspended: spec["suspend"] == true,
            backoff_limit: spec["backoffLimit"].as_i64().unwrap_or(6),
            backoff_limit_per_index: spec["backoffLimitPerIndex"].as_i64(),
            most_failed_indexes: spec["maxFailedIndexes"].as_i64(),
            replaces_only_failed: spec["podReplacementPolicy"] == "Failed",
            started: time::parse(text(&object["status"]["startTime"])),
            deadline: seconds("activeDeadlineSeconds"),
            kept_for: seconds("ttlSecondsAfterFinished"),
            now,
        }
    }

    /// The condition with which the Job has ended.
    pub(super) fn end(&self) -> Option<&'a Value> {
        ["Complete", "Failed"].iter().find_map(|kind| {
            object::condition(self.object, kind).filter(|condition| condition["status"] == "True")
        })
    }

    /// What is left of the time that the Job may take; `None` when it may take any or has not begun.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let deadline = self.started? + self.deadline?;
        Some(deadline.duration_since(self.now).unwrap_or_default())
    }
}

/// Whether a pod's end was a failure. One that is about to be removed counts at once, unless only what has failed is
/// to be replaced.
pub(super) fn has_failed(job: &Job<'_>, pod: &Value) -> bool {
    match text(&pod["status"]["phase"]) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !job.replaces_only_failed && object::is_ending(pod),
    }
}

pub(super) fn has_succeeded(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded"
}
