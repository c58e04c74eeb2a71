//! Whether a webhook or a policy wants to hear of a write, and as which version of the object. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::webhook::Hook;
use super::{Lookup, Review};
use crate::api::registry::{Registry, Type};
use crate::api::{gvr, label_selector};

/// What a webhook, a policy or a binding says about the writes it is about.
#[derive(Debug)]
pub(super) struct Matching<'a> {
    /// Of a binding none at all means all.
    rules: &'a [Value],
    excluded: &'a [Value],
    exact: bool,
    objects: &'a Value,
    namespaces: &'a Value,
}

impl<'a> Matching<'a> {
    pub(super) fn of_hook(hook: &'a Hook) -> Self {
        Self {
            rules: hook.rules(),
            excluded: &[],
            exact: hook.is_exact(),
            objects: hook.object_selector(),
            namespaces: hook.namespace_selector(),
        }
    }

    pub(super) fn of_policy(policy: &'a Value) -> Self {
        Self::of_resources(&policy["spec"]["matchConstraints"])
    }

    pub(super) fn of_binding(binding: &'a Value) -> Self {
        Self::of_resources(&binding["spec"]["matchResources"])
    }

    fn of_resources(resources: &'a Value) -> Self {
        let list = |field: &str| resources[field].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            rules: list("resourceRules"),
            excluded: list("excludeResourceRules"),
            exact: resources["matchPolicy"] == "Exact",
            objects: &resources["objectSelector"],
            namespaces: &resources["namespaceSelector"],
        }
    }
}

/// The type under which it is asked: the request's own, or with `matchPolicy: Equivalent` another version that its
/// rules name. None when it is not asked.
pub(super) fn kind(
    matching: &Matching<'_>,
    lookup: &dyn Lookup,
    review: &Review<'_>,
    object: &Value,
) -> Option<Arc<Type>> {
    let registry = lookup.registry();
    let kind = matching_kind(matching, matching.rules, &registry, review)?;
    let wanted =
        selects_object(matching, review, object) && selects_namespace(matching, lookup, review, object);
    let excluded = || matching_kind(matching, matching.excluded, &registry, review).is_some();
    (wanted && !excluded()).then_some(kind)
}

/// Whether a binding is about the write; without rules it is about all that its policy is about.
pub(super) fn selects(
    matching: &Matching<'_>,
    lookup: &dyn Lookup,
    review: &Review<'_>,
    object: &Value,
) -> bool {
    if !matching.rules.is_empty() {
        return kind(matching, lookup, review, object).is_some();
    }
    let excluded = || matching_kind(matching, matching.excluded, &lookup.registry(), review).is_some();
    selects_object(matching, review, object)
        && selects_namespace(matching, lookup, review, object)
        && !excluded()
}

fn matching_kind(
    matching: &Matching<'_>,
    rules: &[Value],
    registry: &Registry,
    review: &Review<'_>,
) -> Option<Arc<Type>> {
    let own = &review.kind.gvr;
    let named = |kind: &&Arc<Type>| rules.iter().any(|rule| matches(rule, review, kind));
    let exact = registry
        .find(&own.group, &own.version, &own.resource)
        .filter(named);
    let others = || {
        let same = |kind: &&Arc<Type>| kind.stored_as == review.kind.stored_as && kind.gvr != *own;
        registry.all().iter().filter(same).find(named)
    };
    exact
        .or_else(|| if matching.exact { None } else { others() })
        .cloned()
}

fn matches(rule: &Value, review: &Review<'_>, kind: &Type) -> bool {
    let has = |field: &str, wanted: &str| {
        rule[field]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one == "*" || one == wanted)
    };
    let named = rule["resourceNames"]
        .as_array()
        .is_none_or(|names| names.is_empty() || names.iter().any(|name| name == review.name));
    let in_scope = match rule["scope"].as_str() {
        Some("Cluster") => !kind.namespaced,
        Some("Namespaced") => kind.namespaced,
        _ => true,
    };
    let subresource = review.subresource.unwrap_or_default();
    let resource = rule["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|pattern| {
            let (resource, part) = pattern.split_once('/').unwrap_or((pattern, ""));
            (resource == "*" || resource == kind.gvr.resource) && (part == "*" || part == subresource)
        });
    in_scope
        && resource
        && named
        && has("operations", review.operation.name())
        && has("apiGroups", &kind.gvr.group)
        && has("apiVersions", &kind.gvr.version)
}

/// Either form of the object will do, the one before or the one after.
fn selects_object(matching: &Matching<'_>, review: &Review<'_>, object: &Value) -> bool {
    let selector = matching.objects;
    let selects = |object: &Value| {
        !object.is_null() && label_selector::matches(selector, &object["metadata"]["labels"])
    };
    label_selector::is_empty(selector) || selects(object) || review.old.is_some_and(selects)
}

/// A namespace is judged by its own labels; what is in no namespace is always selected.
fn selects_namespace(
    matching: &Matching<'_>,
    lookup: &dyn Lookup,
    review: &Review<'_>,
    object: &Value,
) -> bool {
    let selector = matching.namespaces;
    if label_selector::is_empty(selector) {
        return true;
    }
    if review.kind.gvr == gvr::NAMESPACES {
        let namespace = review.old.filter(|_| object.is_null()).unwrap_or(object);
        return label_selector::matches(selector, &namespace["metadata"]["labels"]);
    }
    if review.namespace.is_empty() {
        return true;
    }
    let namespace = lookup.find(&gvr::NAMESPACES, "", review.namespace);
    let labels = namespace
        .as_ref()
        .map_or(&Value::Null, |namespace| &namespace["metadata"]["labels"]);
    label_selector::matches(selector, labels)
}
