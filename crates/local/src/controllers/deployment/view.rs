//! A Deployment and its ReplicaSets as numbers, read once from the objects.

use std::sync::Arc;

use serde_json::Value;

use super::super::object::{self, number};
use super::super::share::{self, Round};
use crate::api::client::Object;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const HASH: &str = "pod-template-hash";

/// What the user wants.
#[derive(Clone, Debug)]
pub(super) struct Deployment {
    pub(super) object: Object,
    pub(super) replicas: i64,
    pub(super) recreate: bool,
    /// How many pods more than wanted there may be, absolute.
    pub(super) max_surge: i64,
    /// How many fewer may be available, absolute.
    pub(super) max_unavailable: i64,
    pub(super) paused: bool,
    /// Seconds; `None` means that nobody waits.
    pub(super) progress_deadline: Option<i64>,
    pub(super) history_limit: i64,
}

/// One version of the Deployment's pods.
#[derive(Clone, Debug)]
pub(super) struct ReplicaSet {
    pub(super) object: Object,
    pub(super) name: String,
    /// Wanted.
    pub(super) replicas: i64,
    /// There.
    pub(super) actual: i64,
    pub(super) ready: i64,
    pub(super) available: i64,
    pub(super) revision: i64,
}

impl Deployment {
    pub(super) fn of(object: &Object) -> Self {
        let spec = &object["spec"];
        let replicas = spec["replicas"].as_i64().unwrap_or(1);
        let recreate = spec["strategy"]["type"] == "Recreate";
        let (max_surge, max_unavailable) = match recreate {
            true => (0, 0),
            false => fence_posts(&spec["strategy"]["rollingUpdate"], replicas),
        };
        let deadline = spec["progressDeadlineSeconds"].as_i64().unwrap_or(600);
        Self {
            object: Arc::clone(object),
            replicas,
            recreate,
            max_surge,
            max_unavailable,
            paused: spec["paused"] == true,
            progress_deadline: (deadline != i64::from(i32::MAX)).then_some(deadline),
            history_limit: spec["revisionHistoryLimit"].as_i64().unwrap_or(10),
        }
    }

    pub(super) fn name(&self) -> &str {
        object::name(&self.object)
    }

    /// The most pods that there may be during a rolling update.
    pub(super) fn most(&self) -> i64 {
        self.replicas + self.max_surge
    }
}

/// Surge and unavailability as numbers of pods. Both zero would let nothing move, so one may then be unavailable.
fn fence_posts(rolling_update: &Value, replicas: i64) -> (i64, i64) {
    let default = Value::from("25%");
    let or_default = |value: &Value| {
        if value.is_null() {
            default.clone()
        } else {
            value.clone()
        }
    };
    let surge = share::of(&or_default(&rolling_update["maxSurge"]), replicas, Round::Up);
    let unavailable = share::of(
        &or_default(&rolling_update["maxUnavailable"]),
        replicas,
        Round::Down,
    );
    match (surge, unavailable) {
        (0, 0) => (0, 1.min(replicas)),
        (surge, unavailable) => (surge, unavailable.min(replicas)),
    }
}

impl ReplicaSet {
    pub(super) fn of(object: &Object) -> Self {
        let status = &object["status"];
        Self {
            object: Arc::clone(object),
            name: object::name(object).to_owned(),
            replicas: object["spec"]["replicas"].as_i64().unwrap_or(1),
            actual: number(&status["replicas"]),
            ready: number(&status["readyReplicas"]),
            available: number(&status["availableReplicas"]),
            revision: object::annotation(object, REVISION).parse().unwrap_or(0),
        }
    }

    /// A number kept in an annotation.
    pub(super) fn noted(&self, annotation: &str) -> Option<i64> {
        object::annotation(&self.object, annotation).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn surge_rounds_up_and_unavailability_down() {
        assert_eq!(fence_posts(&Value::Null, 10), (3, 2));
        assert_eq!(fence_posts(&Value::Null, 1), (1, 0));
        assert_eq!(
            fence_posts(&json!({"maxSurge": 0, "maxUnavailable": "10%"}), 3),
            (0, 1)
        );
        assert_eq!(
            fence_posts(&json!({"maxSurge": 2, "maxUnavailable": 9}), 3),
            (2, 3)
        );
        assert_eq!(
            fence_posts(&json!({"maxSurge": "100%", "maxUnavailable": "0%"}), 4),
            (4, 0)
        );
    }
}
