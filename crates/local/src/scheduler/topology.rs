//! Pods near other pods or far from them: pod affinity and anti-affinity, and topology spread constraints.
//!
//! A domain is all nodes that have the same value of a label, the topology key.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::affinity;
use super::choose::{Place, World};
use crate::api::client::Object;
use crate::controllers::object::{self, list, number, text};
use crate::controllers::selector;

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Whether there is, in the node's domain, a pod that each required affinity term selects. The first pod of a group
/// that wants to be together is welcome anywhere.
pub(super) fn affinity_holds(world: &World<'_>, pod: &Value, place: &Place) -> bool {
    let terms = list(&pod["spec"]["affinity"]["podAffinity"][REQUIRED]);
    let near = |term: &Value| selected(world, pod, term).any(|(at, _)| shares_domain(term, at, place));
    if terms.iter().all(near) {
        return true;
    }
    let first_of_its_kind = |term: &Value| {
        selected(world, pod, term).next().is_none()
            && selects(world, term, pod, pod)
            && domain(&place.node, text(&term["topologyKey"])).is_some()
    };
    terms.iter().all(first_of_its_kind)
}

/// Whether the node's domain is free of the pods that the pod must not be near.
pub(super) fn anti_affinity_holds(world: &World<'_>, pod: &Value, place: &Place) -> bool {
    let mut terms = list(&pod["spec"]["affinity"]["podAntiAffinity"][REQUIRED]).iter();
    !terms.any(|term| selected(world, pod, term).any(|(at, _)| shares_domain(term, at, place)))
}

/// Whether the node's domain is free of pods that must not be near this one.
pub(super) fn others_agree(world: &World<'_>, pod: &Value, place: &Place) -> bool {
    !world.running().any(|(at, other)| {
        let mut terms = list(&other["spec"]["affinity"]["podAntiAffinity"][REQUIRED]).iter();
        terms.any(|term| selects(world, term, other, pod) && shares_domain(term, at, place))
    })
}

/// The sum of the weights of preferred terms that select pods in the node's domain, anti-affinity counted against it.
pub(super) fn preference(world: &World<'_>, pod: &Value, place: &Place) -> i64 {
    let sum = |kind: &str| -> i64 {
        let terms = list(&pod["spec"]["affinity"][kind][PREFERRED]).iter();
        let weights = terms.map(|weighted| {
            let term = &weighted["podAffinityTerm"];
            let near = selected(world, pod, term).filter(|(at, _)| shares_domain(term, at, place));
            let near = i64::try_from(near.count()).unwrap_or(i64::MAX);
            number(&weighted["weight"]).saturating_mul(near)
        });
        weights.sum()
    };
    sum("podAffinity") - sum("podAntiAffinity")
}

/// What a hard spread constraint says about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    Holds,
    TooSkewed,
    NoLabel,
}

/// Whether the pod may go to a node without any domain having too many more pods than another.
pub(super) fn spread(world: &World<'_>, pod: &Value, place: &Place) -> Spread {
    let constraints = list(&pod["spec"]["topologySpreadConstraints"]);
    let hard = |one: &&Value| one["whenUnsatisfiable"] != "ScheduleAnyway";
    for constraint in constraints.iter().filter(hard) {
        let key = text(&constraint["topologyKey"]);
        let Some(here) = domain(&place.node, key) else {
            return Spread::NoLabel;
        };
        let counts = counts(world, pod, constraint);
        let too_few = counts.len() < usize::try_from(number(&constraint["minDomains"])).unwrap_or(0);
        let least = match too_few {
            true => 0,
            false => counts.values().copied().min().unwrap_or(0),
        };
        let own = i64::from(is_counted(pod, constraint, pod));
        let there = counts.get(here).copied().unwrap_or(0);
        if there + own - least > constraint["maxSkew"].as_i64().unwrap_or(1) {
            return Spread::TooSkewed;
        }
    }
    Spread::Holds
}

