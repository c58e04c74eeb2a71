//! What a StatefulSet says about itself; `kubectl rollout status` lives on it.

use serde_json::{Value, json};

use super::super::object;
use super::super::pods;
use super::plan::{Set, revision_of};

/// The whole status.
pub(super) fn of(set: &Set<'_>) -> Value {
    let (update, mut current) = (object::name(&set.update), object::name(&set.current));
    let count = |test: &dyn Fn(&Value) -> bool| {
        let counted = set.pods.values().filter(|pod| test(pod)).count();
        i64::try_from(counted).unwrap_or(i64::MAX)
    };
    let of_revision = |name: &str| count(&|pod| !object::is_ending(pod) && revision_of(pod) == name);
    let replicas = count(&|_| true);
    let ready = count(&|pod| pods::is_ready(pod));
    let updated = of_revision(update);
    // The rollout is over: what was the update is what there is.
    if set.rolling && [replicas, ready, updated] == [set.replicas; 3] {
        current = update;
    }
    let mut status = json!({
        "observedGeneration": set.object["metadata"]["generation"],
        "replicas": replicas,
        "availableReplicas": count(&|pod| set.is_available(pod)),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": object::number(&set.object["status"]["collisionCount"]),
    });
    // Zeros are left out, but for the three above.
    let numbers = [
        ("readyReplicas", ready),
        ("currentReplicas", of_revision(current)),
        ("updatedReplicas", updated),
    ];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        status[name] = number.into();
    }
    status
}
