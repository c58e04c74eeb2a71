//! Whether a webhook wants to hear of a write, and as which version of the object. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::webhook::Hook;
use super::{Lookup, Operation, Review};
use crate::api::registry::{Registry, Type};
use crate::api::{gvr, label_selector};

/// The type under which the webhook is asked: the request's own, or with `matchPolicy: Equivalent` another version
/// that its rules name. None when it is not asked.
pub(super) fn kind(
    hook: &Hook,
    lookup: &dyn Lookup,
    review: &Review<'_>,
    object: &Value,
) -> Option<Arc<Type>> {
    let registry = lookup.registry();
    let kind = matching_kind(hook, &registry, review)?;
    let wanted = selects_object(hook, review, object) && selects_namespace(hook, lookup, review, object);
    wanted.then_some(kind)
}

fn matching_kind(hook: &Hook, registry: &Registry, review: &Review<'_>) -> Option<Arc<Type>> {
    let own = &review.kind.gvr;
    let named = |kind: &&Arc<Type>| hook.rules().iter().any(|rule| matches(rule, review, kind));
    let exact = registry
        .find(&own.group, &own.version, &own.resource)
        .filter(named);
    let others = || {
        let same = |kind: &&Arc<Type>| kind.stored_as == review.kind.stored_as && kind.gvr != *own;
        registry.all().iter().filter(same).find(named)
    };
    exact
        .or_else(|| if hook.is_exact() { None } else { others() })
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
    let operation = match review.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    };
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
        && has("operations", operation)
        && has("apiGroups", &kind.gvr.group)
        && has("apiVersions", &kind.gvr.version)
}

/// Either form of the object will do, the one before or the one after.
fn selects_object(hook: &Hook, review: &Review<'_>, object: &Value) -> bool {
    let selector = hook.object_selector();
    let selects = |object: &Value| {
        !object.is_null() && label_selector::matches(selector, &object["metadata"]["labels"])
    };
    label_selector::is_empty(selector) || selects(object) || review.old.is_some_and(selects)
}

/// A namespace is judged by its own labels; what is in no namespace is always selected.
fn selects_namespace(hook: &Hook, lookup: &dyn Lookup, review: &Review<'_>, object: &Value) -> bool {
    let selector = hook.namespace_selector();
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
