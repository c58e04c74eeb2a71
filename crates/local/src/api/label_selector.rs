//! `LabelSelector` objects: `matchLabels` and `matchExpressions`, all of which must hold.

use serde_json::Value;

use super::field::FieldErrors;
use super::validate;

/// Whether the labels (an object, or null for none) satisfy the selector. A selector without terms takes everything.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let mut terms = selector["matchExpressions"].as_array().into_iter().flatten();
    exact.into_iter().all(|(key, value)| label(key) == value.as_str())
        && terms.all(|term| {
            let given = label(term["key"].as_str().unwrap_or_default());
            let listed = || {
                given.is_some_and(|given| {
                    term["values"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|v| v == given)
                })
            };
            match term["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("Exists") => given.is_some(),
                Some("DoesNotExist") => given.is_none(),
                _ => false,
            }
        })
}

/// Whether the selector has no term.
pub fn is_empty(selector: &Value) -> bool {
    let none = |field: &str| match &selector[field] {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    };
    none("matchLabels") && none("matchExpressions")
}

/// What is wrong with a selector.
pub fn check(selector: &Value, path: &str, errors: &mut FieldErrors) {
    validate::check_labels(&selector["matchLabels"], &format!("{path}.matchLabels"), errors);
    for (index, term) in selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("{path}.matchExpressions[{index}]");
        let given = term["values"].as_array().is_some_and(|values| !values.is_empty());
        match term["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if !given => errors.required(
                format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "Exists" | "DoesNotExist" if given => errors.forbidden(
                format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(
                format!("{path}.operator"),
                &term["operator"],
                "not a valid selector operator",
            ),
        }
    }
}

/// The selector as a query string, as the scale subresource shows it: `app=backend,tier in (a,b)`.
pub fn to_query(selector: &Value) -> String {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let mut terms: Vec<(String, String)> = exact
        .map(|(key, value)| {
            (
                key.clone(),
                format!("{key}={}", value.as_str().unwrap_or_default()),
            )
        })
        .collect();
    for term in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = term["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = term["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let text = match term["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key.to_owned(), text));
    }
    terms.sort_by(|(left, _), (right, _)| left.cmp(right));
    terms
        .into_iter()
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_term_must_hold() {
        let selector = json!({"matchLabels": {"app": "a"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["x"]}, {"key": "app", "operator": "Exists"}]});
        assert!(matches(&selector, &json!({"app": "a"})));
        assert!(!matches(&selector, &json!({"app": "a", "tier": "x"})));
        assert!(!matches(&selector, &Value::Null));
        assert!(matches(&Value::Null, &Value::Null));
        assert_eq!(to_query(&selector), "app=a,app,tier notin (x)");
    }
}
