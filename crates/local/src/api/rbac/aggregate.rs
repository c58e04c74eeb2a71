//! ClusterRoles that are made of others: `aggregationRule` selects them by label. Pure.

use serde_json::Value;

use crate::api::label_selector;

/// The rules that an aggregated role has by now, or none for a role that is not.
pub fn rules<'a>(role: &Value, all: impl IntoIterator<Item = &'a Value>) -> Option<Vec<Value>> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut selected: Vec<&Value> = all
        .into_iter()
        .filter(|one| one["metadata"]["name"] != role["metadata"]["name"])
        .filter(|one| {
            let labels = &one["metadata"]["labels"];
            selectors
                .iter()
                .any(|selector| label_selector::matches(selector, labels))
        })
        .collect();
    selected.sort_by(|left, right| name(left).cmp(name(right)));
    let mut rules: Vec<Value> = Vec::new();
    for rule in selected
        .iter()
        .flat_map(|one| one["rules"].as_array().into_iter().flatten())
    {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    Some(rules)
}

fn name(role: &Value) -> &str {
    role["metadata"]["name"].as_str().unwrap_or_default()
}
