//! A changed number of replicas while nothing is rolled out, or in the middle of it: then every version gets its
//! share, so that a canary stays as large a part of the whole as it was.
//!
//! <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#proportional-scaling>

use super::super::object;
use super::plan::{Step, resize};
use super::view::{Deployment, MOST, ReplicaSet};

pub(super) fn scale(step: &mut Step<'_>) {
    let Step {
        deployment, actions, ..
    } = step;
    let active = step
        .current
        .iter()
        .chain(&step.old)
        .filter(|set| set.replicas > 0)
        .count();
    if active <= 1 {
        if let Some(only) = only_active_or_latest(&mut step.current, &mut step.old) {
            resize(deployment, actions, only, deployment.replicas);
        }
        return;
    }
    if step
        .current
        .as_ref()
        .is_some_and(|current| is_saturated(deployment, current))
    {
        for set in step.old.iter_mut().filter(|set| set.replicas > 0) {
            resize(deployment, actions, set, 0);
        }
        return;
    }
    if !deployment.recreate {
        let sets = step
            .current
            .iter_mut()
            .chain(&mut step.old)
            .filter(|set| set.replicas > 0);
        scale_in_proportion(deployment, actions, sets.collect());
    }
}

fn only_active_or_latest<'a>(
    current: &'a mut Option<ReplicaSet>,
    old: &'a mut [ReplicaSet],
) -> Option<&'a mut ReplicaSet> {
    match old.iter().position(|set| set.replicas > 0) {
        Some(index) => Some(&mut old[index]),
        None => current.as_mut().or(old.last_mut()),
    }
}

/// Whether the current ReplicaSet alone does all that is wanted.
fn is_saturated(deployment: &Deployment, current: &ReplicaSet) -> bool {
    current.replicas == deployment.replicas
        && current.noted(super::view::DESIRED) == Some(deployment.replicas)
        && current.available == deployment.replicas
}

fn scale_in_proportion(
    deployment: &Deployment,
    actions: &mut Vec<super::plan::Action>,
    mut sets: Vec<&mut ReplicaSet>,
) {
    let allowed = if deployment.replicas > 0 {
        deployment.most()
    } else {
        0
    };
    let missing = allowed - sets.iter().map(|set| set.replicas).sum::<i64>();
    // The largest take the rounding; among equals, growth goes to the newest and loss to the oldest.
    sets.sort_by(|one, other| {
        let by_age = object::created(&one.object).cmp(object::created(&other.object));
        let by_age = if missing > 0 { by_age.reverse() } else { by_age };
        other.replicas.cmp(&one.replicas).then(by_age)
    });
    let mut given = 0;
    let mut sizes: Vec<i64> = Vec::with_capacity(sets.len());
    for set in &sets {
        let share = share(deployment, set);
        let left = missing - given;
        let part = if missing > 0 {
            share.clamp(0, left)
        } else {
            share.clamp(left, 0)
        };
        given += part;
        sizes.push(set.replicas + part);
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + missing - given).max(0);
    }
    for (set, size) in sets.into_iter().zip(sizes) {
        resize(deployment, actions, set, size);
    }
}

/// By how much a ReplicaSet changes if all change alike.
fn share(deployment: &Deployment, set: &ReplicaSet) -> i64 {
    if deployment.replicas == 0 {
        return -set.replicas;
    }
    let before = set
        .noted(MOST)
        .unwrap_or_else(|| object::number(&deployment.object["status"]["replicas"]));
    if before <= 0 {
        return 0;
    }
    let doubled = 2 * set.replicas * deployment.most();
    // Half is rounded up.
    (doubled + before) / (2 * before) - set.replicas
}
