//! What filters found out about a request or a connection, for filters after them and for logs. Envoy: dynamic metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use snapshot::ext_authz::MetadataCondition;

/// What is known, by filter.
#[derive(Debug, Default)]
pub(crate) struct Metadata(BTreeMap<String, Map<String, Value>>);

impl Metadata {
    /// More facts; a later one of a name takes the place of an earlier one.
    pub(crate) fn merge(&mut self, filter: &str, facts: Map<String, Value>) {
        self.0.entry(filter.to_owned()).or_default().extend(facts);
    }

    /// All that a filter found out.
    pub(crate) fn of(&self, filter: &str) -> Option<&Map<String, Value>> {
        self.0.get(filter)
    }

    /// One fact, by keys from the outside in.
    pub(crate) fn find(&self, filter: &str, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let fact = self.of(filter)?.get(first)?;
        rest.iter().try_fold(fact, |object, key| object.get(key))
    }

    /// Whether a condition on it holds.
    pub(crate) fn satisfies(&self, condition: &MetadataCondition) -> bool {
        let found = self.find(&condition.filter, &condition.path);
        let text = found.and_then(Value::as_str);
        text.is_some_and(|text| text.starts_with(&condition.prefix))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_holds_for_text_that_begins_so() {
        let mut metadata = Metadata::default();
        let facts = json!({
            "policy": "istio-ext-authz-a-ns[x]",
            "nested": {"deep": "yes", "number": 1},
        });
        metadata.merge("rbac", facts.as_object().unwrap().clone());
        let holds = |path: &[&str], prefix: &str| {
            metadata.satisfies(&MetadataCondition {
                filter: "rbac".into(),
                path: path.iter().map(|key| (*key).to_owned()).collect(),
                prefix: prefix.into(),
            })
        };
        assert!(holds(&["policy"], "istio-ext-authz-a") && !holds(&["policy"], "istio-ext-authz-b"));
        assert!(holds(&["nested", "deep"], "") && !holds(&["nested", "number"], ""));
        assert!(!holds(&["nested", "none"], "") && !holds(&[], ""));
    }
}
