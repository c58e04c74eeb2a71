//! Taints of nodes, and which pods bear them.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>

use std::time::Duration;

use serde_json::Value;

use crate::controllers::object::{list, text};

/// The taint of a node that is cordoned.
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The first taint with one of these effects that the tolerations do not bear.
pub(crate) fn untolerated<'a>(tolerations: &[Value], node: &'a Value, effects: &[&str]) -> Option<&'a Value> {
    list(&node["spec"]["taints"]).iter().find(|taint| {
        effects.contains(&text(&taint["effect"]))
            && !tolerations.iter().any(|toleration| bears(toleration, taint))
    })
}

/// How many `PreferNoSchedule` taints the tolerations do not bear.
pub(super) fn disliked(tolerations: &[Value], node: &Value) -> usize {
    let soft = list(&node["spec"]["taints"])
        .iter()
        .filter(|taint| taint["effect"] == "PreferNoSchedule");
    soft.filter(|taint| !tolerations.iter().any(|toleration| bears(toleration, taint)))
        .count()
}

/// Whether a pod that runs may stay, and for how long, given the node's `NoExecute` taints: `None` for ever.
pub(crate) fn may_stay(tolerations: &[Value], node: &Value) -> Option<Duration> {
    let evicting = list(&node["spec"]["taints"])
        .iter()
        .filter(|taint| taint["effect"] == "NoExecute");
    let left = evicting.filter_map(|taint| {
        let bearing: Vec<&Value> = tolerations
            .iter()
            .filter(|toleration| bears(toleration, taint))
            .collect();
        if bearing.is_empty() {
            return Some(Duration::ZERO);
        }
        let seconds = bearing
            .iter()
            .filter_map(|toleration| toleration["tolerationSeconds"].as_i64());
        let least = seconds.min()?;
        Some(Duration::from_secs(u64::try_from(least).unwrap_or(0)))
    });
    left.min()
}

/// An empty key with `Exists` bears everything, an empty effect every effect.
fn bears(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (text(&toleration["key"]), text(&toleration["effect"]));
    let same_value = text(&toleration["value"]) == text(&taint["value"]);
    (effect.is_empty() || taint["effect"] == effect)
        && (key.is_empty() || taint["key"] == key)
        && match text(&toleration["operator"]) {
            "Exists" => true,
            "" | "Equal" => !key.is_empty() && same_value,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(effect: &str) -> Value {
        json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}})
    }

    #[test]
    fn a_toleration_bears_taints_of_its_key_value_and_effect() {
        for (toleration, expected) in [
            (
                json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}),
                true,
            ),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}),
                false,
            ),
            (json!({}), false),
        ] {
            let taint = node("NoSchedule");
            let untolerated = untolerated(std::slice::from_ref(&toleration), &taint, &["NoSchedule"]);
            assert_eq!(untolerated.is_none(), expected, "{toleration}");
        }
    }

    #[test]
    fn a_pod_stays_for_as_long_as_it_bears_what_evicts_it() {
        let node = node("NoExecute");
        assert_eq!(may_stay(&[], &node), Some(Duration::ZERO));
        assert_eq!(may_stay(&[json!({"operator": "Exists"})], &node), None);
        let for_a_while = json!({"operator": "Exists", "tolerationSeconds": 7});
        assert_eq!(may_stay(&[for_a_while], &node), Some(Duration::from_secs(7)));
        assert_eq!(may_stay(&[], &super::tests::node("NoSchedule")), None);
    }
}
