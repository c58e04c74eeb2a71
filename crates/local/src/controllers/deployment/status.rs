//! What a Deployment says about itself; `kubectl rollout status` and `kubectl wait` live on it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::object::{self, number, text};
use super::plan::Step;
use super::view::ReplicaSet;
use crate::api::time;

/// The conditions of a Deployment, as they will be.
#[derive(Debug)]
pub(super) struct Conditions {
    list: Vec<Value>,
    now: SystemTime,
}

impl Conditions {
    pub(super) fn of(deployment: &Value, now: SystemTime) -> Self {
        Self {
            list: object::list(&deployment["status"]["conditions"]).to_vec(),
            now,
        }
    }

    pub(super) fn into_list(self) -> Value {
        self.list.into()
    }

    pub(super) fn find(&self, kind: &str) -> Option<&Value> {
        self.list.iter().find(|condition| condition["type"] == kind)
    }

    pub(super) fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition["type"] != kind);
    }

    /// Says something new; the same status and reason again change nothing.
    pub(super) fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let before = self.find(kind);
        if before.is_some_and(|before| before["status"] == status && before["reason"] == reason) {
            return;
        }
        self.renew(kind, status, reason, message);
    }

    /// The same, but with a new time in any case: something moved.
    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let now = time::rfc3339(self.now);
        let before = self.find(kind).filter(|before| before["status"] == status);
        let since = before.map_or_else(
            || now.clone(),
            |before| text(&before["lastTransitionTime"]).to_owned(),
        );
        let condition = json!({
            "type": kind, "status": status, "lastUpdateTime": now, "lastTransitionTime": since,
            "reason": reason, "message": message,
        });
        self.remove(kind);
        self.list.push(condition);
    }
}

/// The sums that the status reports.
struct Sums {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
}

fn sums(step: &Step<'_>) -> Sums {
    let sum = |field: fn(&ReplicaSet) -> i64| step.all().map(field).sum();
    Sums {
        replicas: sum(|set| set.actual),
        updated: step.current.as_ref().map_or(0, |set| set.actual),
        ready: sum(|set| set.ready),
        available: sum(|set| set.available),
    }
}

/// Whether every pod is of the current template and available.
pub(super) fn is_complete(step: &Step<'_>) -> bool {
    let Sums {
        replicas,
        updated,
        available,
        ..
    } = sums(step);
    [replicas, updated, available] == [step.deployment.replicas; 3]
}

/// The whole status.
pub(super) fn calculate(step: &Step<'_>) -> Value {
    let Sums {
        replicas,
        updated,
        ready,
        available,
    } = sums(step);
    let wanted: i64 = step.all().map(|set| set.replicas).sum();
    let deployment = step.deployment;
    let mut conditions = Conditions {
        list: step.conditions.list.clone(),
        now: step.now,
    };
    if available >= deployment.replicas - deployment.max_unavailable {
        let message = "Deployment has minimum availability.";
        conditions.set("Available", "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set("Available", "False", "MinimumReplicasUnavailable", message);
    }
    let mut status = json!({
        "observedGeneration": deployment.object["metadata"]["generation"],
        "conditions": conditions.list,
    });
    // Zeros are left out, as everywhere in Kubernetes.
    let numbers = [
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted - available).max(0)),
        (
            "collisionCount",
            number(&deployment.object["status"]["collisionCount"]),
        ),
    ];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        status[name] = number.into();
    }
    status
}

/// Updates the conditions about progress and failing replicas; when to look again for the deadline.
pub(super) fn note_progress(step: &mut Step<'_>) -> Option<Duration> {
    let failure = step
        .all()
        .find_map(|set| object::condition(&set.object, "ReplicaFailure"))
        .cloned();
    match failure {
        Some(failure) => {
            let (reason, message) = (
                text(&failure["reason"]).to_owned(),
                text(&failure["message"]).to_owned(),
            );
            step.conditions
                .set("ReplicaFailure", text(&failure["status"]), &reason, &message);
        }
        None => step.conditions.remove("ReplicaFailure"),
    }
    let Some(deadline) = step.deployment.progress_deadline else {
        step.conditions.remove("Progressing");
        return None;
    };
    let reason = step
        .conditions
        .find("Progressing")
        .map(|condition| text(&condition["reason"]).to_owned());
    let Sums {
        replicas, updated, ..
    } = sums(step);
    if replicas == updated && reason.as_deref() == Some("NewReplicaSetAvailable") {
        return None;
    }
    let subject = match &step.current {
        Some(current) => format!("ReplicaSet \"{}\"", current.name),
        None => format!("Deployment \"{}\"", step.deployment.name()),
    };
    if is_complete(step) {
        let message = format!("{subject} has successfully progressed.");
        step.conditions
            .set("Progressing", "True", "NewReplicaSetAvailable", &message);
        return None;
    }
    if has_moved(step) {
        let message = format!("{subject} is progressing.");
        step.conditions
            .renew("Progressing", "True", "ReplicaSetUpdated", &message);
    }
    let left = until_deadline(step, deadline)?;
    if left.is_zero() {
        let message = format!("{subject} has timed out progressing.");
        step.conditions
            .set("Progressing", "False", "ProgressDeadlineExceeded", &message);
        return None;
    }
    Some(left)
}

/// Whether more is updated, ready or available, or less is old, than the status says.
fn has_moved(step: &Step<'_>) -> bool {
    let now = sums(step);
    let before = &step.deployment.object["status"];
    let (replicas, updated) = (number(&before["replicas"]), number(&before["updatedReplicas"]));
    now.updated > updated
        || now.replicas - now.updated < replicas - updated
        || now.ready > number(&before["readyReplicas"])
        || now.available > number(&before["availableReplicas"])
}

/// What is left of the time to move; `None` when no clock runs or it has run out before.
fn until_deadline(step: &Step<'_>, deadline_seconds: i64) -> Option<Duration> {
    let progressing = step.conditions.find("Progressing")?;
    if matches!(
        text(&progressing["reason"]),
        "NewReplicaSetAvailable" | "ProgressDeadlineExceeded"
    ) {
        return None;
    }
    let since = time::parse(text(&progressing["lastUpdateTime"]))?;
    let deadline = since + Duration::from_secs(deadline_seconds.unsigned_abs());
    Some(deadline.duration_since(step.now).unwrap_or_default())
}
