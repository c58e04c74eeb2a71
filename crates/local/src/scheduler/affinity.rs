//! Which nodes a pod asks for by their labels: `nodeSelector`, required and preferred node affinity.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity>

use serde_json::Value;

use crate::controllers::object::{self, list, number, text};
use crate::controllers::selector;

/// Whether a node satisfies what the pod requires of its labels.
pub(crate) fn fits(pod_spec: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let required = &pod_spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = list(&required["nodeSelectorTerms"]);
    selector::matches_map(&pod_spec["nodeSelector"], labels)
        && (required.is_null() || terms.iter().any(|term| holds(term, node)))
}

/// The sum of the weights of the preferences that a node satisfies.
pub(super) fn preference(pod_spec: &Value, node: &Value) -> i64 {
    let preferred = &pod_spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let satisfied = list(preferred)
        .iter()
        .filter(|one| holds(&one["preference"], node));
    satisfied.map(|one| number(&one["weight"])).sum()
}

/// Whether all requirements of a term hold; a term without any holds for no node.
fn holds(term: &Value, node: &Value) -> bool {
    let (expressions, fields) = (list(&term["matchExpressions"]), list(&term["matchFields"]));
    let is_something = !expressions.is_empty() || !fields.is_empty();
    // `metadata.name` is the only field that nodes are selected by.
    let name = Value::from(object::name(node));
    is_something
        && expressions
            .iter()
            .all(|one| requirement_holds(one, &node["metadata"]["labels"][text(&one["key"])]))
        && fields
            .iter()
            .all(|one| one["key"] == "metadata.name" && requirement_holds(one, &name))
}

fn requirement_holds(requirement: &Value, label: &Value) -> bool {
    let values = list(&requirement["values"]);
    let as_number = |value: &Value| text(value).parse::<i64>().ok();
    let pair = || Some((as_number(label)?, as_number(values.first()?)?));
    match text(&requirement["operator"]) {
        "In" => label.is_string() && values.contains(label),
        "NotIn" => !values.contains(label),
        "Exists" => label.is_string(),
        "DoesNotExist" => label.is_null(),
        "Gt" => pair().is_some_and(|(label, bound)| label > bound),
        "Lt" => pair().is_some_and(|(label, bound)| label < bound),
        _ => false,
    }
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> Value {
        json!({"metadata": {"name": "n1", "labels": {"zone": "a", "size": "8"}}})
    }

    fn required(term: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{}, term]}}}})
    }

    #[test]
    fn selector_and_one_of_the_terms_must_hold() {
        assert!(fits(&json!({}), &node()));
        assert!(fits(&json!({"nodeSelector": {"zone": "a"}}), &node()));
        assert!(!fits(&json!({"nodeSelector": {"zone": "b"}}), &node()));
        for (operator, values, expected) in [
            ("In", json!(["a", "b"]), true),
            ("NotIn", json!(["a"]), false),
            ("Exists", json!([]), true),
            ("DoesNotExist", json!([]), false),
        ] {
            let term = json!({"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]});
            assert_eq!(fits(&required(term), &node()), expected, "{operator}");
        }
        let larger =
            |than: &str| json!({"matchExpressions": [{"key": "size", "operator": "Gt", "values": [than]}]});
        assert!(fits(&required(larger("7")), &node()) && !fits(&required(larger("8")), &node()));
        let named = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        assert!(fits(&required(named("n1")), &node()) && !fits(&required(named("n2")), &node()));
        assert!(
            !fits(&required(json!({})), &node()),
            "an empty term holds for no node"
        );
    }

    #[test]
    fn preferences_add_up() {
        let prefer = |weight: i64, zone: &str| {
            json!({"weight": weight, "preference":
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}})
        };
        let spec = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [prefer(5, "a"), prefer(7, "b"), prefer(1, "a")]}}});
        assert_eq!(preference(&spec, &node()), 6);
    }
}
