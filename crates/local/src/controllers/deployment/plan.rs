//! One step of a Deployment: a pure function of the Deployment, its ReplicaSets and the time.
//!
//! <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::object;
use super::view::{DESIRED, Deployment, MOST, REVISION, REVISION_HISTORY, ReplicaSet};
use super::{rollout, scale, status, template};

/// What a step wants done, in this order, and then the status written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: Value,
    /// When the same cluster will mean something else.
    pub(super) look_again: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Create(Value),
    /// A merge patch of a ReplicaSet.
    Change {
        name: String,
        patch: Value,
    },
    Scale(Scaling),
    Delete {
        name: String,
        uid: String,
    },
    /// The Deployment's own revision annotation.
    Number(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scaling {
    pub(super) name: String,
    pub(super) from: i64,
    pub(super) to: i64,
    /// `desired-replicas` and `max-replicas` at this time.
    pub(super) annotations: Value,
}

/// The working copy of a step: scaling changes the numbers here, so that later decisions see them.
pub(super) struct Step<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) current: Option<ReplicaSet>,
    /// Oldest first.
    pub(super) old: Vec<ReplicaSet>,
    pub(super) actions: Vec<Action>,
    pub(super) conditions: status::Conditions,
    pub(super) now: SystemTime,
}

/// The next step. `old_pods_run` says whether a pod of an older template is still there (it matters to `Recreate`).
pub(super) fn plan(
    deployment: &Deployment,
    replica_sets: &[ReplicaSet],
    old_pods_run: bool,
    now: SystemTime,
) -> Plan {
    let mut old = replica_sets.to_vec();
    let current = template::find_current(deployment, &old).map(|index| old.remove(index));
    let mut step = Step {
        deployment,
        current,
        old,
        actions: Vec::new(),
        conditions: status::Conditions::of(&deployment.object, now),
        now,
    };
    if object::is_ending(&deployment.object) {
        return step.finish_plainly();
    }
    step.note_pause();
    step.number_current();
    if deployment.paused || step.is_scaling() {
        scale::scale(&mut step);
        if deployment.paused {
            step.clean_up();
        }
        return step.finish_plainly();
    }
    match deployment.recreate {
        true => rollout::recreate(&mut step, old_pods_run),
        false => rollout::roll(&mut step),
    }
    step.finish()
}

