//! One step of a StatefulSet: a pure function of the set, its revisions, its pods and the time.
//!
//! First the pods that should be there, lowest ordinal first; then those too many, highest first; then those of an
//! older revision, highest first. Unless pods are managed in parallel, each waits for the one before it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use super::super::object::{self, number};
use super::super::revision::{self, History};
use super::super::{pods, share};
use super::identity;
use crate::api::client::Object;

/// A StatefulSet and its pods, read once from the objects.
pub(super) struct Set<'a> {
    pub(super) object: &'a Value,
    /// By ordinal.
    pub(super) pods: BTreeMap<i64, Object>,
    pub(super) replicas: i64,
    /// The lowest ordinal.
    pub(super) first: i64,
    pub(super) rolling: bool,
    pub(super) update: Value,
    /// What pods below the partition are made of; the same as `update` when nothing is being rolled out.
    pub(super) current: Value,
    pub(super) least_ready_seconds: i64,
    parallel: bool,
    partition: i64,
    most_unavailable: i64,
    now: SystemTime,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Create(Value),
    /// It has ended; the next step makes its successor.
    Replace(Object),
    Delete(Object),
    Label {
        name: String,
        labels: Value,
    },
}

impl<'a> Set<'a> {
    pub(super) fn of(object: &'a Value, history: &History, pods: &[Object], now: SystemTime) -> Self {
        let spec = &object["spec"];
        let update = Value::clone(history.newest());
        let current = history.find(object::text(&object["status"]["currentRevision"]));
        let rolling_update = &spec["updateStrategy"]["rollingUpdate"];
        let replicas = spec["replicas"].as_i64().unwrap_or(1);
        let by_ordinal = |pod: &Object| Some((identity::ordinal(object, pod)?, pod.clone()));
        let most_unavailable = match &rolling_update["maxUnavailable"] {
            Value::Null => 1,
            stated => share::of(stated, replicas, share::Round::Down).max(1),
        };
        Self {
            object,
            pods: pods.iter().filter_map(by_ordinal).collect(),
            replicas,
            first: number(&spec["ordinals"]["start"]),
            rolling: spec["updateStrategy"]["type"] != "OnDelete",
            current: current.map_or_else(|| update.clone(), |current| Value::clone(current)),
            update,
            least_ready_seconds: number(&spec["minReadySeconds"]),
            parallel: spec["podManagementPolicy"] == "Parallel",
            partition: number(&rolling_update["partition"]),
            most_unavailable,
            now,
        }
    }

    /// Whether a revision is one that pods are or may be made of.
    pub(super) fn uses(&self, revision: &str) -> bool {
        object::name(&self.current) == revision
            || object::name(&self.update) == revision
            || self.pods.values().any(|pod| revision_of(pod) == revision)
    }

    pub(super) fn is_available(&self, pod: &Value) -> bool {
        !object::is_ending(pod) && pods::is_available(pod, self.least_ready_seconds, self.now)
    }

    fn is_wanted(&self, ordinal: i64) -> bool {
        (self.first..self.first + self.replicas).contains(&ordinal)
    }

    /// Pods below the partition stay at the current revision; with `OnDelete` every new pod is of the newest.
    fn revision_for(&self, ordinal: i64) -> &Value {
        match self.rolling && ordinal < self.first + self.partition {
            true => &self.current,
            false => &self.update,
        }
    }
}

/// The revision that a pod was made of.
pub(super) fn revision_of(pod: &Value) -> &str {
    object::label(pod, revision::OF_POD)
}

/// More than this at once is left for the next look.
const BURST: usize = 500;

pub(super) fn next(set: &Set<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    // Each stage says whether the next one may begin.
    let _ = fill(set, &mut actions) && shrink(set, &mut actions) && roll(set, &mut actions);
    actions
}

/// The pods that should be there, lowest ordinal first.
fn fill(set: &Set<'_>, actions: &mut Vec<Action>) -> bool {
    for ordinal in set.first..set.first + set.replicas {
        let is_good = match set.pods.get(&ordinal) {
            None => {
                let revision = set.revision_for(ordinal);
                actions.push(Action::Create(identity::pod(set.object, revision, ordinal)));
                false
            }
            Some(pod) if object::is_ending(pod) => false,
            Some(pod) if pods::is_ended(pod) => {
                actions.push(Action::Replace(pod.clone()));
                false
            }
            Some(pod) => {
                if let Some(labels) = identity::missing_labels(pod, ordinal) {
                    let name = object::name(pod).to_owned();
                    actions.push(Action::Label { name, labels });
                }
                set.is_available(pod)
            }
        };
        if !is_good && !set.parallel || actions.len() >= BURST {
            return false;
        }
    }
    true
}

/// The pods that are too many, highest ordinal first. One that is not ready waits for those below it to be: they may
/// need each other. The lowest of those that are not ready waits for nobody.
fn shrink(set: &Set<'_>, actions: &mut Vec<Action>) -> bool {
    let surplus = || set.pods.iter().filter(|(ordinal, _)| !set.is_wanted(**ordinal));
    let lowest_unready = surplus()
        .find(|(_, pod)| !pods::is_ready(pod))
        .map(|(ordinal, _)| *ordinal);
    for (ordinal, pod) in surplus().rev() {
        let waits = !pods::is_ready(pod) && lowest_unready != Some(*ordinal);
        if !set.parallel && (object::is_ending(pod) || waits) {
            return false;
        }
        if !object::is_ending(pod) {
            actions.push(Action::Delete(pod.clone()));
            if !set.parallel {
                return false;
            }
        }
    }
    true
}

/// Pods of another revision than the newest, highest ordinal first, as many as may be unavailable. What is not
/// available anyway costs nothing to replace.
fn roll(set: &Set<'_>, actions: &mut Vec<Action>) -> bool {
    if !set.rolling {
        return true;
    }
    let wanted = || set.pods.iter().filter(|(ordinal, _)| set.is_wanted(**ordinal));
    let available = wanted().filter(|(_, pod)| set.is_available(pod)).count();
    let unavailable = set.replicas - i64::try_from(available).unwrap_or(i64::MAX);
    let mut allowed = set.most_unavailable - unavailable;
    let above = wanted()
        .rev()
        .take_while(|(ordinal, _)| **ordinal >= set.first + set.partition);
    for (_, pod) in above {
        if revision_of(pod) == object::name(&set.update) || object::is_ending(pod) {
            continue;
        }
        if set.is_available(pod) {
            if allowed <= 0 {
                break;
            }
            allowed -= 1;
        }
        actions.push(Action::Delete(pod.clone()));
    }
    true
}
