//! One step of a DaemonSet: a pure function of the set, the nodes, the pods and the time.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::object::{self, number};
use super::super::share::{self, Round};
use super::super::{pods, revision};
use super::placement::{self, Place};
use crate::api::client::Object;

/// A DaemonSet and the nodes as it sees them.
pub(super) struct Set<'a> {
    pub(super) object: &'a Value,
    /// Of the present template.
    pub(super) hash: &'a str,
    pub(super) places: BTreeMap<&'a str, Place>,
    pub(super) least_ready_seconds: i64,
    rolling: bool,
    /// How many nodes may be without an available pod during an update.
    most_unavailable: i64,
    /// How many nodes may have an old and a new pod.
    most_surge: i64,
    now: SystemTime,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<Value>,
    pub(super) delete: Vec<Object>,
    /// Those that ended, though they never should.
    pub(super) failed: Vec<Object>,
}

/// More than this at once is left for the next look.
const BURST: usize = 250;

impl<'a> Set<'a> {
    pub(super) fn of(object: &'a Value, hash: &'a str, nodes: &'a [Object], now: SystemTime) -> Self {
        let places: BTreeMap<&str, Place> = nodes
            .iter()
            .map(|node| (object::name(node), placement::place(object, node)))
            .collect();
        let wanted = places.values().filter(|place| **place == Place::Wanted).count();
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let spec = &object["spec"];
        let update = &spec["updateStrategy"]["rollingUpdate"];
        let most_surge = share::of(&update["maxSurge"], wanted, Round::Up);
        let most_unavailable = share::of(&update["maxUnavailable"], wanted, Round::Up);
        Self {
            object,
            hash,
            places,
            least_ready_seconds: number(&spec["minReadySeconds"]),
            rolling: spec["updateStrategy"]["type"] != "OnDelete",
            // Both zero would let nothing move.
            most_unavailable: match most_surge {
                0 => most_unavailable.max(1),
                _ => most_unavailable,
            },
            most_surge,
            now,
        }
    }

    fn is_available(&self, pod: &Value) -> bool {
        !object::is_ending(pod) && pods::is_available(pod, self.least_ready_seconds, self.now)
    }

    fn is_new(&self, pod: &Value) -> bool {
        object::label(pod, revision::OF_POD) == self.hash
    }

    fn wanted(&self) -> impl Iterator<Item = &'a str> {
        self.places
            .iter()
            .filter(|(_, place)| **place == Place::Wanted)
            .map(|(node, _)| *node)
    }
}

/// Pods by the node that they are on or are tied to.
fn by_node(pods: &[Object]) -> BTreeMap<&str, Vec<&Object>> {
    let mut by_node: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(placement::node_of(pod)).or_default().push(pod);
    }
    by_node
}