impl Step<'_> {
    /// The current and the old ones.
    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.current.iter().chain(&self.old)
    }

    /// A pause and its end restart the clock of progress.
    fn note_pause(&mut self) {
        if self.deployment.progress_deadline.is_none() {
            return;
        }
        let progressing = self.conditions.find("Progressing");
        let reason = progressing
            .map_or("", |condition| object::text(&condition["reason"]))
            .to_owned();
        if reason == "ProgressDeadlineExceeded" {
            return;
        }
        if self.deployment.paused && reason != "DeploymentPaused" {
            self.conditions.set(
                "Progressing",
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused",
            );
        } else if !self.deployment.paused && reason == "DeploymentPaused" {
            self.conditions.set(
                "Progressing",
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed",
            );
        }
    }

    /// The current ReplicaSet has the highest revision, the Deployment's annotations and its `minReadySeconds`.
    fn number_current(&mut self) {
        let revision = self.next_revision();
        let Some(current) = &mut self.current else {
            return;
        };
        let mut annotations = changed_annotations(self.deployment, current);
        if current.revision < revision {
            let before = current.revision;
            annotations[REVISION] = revision.to_string().into();
            if before > 0 {
                let history = object::annotation(&current.object, REVISION_HISTORY);
                let history = if history.is_empty() {
                    before.to_string()
                } else {
                    format!("{history},{before}")
                };
                annotations[REVISION_HISTORY] = history.into();
            }
            current.revision = revision;
        }
        let least = &self.deployment.object["spec"]["minReadySeconds"];
        let mut patch = json!({});
        if annotations
            .as_object()
            .is_some_and(|annotations| !annotations.is_empty())
        {
            patch["metadata"] = json!({"annotations": annotations});
        }
        if object::number(least) != object::number(&current.object["spec"]["minReadySeconds"]) {
            patch["spec"] = json!({"minReadySeconds": least});
        }
        let (name, revision) = (current.name.clone(), current.revision);
        if patch.as_object().is_some_and(|patch| !patch.is_empty()) {
            self.actions.push(Action::Change {
                name: name.clone(),
                patch,
            });
        }
        self.number_deployment(revision);
        if self.deployment.progress_deadline.is_some() && self.conditions.find("Progressing").is_none() {
            let message = format!("Found new replica set \"{name}\"");
            self.conditions
                .set("Progressing", "True", "FoundNewReplicaSet", &message);
        }
    }

    fn number_deployment(&mut self, revision: i64) {
        let revision = revision.to_string();
        if object::annotation(&self.deployment.object, REVISION) != revision {
            self.actions.push(Action::Number(revision));
        }
    }

    /// One more than any older one has.
    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| set.revision).max().unwrap_or(0) + 1
    }

    /// Makes the ReplicaSet for a template that has none yet.
    pub(super) fn create_current(&mut self) {
        let replicas = match self.deployment.recreate {
            true => self.deployment.replicas,
            false => rollout::replicas_of_current(
                self.deployment,
                0,
                self.old.iter().map(|set| set.replicas).sum(),
            ),
        };
        let revision = self.next_revision();
        let set = template::new_replica_set(self.deployment, replicas, revision);
        if self.deployment.progress_deadline.is_some() {
            let message = format!("Created new replica set \"{}\"", object::name(&set));
            self.conditions
                .set("Progressing", "True", "NewReplicaSetCreated", &message);
        }
        self.actions.push(Action::Create(set));
        self.number_deployment(revision);
    }

    /// Whether the user changed the number of replicas since the ReplicaSets were last sized.
    fn is_scaling(&self) -> bool {
        let mut active = self.all().filter(|set| set.replicas > 0);
        active.any(|set| {
            set.noted(DESIRED)
                .is_some_and(|desired| desired != self.deployment.replicas)
        })
    }

    /// Removes what is older than the history is long and has nothing left.
    pub(super) fn clean_up(&mut self) {
        let mut old: Vec<&ReplicaSet> = self
            .old
            .iter()
            .filter(|set| !object::is_ending(&set.object))
            .collect();
        let surplus = i64::try_from(old.len()).unwrap_or(i64::MAX) - self.deployment.history_limit;
        old.sort_by_key(|set| set.revision);
        let over = old.into_iter().take(usize::try_from(surplus).unwrap_or(0));
        let idle = over.filter(|set| {
            let observed = object::number(&set.object["status"]["observedGeneration"]);
            set.actual == 0
                && set.replicas == 0
                && object::number(&set.object["metadata"]["generation"]) <= observed
        });
        let deletions = idle.map(|set| Action::Delete {
            name: set.name.clone(),
            uid: object::uid(&set.object).to_owned(),
        });
        let deletions: Vec<Action> = deletions.collect();
        self.actions.extend(deletions);
    }

    fn finish_plainly(self) -> Plan {
        let status = status::calculate(&self);
        Plan {
            actions: self.actions,
            status,
            look_again: None,
        }
    }

    fn finish(mut self) -> Plan {
        let look_again = status::note_progress(&mut self);
        Plan {
            look_again,
            ..self.finish_plainly()
        }
    }
}

/// Sizes a ReplicaSet; also when only the annotations are out of date.
pub(super) fn resize(
    deployment: &Deployment,
    actions: &mut Vec<Action>,
    set: &mut ReplicaSet,
    to: i64,
) -> bool {
    let noted_right =
        set.noted(DESIRED) == Some(deployment.replicas) && set.noted(MOST) == Some(deployment.most());
    if set.replicas == to && noted_right {
        return false;
    }
    let annotations = json!({
        DESIRED: deployment.replicas.to_string(),
        MOST: deployment.most().to_string(),
    });
    let from = std::mem::replace(&mut set.replicas, to);
    actions.push(Action::Scale(Scaling {
        name: set.name.clone(),
        from,
        to,
        annotations,
    }));
    from != to
}

/// Annotations of the Deployment that its current ReplicaSet does not have yet.
fn changed_annotations(deployment: &Deployment, current: &ReplicaSet) -> Value {
    let mut annotations = template::copied_annotations(&deployment.object);
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.retain(|key, value| current.object["metadata"]["annotations"][key.as_str()] != *value);
    }
    annotations
}
