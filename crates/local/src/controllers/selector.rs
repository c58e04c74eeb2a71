//! Label selectors as objects carry them: `matchLabels` and `matchExpressions`, or a plain map (Services).

use serde_json::Value;

use super::object::{list, text};

/// Whether a `LabelSelector` selects these labels. No selector selects nothing, an empty one everything.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    selector.is_object()
        && matches_map(&selector["matchLabels"], labels)
        && list(&selector["matchExpressions"])
            .iter()
            .all(|expression| holds(expression, labels))
}

/// Whether every entry of a plain map is among the labels.
pub(crate) fn matches_map(wanted: &Value, labels: &Value) -> bool {
    let mut wanted = wanted.as_object().into_iter().flatten();
    wanted.all(|(key, value)| labels[key].is_string() && labels[key] == *value)
}

fn holds(expression: &Value, labels: &Value) -> bool {
    let label = &labels[text(&expression["key"])];
    let is_listed = list(&expression["values"]).contains(label);
    match text(&expression["operator"]) {
        "In" => label.is_string() && is_listed,
        "NotIn" => label.is_null() || !is_listed,
        "Exists" => label.is_string(),
        "DoesNotExist" => label.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_conditions_must_hold() {
        let selector = json!({"matchLabels": {"app": "a"}, "matchExpressions": [
            {"key": "version", "operator": "In", "values": ["0", "1"]},
            {"key": "tier", "operator": "NotIn", "values": ["test"]},
            {"key": "app", "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist"},
        ]});
        assert!(matches(&selector, &json!({"app": "a", "version": "1"})));
        assert!(!matches(&selector, &json!({"app": "b", "version": "1"})));
        assert!(!matches(&selector, &json!({"app": "a", "version": "2"})));
        assert!(!matches(
            &selector,
            &json!({"app": "a", "version": "1", "tier": "test"})
        ));
        assert!(!matches(
            &selector,
            &json!({"app": "a", "version": "1", "old": ""})
        ));
    }

    #[test]
    fn an_empty_selector_selects_everything_and_none_selects_nothing() {
        assert!(matches(&json!({}), &Value::Null));
        assert!(!matches(&Value::Null, &Value::Null));
        assert!(!matches_map(&json!({"app": null}), &Value::Null));
    }
}