pub(super) fn next(set: &Set<'_>, pods: &[Object]) -> Plan {
    let by_node = by_node(pods);
    let mut plan = Plan::default();
    for (node, pods) in &by_node {
        match set.places.get(node) {
            Some(Place::Wanted | Place::Tolerated) => keep_one(set, pods, &mut plan),
            // A node that is gone takes its pods with it.
            Some(Place::Unwanted) | None => {
                let here = pods.iter().filter(|pod| !object::is_ending(pod));
                plan.delete.extend(here.map(|pod| Object::clone(pod)));
            }
        }
    }
    for node in set.wanted().filter(|node| !by_node.contains_key(node)) {
        plan.create.push(placement::pod(set.object, set.hash, node));
    }
    if set.rolling {
        match set.most_surge {
            0 => replace(set, &by_node, &mut plan),
            _ => surge(set, &by_node, &mut plan),
        }
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

/// One pod on a node, and during an update with surge one of each template. Of several the oldest stays.
fn keep_one(set: &Set<'_>, pods: &[&Object], plan: &mut Plan) {
    let here = || pods.iter().filter(|pod| !object::is_ending(pod));
    let ended = here().filter(|pod| pods::is_ended(pod));
    plan.failed.extend(ended.map(|pod| Object::clone(pod)));
    let alive = || here().filter(|pod| !pods::is_ended(pod));
    if set.rolling && set.most_surge > 0 {
        for is_new in [true, false] {
            let surplus = alive().filter(|pod| set.is_new(pod) == is_new).skip(1);
            plan.delete.extend(surplus.map(|pod| Object::clone(pod)));
        }
    } else {
        plan.delete.extend(alive().skip(1).map(|pod| Object::clone(pod)));
    }
}

/// Old pods make way for new ones, as many as may be unavailable. Those that are not available anyway go at once.
fn replace(set: &Set<'_>, by_node: &BTreeMap<&str, Vec<&Object>>, plan: &mut Plan) {
    let on = |node: &str| by_node.get(node).map_or(&[][..], Vec::as_slice);
    let serves = |node: &&str| on(node).iter().any(|pod| set.is_available(pod));
    let unavailable = set.wanted().filter(|node| !serves(node)).count();
    let mut allowed = set.most_unavailable - i64::try_from(unavailable).unwrap_or(i64::MAX);
    for node in set.wanted() {
        let [pod] = on(node) else { continue };
        if set.is_new(pod) || !pods::is_active(pod) {
            continue;
        }
        if set.is_available(pod) {
            if allowed <= 0 {
                continue;
            }
            allowed -= 1;
        }
        plan.delete.push(Object::clone(pod));
    }
}

/// New pods beside old ones, as many as there may be too many; an old one goes when its successor is available.
fn surge(set: &Set<'_>, by_node: &BTreeMap<&str, Vec<&Object>>, plan: &mut Plan) {
    let mut under_way = 0;
    let mut next = Vec::new();
    for node in set.wanted() {
        let alive = by_node
            .get(node)
            .into_iter()
            .flatten()
            .filter(|pod| pods::is_active(pod));
        let (new, old): (Vec<&&Object>, Vec<&&Object>) = alive.partition(|pod| set.is_new(pod));
        match (new.first(), old.first()) {
            (Some(new), Some(old)) if set.is_available(new) => plan.delete.push(Object::clone(old)),
            (Some(_), Some(_)) => under_way += 1,
            // One that serves nobody is not worth a surge.
            (None, Some(old)) if !set.is_available(old) => {
                plan.create.push(placement::pod(set.object, set.hash, node));
            }
            (None, Some(_)) => next.push(node),
            (_, None) => {}
        }
    }
    let room = usize::try_from(set.most_surge - under_way).unwrap_or(0);
    let made = next
        .into_iter()
        .take(room)
        .map(|node| placement::pod(set.object, set.hash, node));
    plan.create.extend(made);
}

/// What a DaemonSet says about itself; `kubectl rollout status` lives on it.
pub(super) fn status(set: &Set<'_>, pods: &[Object]) -> Value {
    let by_node = by_node(pods);
    let alive_on = |node: &str| {
        let pods = by_node.get(node).into_iter().flatten().copied();
        pods.filter(|pod| pods::is_active(pod))
    };
    let count = |test: &dyn Fn(&Object) -> bool| set.wanted().filter(|node| alive_on(node).any(test)).count();
    let wanted = set.wanted().count();
    let available = count(&|pod| set.is_available(pod));
    let misplaced = set
        .places
        .iter()
        .filter(|(node, place)| **place != Place::Wanted && alive_on(node).next().is_some());
    let mut status = json!({
        "observedGeneration": set.object["metadata"]["generation"],
        "desiredNumberScheduled": wanted,
        "currentNumberScheduled": count(&|_| true),
        "numberMisscheduled": misplaced.count(),
        "numberReady": count(&|pod| pods::is_ready(pod)),
    });
    let numbers = [
        ("updatedNumberScheduled", count(&|pod| set.is_new(pod))),
        ("numberAvailable", available),
        ("numberUnavailable", wanted - available),
    ];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        status[name] = number.into();
    }
    if let Some(collisions) = set.object["status"]["collisionCount"].as_i64() {
        status["collisionCount"] = collisions.into();
    }
    status
}
