//! Which nodes a DaemonSet's pods belong on, and how a pod is tied to its node.
//!
//! The scheduler binds them like all others: each pod's affinity names the one node.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations>

use serde_json::{Value, json};

use super::super::object::{self, list, text};
use super::super::{pods, revision};
use crate::scheduler::{affinity, taints};

/// What a DaemonSet's pod bears beyond what its template says: key and effect.
const BORNE: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (taints::UNSCHEDULABLE, "NoSchedule"),
];

/// What a node is to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A pod belongs there.
    Wanted,
    /// No new one, but one that is there may stay.
    Tolerated,
    Unwanted,
}

pub(super) fn place(set: &Value, node: &Value) -> Place {
    let spec = &set["spec"]["template"]["spec"];
    let named = text(&spec["nodeName"]);
    let named_otherwise = !named.is_empty() && named != object::name(node);
    if named_otherwise || !affinity::fits(spec, node) {
        return Place::Unwanted;
    }
    let tolerations = tolerations(spec);
    if taints::untolerated(&tolerations, node, &["NoExecute"]).is_some() {
        Place::Unwanted
    } else if taints::untolerated(&tolerations, node, &["NoSchedule"]).is_some() {
        Place::Tolerated
    } else {
        Place::Wanted
    }
}

/// The pod of a set for a node, by the set's present template.
pub(super) fn pod(set: &Value, hash: &str, node: &str) -> Value {
    let mut pod = pods::from_template(set, &set["spec"]["template"]);
    pod["metadata"]["labels"][revision::OF_POD] = hash.into();
    let spec = &mut pod["spec"];
    spec["tolerations"] = tolerations(spec).into();
    let only = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    // It replaces what the template requires: that was asked when the node was chosen.
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": only}]});
    pod
}

/// The node that a pod is on, or is tied to; empty when neither.
pub(super) fn node_of(pod: &Value) -> &str {
    let spec = &pod["spec"];
    let tied = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
    match text(&spec["nodeName"]) {
        "" => spec.pointer(tied).map_or("", text),
        bound => bound,
    }
}

fn tolerations(spec: &Value) -> Vec<Value> {
    let network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let of_host = (spec["hostNetwork"] == true).then_some(&network);
    let borne = BORNE
        .iter()
        .chain(of_host)
        .map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}));
    list(&spec["tolerations"]).iter().cloned().chain(borne).collect()
}
