//! What holds for the metadata of every object.

use serde_json::Value;

use super::names::{self, NameRule};
use super::{entries, items, text};
use crate::api::field::FieldErrors;
use crate::api::registry::Type;

/// All annotations of an object together.
const ANNOTATIONS: usize = 256 * 1024;

pub(super) fn check(kind: &Type, rule: NameRule, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let name = text(new, "/metadata/name");
    if name.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else if old.is_none() {
        for trouble in rule(name) {
            errors.invalid("metadata.name", &Value::from(name), &trouble);
        }
    }
    if old.is_none() {
        prefix(rule, text(new, "/metadata/generateName"), errors);
    }
    let namespace = text(new, "/metadata/namespace");
    if !kind.namespaced && !namespace.is_empty() {
        errors.forbidden("metadata.namespace", "not allowed on this type");
    }
    labels(&new["metadata"]["labels"], "metadata.labels", errors);
    annotations(&new["metadata"]["annotations"], errors);
    owners(&new["metadata"]["ownerReferences"], errors);
    for (index, finalizer) in items(&new["metadata"]["finalizers"]) {
        for trouble in names::qualified(finalizer.as_str().unwrap_or_default()) {
            errors.invalid(format!("metadata.finalizers[{index}]"), finalizer, &trouble);
        }
    }
}

/// The start of a name, which may end with a dash as no name may.
fn prefix(rule: NameRule, given: &str, errors: &mut FieldErrors) {
    let mut masked = given.to_owned();
    if masked.len() > 1 && masked.ends_with('-') {
        // As in Kubernetes: the letter before the dash is not looked at either.
        masked.truncate(masked.len() - 1);
        masked.pop();
        masked.push('a');
    }
    for trouble in rule(&masked).into_iter().filter(|_| !given.is_empty()) {
        errors.invalid("metadata.generateName", &Value::from(given), &trouble);
    }
}

/// Labels wherever they stand.
pub fn labels(labels: &Value, path: &str, errors: &mut FieldErrors) {
    for (key, value) in entries(labels) {
        for trouble in names::qualified(key) {
            errors.invalid(path, &Value::from(key), &trouble);
        }
        for trouble in names::label_value(value.as_str().unwrap_or_default()) {
            errors.invalid(path, value, &trouble);
        }
    }
}

fn annotations(annotations: &Value, errors: &mut FieldErrors) {
    let mut size = 0;
    for (key, value) in entries(annotations) {
        for trouble in names::qualified(&key.to_lowercase()) {
            errors.invalid("metadata.annotations", &Value::from(key), &trouble);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS {
        errors.too_long("metadata.annotations", ANNOTATIONS);
    }
}

fn owners(owners: &Value, errors: &mut FieldErrors) {
    let mut controllers = 0;
    for (index, owner) in items(owners) {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                errors.invalid(path, &Value::from(""), "must not be empty");
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        errors.invalid(
            "metadata.ownerReferences",
            owners,
            "Only one reference can have Controller set to true",
        );
    }
}
