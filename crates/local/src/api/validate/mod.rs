//! What the real server's validation refuses, in its words: one function per kind, and metadata for all kinds alike.
//!
//! Input has passed strict decoding and defaults, so types are right and defaulted fields are there.
//! Sources: `pkg/apis/*/validation` of Kubernetes.

mod containers;
mod immutable;
mod kept;
mod metadata;
mod names;
mod pod;
mod pod_update;
mod policies;
pub mod quantity;
mod rights;
mod services;
mod webhooks;
mod workloads;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::Status;
use super::field::FieldErrors;
use super::registry::{Shape, Type};

pub use kept::{
    autoscaler, disruption_budget, ingress, persistent_volume, persistent_volume_claim, priority_class,
    runtime_class, storage_class,
};
pub use metadata::labels as check_labels;
pub use names::{NameRule, dns_1035_label, dns_label, dns_subdomain, path_segment};
pub use pod::pod;
pub use policies::{admission_policy, admission_policy_binding};
pub use rights::{cluster_role, cluster_role_binding, role, role_binding};
pub use services::service;
pub use webhooks::{client as webhook_client, webhooks};
pub use workloads::{
    cron_job, daemon_set, deployment, job, replica_set, replication_controller, stateful_set,
};

/// Everything that is wrong with `new`; on an update `old` is what it replaces.
pub fn validate(kind: &Type, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    let name = text(new, "/metadata/name");
    match &kind.shape {
        Shape::BuiltIn(built_in) => {
            metadata::check(kind, built_in.name, new, old, &mut errors);
            (built_in.validate)(new, old, &mut errors);
            if let Some(old) = old {
                immutable::check(&kind.gvr, new, old, &mut errors);
            }
        }
        Shape::Custom(version) => {
            metadata::check(kind, dns_subdomain, new, old, &mut errors);
            version.schema.validate(new, old, &mut errors);
        }
    }
    errors.into_result(kind, name)
}

/// Data of a ConfigMap: keys, and that an immutable one stays as it is.
pub fn config_map(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    for field in ["data", "binaryData"] {
        data_keys(new, field, errors);
    }
    for key in entries(&new["binaryData"]).map(|(key, _)| key) {
        if new["data"].get(key).is_some() {
            errors.invalid(
                format!("data[{key}]"),
                &Value::from(key),
                "duplicate of key present in binaryData",
            );
        }
    }
    immutable_data(new, old, &["data", "binaryData"], errors);
}

/// Data of a Secret: keys, type, and what its type asks for.
pub fn secret(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    data_keys(new, "data", errors);
    if text(new, "/type") == "kubernetes.io/tls" {
        for key in ["tls.crt", "tls.key"] {
            if new["data"].get(key).is_none() {
                errors.required(format!("data[{key}]"), "");
            }
        }
    }
    immutable_data(new, old, &["data"], errors);
}

fn data_keys(new: &Value, field: &str, errors: &mut FieldErrors) {
    for (key, _) in entries(&new[field]) {
        for trouble in names::config_key(key) {
            errors.invalid(format!("{field}[{key}]"), &Value::from(key), &trouble);
        }
    }
}

fn immutable_data(new: &Value, old: Option<&Value>, fields: &[&str], errors: &mut FieldErrors) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return;
    };
    if new["immutable"] != true {
        errors.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for field in fields.iter().filter(|field| old[**field] != new[**field]) {
        errors.forbidden(*field, "field is immutable when `immutable` is set");
    }
}

const IMMUTABLE: &str = "field is immutable";

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

/// A count that must not be negative.
fn not_negative(value: &Value, path: &str, errors: &mut FieldErrors) {
    if value.as_i64().is_some_and(|number| number < 0) {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

/// A port number, where there is one.
fn port(value: &Value, path: String, errors: &mut FieldErrors) {
    if !value.as_i64().is_some_and(|number| (1..=65535).contains(&number)) {
        errors.invalid(path, value, "must be between 1 and 65535, inclusive");
    }
}

/// Whether one of a few words; absent is left to defaults.
fn one_of(value: &Value, path: String, words: &[&str], errors: &mut FieldErrors) {
    if let Some(word) = value.as_str()
        && !words.contains(&word)
    {
        errors.not_supported(path, value, words);
    }
}