/// How crowded the node's domains are, by the constraints that need not hold: the more, the worse.
pub(super) fn crowding(world: &World<'_>, pod: &Value, place: &Place) -> i64 {
    let constraints = list(&pod["spec"]["topologySpreadConstraints"]);
    let soft = constraints
        .iter()
        .filter(|one| one["whenUnsatisfiable"] == "ScheduleAnyway");
    let crowd = soft.map(|constraint| {
        let here = domain(&place.node, text(&constraint["topologyKey"]));
        here.and_then(|here| counts(world, pod, constraint).get(here).copied())
            .unwrap_or(0)
    });
    crowd.sum::<i64>() + siblings(world, pod, place)
}

/// Pods of the same owner in the same zone and on the same node: what is spread without being told to.
fn siblings(world: &World<'_>, pod: &Value, place: &Place) -> i64 {
    let Some(owner) = object::controller(pod) else {
        return 0;
    };
    let zone = domain(&place.node, "topology.kubernetes.io/zone");
    let crowd = world.running().filter_map(|(at, other)| {
        let is_sibling = object::controller(other).is_some_and(|one| one["uid"] == owner["uid"]);
        let same_zone = zone.is_some() && domain(&at.node, "topology.kubernetes.io/zone") == zone;
        let same_node = object::name(&at.node) == object::name(&place.node);
        is_sibling.then_some(i64::from(same_zone) * 2 + i64::from(same_node))
    });
    crowd.sum()
}

/// How many pods of the constraint each domain has, empty ones among them. Nodes that the pod cannot go to because of
/// their labels do not count.
fn counts<'a>(world: &'a World<'_>, pod: &Value, constraint: &Value) -> BTreeMap<&'a str, i64> {
    let key = text(&constraint["topologyKey"]);
    let honours = constraint["nodeAffinityPolicy"] != "Ignore";
    let mut counts = BTreeMap::new();
    for place in &world.places {
        if honours && !affinity::fits(&pod["spec"], &place.node) {
            continue;
        }
        let Some(here) = domain(&place.node, key) else {
            continue;
        };
        let there = place
            .pods
            .iter()
            .filter(|other| is_counted(pod, constraint, other));
        *counts.entry(here).or_default() += i64::try_from(there.count()).unwrap_or(i64::MAX);
    }
    counts
}

fn is_counted(pod: &Value, constraint: &Value, other: &Value) -> bool {
    let same = list(&constraint["matchLabelKeys"]).iter().all(|key| {
        let key = text(key);
        pod["metadata"]["labels"][key] == other["metadata"]["labels"][key]
    });
    same && object::namespace(pod) == object::namespace(other)
        && !object::is_ending(other)
        && selector::matches(&constraint["labelSelector"], &other["metadata"]["labels"])
}

/// The pods that a term of `pod` selects, and where they are.
fn selected<'a>(
    world: &'a World<'_>,
    pod: &'a Value,
    term: &'a Value,
) -> impl Iterator<Item = (&'a Place, &'a Object)> {
    world
        .running()
        .filter(move |(_, other)| selects(world, term, pod, other))
}

/// Whether a term of `pod` selects `other`.
fn selects(world: &World<'_>, term: &Value, pod: &Value, other: &Value) -> bool {
    let namespace = object::namespace(other);
    let named: BTreeSet<&str> = list(&term["namespaces"]).iter().map(text).collect();
    let by_labels = &term["namespaceSelector"];
    let in_namespace = match (named.is_empty(), by_labels.is_null()) {
        (true, true) => namespace == object::namespace(pod),
        _ => {
            named.contains(namespace)
                || world
                    .namespaces
                    .iter()
                    .filter(|one| object::name(one) == namespace)
                    .any(|one| selector::matches(by_labels, &one["metadata"]["labels"]))
        }
    };
    in_namespace && selector::matches(&term["labelSelector"], &other["metadata"]["labels"])
}

fn shares_domain(term: &Value, one: &Place, other: &Place) -> bool {
    let key = text(&term["topologyKey"]);
    domain(&one.node, key).is_some_and(|value| domain(&other.node, key) == Some(value))
}

/// The value of a node's label.
fn domain<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    node["metadata"]["labels"][key].as_str()
}
