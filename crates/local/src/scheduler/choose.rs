//! Which node is best for a pod, and why none is: a pure function of the pod, the nodes and the pods on them.
//!
//! First every node is asked whether the pod may go there; the first filter that refuses is the node's reason. Then
//! those that are left are compared. <https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/>

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

use super::resources::Amounts;
use super::topology::{self, Spread};
use super::{affinity, taints};
use crate::api::client::Object;
use crate::controllers::object::{self, list, text};
use crate::controllers::pods;

/// A node and the pods that are on it or on their way, but for those that have ended.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: Object,
    pub(super) pods: Vec<Object>,
    used: Amounts,
    capacity: Amounts,
}

/// Everything that a choice looks at.
pub(super) struct World<'a> {
    pub(super) places: Vec<Place>,
    pub(super) namespaces: &'a [Object],
}

/// Why no node takes a pod, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

impl<'a> World<'a> {
    pub(super) fn of(nodes: &[Object], all: &[Object], namespaces: &'a [Object]) -> Self {
        let place = |node: &Object| {
            let on_it =
                |pod: &&Object| pod["spec"]["nodeName"] == *object::name(node) && !pods::is_ended(pod);
            let pods: Vec<Object> = all.iter().filter(on_it).cloned().collect();
            let mut used = Amounts::default();
            for pod in &pods {
                used.add(&Amounts::of_pod(&pod["spec"]));
            }
            Place {
                node: node.clone(),
                pods,
                used,
                capacity: Amounts::of(&node["status"]["allocatable"]),
            }
        };
        Self {
            places: nodes.iter().map(place).collect(),
            namespaces,
        }
    }

    /// Pods and where they are.
    pub(super) fn running(&self) -> impl Iterator<Item = (&Place, &Object)> {
        self.places
            .iter()
            .flat_map(|place| place.pods.iter().map(move |pod| (place, pod)))
    }
}

/// The node for a pod.
pub(super) fn choose(world: &World<'_>, pod: &Value) -> Result<String, Refusal> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut helpless = 0;
    let mut possible = Vec::new();
    for place in &world.places {
        match refusal(world, pod, place) {
            None => possible.push(place),
            Some((texts, no_room)) => {
                helpless += usize::from(!no_room);
                for text in texts {
                    *reasons.entry(text).or_default() += 1;
                }
            }
        }
    }
    best(world, pod, &possible).ok_or_else(|| why_none(world.places.len(), &reasons, helpless))
}

