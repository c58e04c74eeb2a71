//! Reading objects: the fields that every kind has.

use serde_json::{Value, json};

use crate::api::client::Object;

pub(crate) fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// Empty for what has no namespace.
pub(crate) fn namespace(object: &Value) -> &str {
    text(&object["metadata"]["namespace"])
}

pub(crate) fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

/// `2026-11-22T20:25:06Z`: sorts as it reads.
pub(crate) fn created(object: &Value) -> &str {
    text(&object["metadata"]["creationTimestamp"])
}

pub(crate) fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    text(&object["metadata"]["labels"][key])
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    text(&object["metadata"]["annotations"][key])
}

/// Whether somebody has deleted it and it only waits for grace or finalizers.
pub(crate) fn is_ending(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub(crate) fn has_finalizer(object: &Value, name: &str) -> bool {
    list(&object["metadata"]["finalizers"])
        .iter()
        .any(|finalizer| finalizer == name)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number; absent is zero.
pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// A list; absent is empty.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The entry of `status.conditions` of this type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&object["status"]["conditions"])
        .iter()
        .find(|condition| condition["type"] == kind)
}

pub(crate) fn is_condition_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// The owner that manages an object.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    list(&object["metadata"]["ownerReferences"])
        .iter()
        .find(|owner| owner["controller"] == true)
}

/// Whether `owner` manages `object`.
pub(crate) fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    controller(object).is_some_and(|reference| reference["uid"] == owner["metadata"]["uid"])
}

/// How an object names the one that manages it.
pub(crate) fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Oldest first, by name among equals.
pub(crate) fn sort_by_age(objects: &mut [Object]) {
    objects.sort_by(|one, other| (created(one), name(one)).cmp(&(created(other), name(other))));
}

/// The same text for values that mean the same, whatever the order of fields: null, empty lists and the empty
/// objects that clients write as a matter of form are left out. (`emptyDir: {}` says something, `resources: {}` does
/// not.)
pub(crate) fn canonical(value: &Value) -> String {
    sorted(value).to_string()
}

fn sorted(value: &Value) -> Value {
    const FORMALITIES: &[&str] = &[
        "annotations",
        "labels",
        "metadata",
        "resources",
        "securityContext",
    ];
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, Value)> = fields
                .iter()
                .map(|(name, value)| (name, sorted(value)))
                .filter(|(name, value)| match value {
                    Value::Null => false,
                    Value::Array(items) => !items.is_empty(),
                    Value::Object(fields) => !fields.is_empty() || !FORMALITIES.contains(&name.as_str()),
                    Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
                })
                .collect();
            fields.sort_by_key(|(name, _)| *name);
            Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name.clone(), value))
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_formalities_do_not_make_values_different() {
        let one =
            json!({"metadata": {"creationTimestamp": null}, "spec": {"a": 1, "b": [{"y": 1, "x": {}}]}});
        let other = json!({"spec": {"b": [{"x": {}, "y": 1}], "a": 1, "c": []}});
        assert_eq!(canonical(&one), canonical(&other));
        let without = json!({"spec": {"a": 1, "b": [{"y": 1}]}});
        assert_ne!(
            canonical(&one),
            canonical(&without),
            "an empty object can be a choice, like emptyDir"
        );
    }
}
