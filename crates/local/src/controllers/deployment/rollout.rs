//! From old pods to new ones: gradually within two fence posts, or all at once.

use super::plan::{Step, resize};
use super::status;
use super::view::{Deployment, ReplicaSet};

/// A rolling update: more new pods first, then fewer old ones.
pub(super) fn roll(step: &mut Step<'_>) {
    if step.current.is_none() {
        return step.create_current();
    }
    let moved = grow_current(step) || shrink_old(step);
    if !moved && status::is_complete(step) {
        step.clean_up();
    }
}

/// All old pods go before the first new one comes.
pub(super) fn recreate(step: &mut Step<'_>, old_pods_run: bool) {
    let mut scaled = false;
    for set in step.old.iter_mut().filter(|set| set.replicas > 0) {
        scaled |= resize(step.deployment, &mut step.actions, set, 0);
    }
    if scaled || old_pods_run {
        return;
    }
    match &mut step.current {
        None => return step.create_current(),
        Some(current) => {
            resize(
                step.deployment,
                &mut step.actions,
                current,
                step.deployment.replicas,
            );
        }
    }
    if status::is_complete(step) {
        step.clean_up();
    }
}

/// How many pods of the current template there may be, given how many it and all together have.
pub(super) fn replicas_of_current(deployment: &Deployment, current: i64, all: i64) -> i64 {
    let room = deployment.most() - all;
    match room > 0 {
        true => current + room.min(deployment.replicas - current),
        false => current,
    }
}

fn grow_current(step: &mut Step<'_>) -> bool {
    let all: i64 = step.all().map(|set| set.replicas).sum();
    let Some(current) = &mut step.current else {
        return false;
    };
    let to = match current.replicas > step.deployment.replicas {
        true => step.deployment.replicas,
        false => replicas_of_current(step.deployment, current.replicas, all),
    };
    current.replicas != to && resize(step.deployment, &mut step.actions, current, to)
}

/// Gives up old pods: those that do not work first, then as many as the available ones allow.
fn shrink_old(step: &mut Step<'_>) -> bool {
    let Some(current) = &step.current else {
        return false;
    };
    let all: i64 = step.all().map(|set| set.replicas).sum();
    let least_available = step.deployment.replicas - step.deployment.max_unavailable;
    let unavailable = current.replicas - current.available;
    let may_go = all - least_available - unavailable;
    if may_go <= 0 || step.old.iter().all(|set| set.replicas == 0) {
        return false;
    }
    let broken = take(step, may_go, |set| set.replicas - set.available);
    // A pod that is already given up may still be counted as available.
    let available: i64 = step.all().map(|set| set.available.min(set.replicas)).sum();
    let healthy = take(step, available - least_available, |set| set.replicas);
    broken || healthy
}

/// Takes up to `budget` pods from the old ReplicaSets, from each at most what `spare` says, the oldest first.
fn take(step: &mut Step<'_>, mut budget: i64, spare: impl Fn(&ReplicaSet) -> i64) -> bool {
    let mut taken = false;
    for set in &mut step.old {
        let fewer = spare(set).min(set.replicas).min(budget);
        if fewer > 0 {
            budget -= fewer;
            let to = set.replicas - fewer;
            taken |= resize(step.deployment, &mut step.actions, set, to);
        }
    }
    taken
}