/// Why a pod may not go to a node, and whether that is for want of room.
fn refusal(world: &World<'_>, pod: &Value, place: &Place) -> Option<(Vec<String>, bool)> {
    let never = |text: &str| Some((vec![text.to_owned()], false));
    let full = |text: &str| Some((vec![text.to_owned()], true));
    let (spec, node) = (&pod["spec"], &place.node);
    let tolerations = list(&spec["tolerations"]);
    if node["spec"]["unschedulable"] == true && !bears_cordon(tolerations) {
        return never("node(s) were unschedulable");
    }
    if let Some(taint) = taints::untolerated(tolerations, node, &["NoSchedule", "NoExecute"]) {
        let (key, value) = (text(&taint["key"]), text(&taint["value"]));
        return never(&format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    if !affinity::fits(spec, node) {
        return never("node(s) didn't match Pod's node affinity/selector");
    }
    if taken_ports(pod, place) {
        return full("node(s) didn't have free ports for the requested pod ports");
    }
    let lacking = lacking(spec, place);
    if !lacking.is_empty() {
        return Some((lacking, true));
    }
    match topology::spread(world, pod, place) {
        Spread::Holds => {}
        Spread::TooSkewed => return full("node(s) didn't match pod topology spread constraints"),
        Spread::NoLabel => {
            return never("node(s) didn't match pod topology spread constraints (missing required label)");
        }
    }
    if !topology::affinity_holds(world, pod, place) {
        return never("node(s) didn't match pod affinity rules");
    }
    if !topology::anti_affinity_holds(world, pod, place) {
        return full("node(s) didn't match pod anti-affinity rules");
    }
    if !topology::others_agree(world, pod, place) {
        return full("node(s) didn't satisfy existing pods anti-affinity rules");
    }
    None
}

/// A cordon counts as a taint, whether or not the node has it already.
fn bears_cordon(tolerations: &[Value]) -> bool {
    let node =
        serde_json::json!({"spec": {"taints": [{"key": taints::UNSCHEDULABLE, "effect": "NoSchedule"}]}});
    taints::untolerated(tolerations, &node, &["NoSchedule"]).is_none()
}

/// Ports of the node that two pods want.
fn taken_ports(pod: &Value, place: &Place) -> bool {
    let wanted = host_ports(pod);
    !wanted.is_empty()
        && place
            .pods
            .iter()
            .any(|other| host_ports(other).iter().any(|port| wanted.contains(port)))
}

fn host_ports(pod: &Value) -> Vec<(i64, &str)> {
    let ports = list(&pod["spec"]["containers"])
        .iter()
        .flat_map(|container| list(&container["ports"]));
    let of_host = ports.filter_map(|port| {
        let number = port["hostPort"].as_i64().filter(|number| *number > 0)?;
        Some((number, port["protocol"].as_str().unwrap_or("TCP")))
    });
    of_host.collect()
}

fn lacking(spec: &Value, place: &Place) -> Vec<String> {
    let mut texts = Vec::new();
    let most = place.capacity.get("pods") / 1000;
    if i128::try_from(place.pods.len()).unwrap_or(i128::MAX) >= most {
        texts.push("Too many pods".to_owned());
    }
    let wanted = Amounts::of_pod(spec);
    let names = wanted.lacking(&place.used, &place.capacity);
    texts.extend(names.iter().map(|name| format!("Insufficient {name}")));
    texts
}

/// The best of the possible nodes; of equally good ones the emptiest.
fn best(world: &World<'_>, pod: &Value, possible: &[&Place]) -> Option<String> {
    let spec = &pod["spec"];
    let scores = [
        (
            2,
            scale(possible, |place| affinity::preference(spec, &place.node)),
        ),
        (
            2,
            scale(possible, |place| topology::preference(world, pod, place)),
        ),
        (2, scale(possible, |place| -topology::crowding(world, pod, place))),
        (
            3,
            scale(possible, |place| {
                let disliked = taints::disliked(list(&spec["tolerations"]), &place.node);
                -i64::try_from(disliked).unwrap_or(i64::MAX)
            }),
        ),
        (1, scale(possible, free)),
    ];
    let score = |position: usize| -> i64 {
        scores
            .iter()
            .map(|(weight, values)| weight * values[position])
            .sum()
    };
    let order = |position: &usize| {
        let place = possible[*position];
        (
            score(*position),
            Reverse(place.pods.len()),
            Reverse(object::name(&place.node)),
        )
    };
    let best = (0..possible.len()).max_by(|one, other| order(one).cmp(&order(other)))?;
    Some(object::name(&possible[best].node).to_owned())
}

/// Scores from 0 for the worst to 100 for the best; all 100 when they are alike.
fn scale(places: &[&Place], raw: impl Fn(&Place) -> i64) -> Vec<i64> {
    let raw: Vec<i64> = places.iter().map(|place| raw(place)).collect();
    let least = raw.iter().copied().min().unwrap_or(0);
    let span = raw.iter().copied().max().unwrap_or(0).saturating_sub(least);
    raw.iter()
        .map(|value| match span {
            0 => 100,
            span => (value - least).saturating_mul(100) / span,
        })
        .collect()
}

/// The share of cpu and memory that nobody has asked for, in percent.
fn free(place: &Place) -> i64 {
    let share = |name: &str| {
        let (used, capacity) = (place.used.get(name), place.capacity.get(name).max(1));
        i64::try_from((capacity - used).max(0) * 100 / capacity).unwrap_or(0)
    };
    (share("cpu") + share("memory")) / 2
}

fn why_none(nodes: usize, reasons: &BTreeMap<String, usize>, helpless: usize) -> Refusal {
    if nodes == 0 {
        return Refusal("no nodes available to schedule pods".to_owned());
    }
    let listed = |reasons: &mut Vec<String>| {
        reasons.sort();
        reasons.join(", ")
    };
    let mut texts: Vec<String> = reasons
        .iter()
        .map(|(text, count)| format!("{count} {text}"))
        .collect();
    let mut preemption = Vec::new();
    if helpless < nodes {
        let count = nodes - helpless;
        preemption.push(format!("{count} No preemption victims found for incoming pod"));
    }
    if helpless > 0 {
        preemption.push(format!("{helpless} Preemption is not helpful for scheduling"));
    }
    Refusal(format!(
        "0/{nodes} nodes are available: {}. preemption: 0/{nodes} nodes are available: {}.",
        listed(&mut texts),
        listed(&mut preemption)
    ))
}
