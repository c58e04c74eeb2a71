//! Fields that never change once an object exists: a table for each kind, with what Kubernetes says to whoever tries.
//!
//! Only whole fields stand here. Where some change is allowed and another is not (pods, Jobs, StatefulSets, claims,
//! addresses of Services), the kind's own validation says so. Source: `Validate…Update` in `pkg/apis/*/validation`.

use serde_json::{Value, json};

use super::IMMUTABLE;
use crate::api::Gvr;
use crate::api::field::FieldErrors;

/// What is said about a change.
enum Refusal {
    /// `Invalid value`, with the value that was wanted.
    Invalid(&'static str),
    /// `Forbidden`, without it.
    Forbidden(&'static str),
}

use Refusal::{Forbidden, Invalid};

/// When a field is fixed.
#[derive(PartialEq)]
enum Fixed {
    FromTheStart,
    /// One that is absent or empty may still be set.
    OnceSet,
}

use Fixed::{FromTheStart, OnceSet};

/// A field that stays as it is. Its path, as it is reported: `spec.selector`.
struct Field(&'static str, Fixed, Refusal);

/// Fields by the collection's name and group.
const TABLE: &[(&str, &[Field])] = &[
    (
        "controllerrevisions.apps",
        &[Field("data", FromTheStart, Invalid(IMMUTABLE))],
    ),
    (
        "clusterrolebindings.rbac.authorization.k8s.io",
        &[Field(ROLE_REF, FromTheStart, Invalid("cannot change roleRef"))],
    ),
    (
        "customresourcedefinitions.apiextensions.k8s.io",
        &[
            Field("spec.scope", FromTheStart, Invalid(IMMUTABLE)),
            Field("spec.names.kind", FromTheStart, Invalid(IMMUTABLE)),
            Field("spec.group", FromTheStart, Invalid(IMMUTABLE)),
            Field("spec.names.plural", FromTheStart, Invalid(IMMUTABLE)),
        ],
    ),
    (
        "daemonsets.apps",
        &[Field("spec.selector", FromTheStart, Invalid(IMMUTABLE))],
    ),
    (
        "deployments.apps",
        &[Field("spec.selector", FromTheStart, Invalid(IMMUTABLE))],
    ),
    (
        "endpointslices.discovery.k8s.io",
        &[Field("addressType", FromTheStart, Invalid(IMMUTABLE))],
    ),
    (
        "ingressclasses.networking.k8s.io",
        &[Field("spec.controller", FromTheStart, Invalid(IMMUTABLE))],
    ),
    (
        "nodes",
        &[
            Field(
                "spec.podCIDRs",
                OnceSet,
                Forbidden("node updates may not change podCIDR except from \"\" to valid"),
            ),
            Field(
                "spec.providerID",
                OnceSet,
                Forbidden("node updates may not change providerID except from \"\" to valid"),
            ),
        ],
    ),
    (
        "priorityclasses.scheduling.k8s.io",
        &[
            Field(
                "value",
                FromTheStart,
                Forbidden("may not be changed in an update."),
            ),
            Field("preemptionPolicy", FromTheStart, Invalid(IMMUTABLE)),
        ],
    ),
    (
        "replicasets.apps",
        &[Field("spec.selector", FromTheStart, Invalid(IMMUTABLE))],
    ),
    (
        "rolebindings.rbac.authorization.k8s.io",
        &[Field(ROLE_REF, FromTheStart, Invalid("cannot change roleRef"))],
    ),
    (
        "runtimeclasses.node.k8s.io",
        &[Field("handler", FromTheStart, Invalid(IMMUTABLE))],
    ),
    ("secrets", &[Field("type", FromTheStart, Invalid(IMMUTABLE))]),
    (
        "storageclasses.storage.k8s.io",
        &[
            Field(
                "parameters",
                FromTheStart,
                Forbidden("updates to parameters are forbidden."),
            ),
            Field(
                "provisioner",
                FromTheStart,
                Forbidden("updates to provisioner are forbidden."),
            ),
            Field(
                "reclaimPolicy",
                FromTheStart,
                Forbidden("updates to reclaimPolicy are forbidden."),
            ),
            Field("volumeBindingMode", FromTheStart, Invalid(IMMUTABLE)),
        ],
    ),
];

const ROLE_REF: &str = "roleRef";

/// Compares what may not differ.
pub(super) fn check(gvr: &Gvr, new: &Value, old: &Value, errors: &mut FieldErrors) {
    let name = gvr.to_string();
    let fields = TABLE.iter().find(|(kind, _)| *kind == name);
    for Field(path, fixed, refusal) in fields.into_iter().flat_map(|(_, fields)| *fields) {
        let (now, before) = (at(new, path), at(old, path));
        if is_same(now, before) || *fixed == OnceSet && is_empty(before) {
            continue;
        }
        match refusal {
            Invalid(detail) if *path == ROLE_REF => errors.invalid(*path, &role_ref(now), detail),
            Invalid(detail) => errors.invalid(*path, now, detail),
            Forbidden(detail) => errors.forbidden(*path, detail),
        }
    }
}

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, field| &value[field])
}

/// Absent and empty are the same to Go's types.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || is_empty(one) && is_empty(other)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(yes) => !yes,
    }
}

/// The real server shows its internal type here, whose fields have Go's names.
fn role_ref(given: &Value) -> Value {
    json!({"APIGroup": given["apiGroup"], "Kind": given["kind"], "Name": given["name"]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry::Registry;

    #[test]
    fn every_row_is_about_a_kind_that_is_served_and_names_it_once() {
        let registry = Registry::built_in();
        for (name, _) in TABLE {
            let (resource, group) = name.split_once('.').unwrap_or((name, ""));
            assert!(registry.preferred(group, resource).is_some(), "{name}");
            assert_eq!(
                TABLE.iter().filter(|(other, _)| other == name).count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn every_field_of_the_table_refuses_a_change_and_takes_the_same_again() {
        for (name, fields) in TABLE {
            let (resource, group) = name.split_once('.').unwrap_or((name, ""));
            let gvr = Gvr {
                group: group.to_owned().into(),
                version: "v1".into(),
                resource: resource.to_owned().into(),
            };
            for Field(path, fixed, _) in *fields {
                let object = |value: Value| {
                    path.rsplit('.')
                        .fold(value, |value, field| json!({ (field): value }))
                };
                let said = |new: Value, old: Value| {
                    let mut errors = FieldErrors::default();
                    check(&gvr, &new, &old, &mut errors);
                    errors.iter().map(|error| error.path.clone()).collect::<Vec<_>>()
                };
                let (a, b) = (object(json!({"name": "a"})), object(json!({"name": "b"})));
                assert_eq!(said(b.clone(), a.clone()), [*path], "{name}");
                assert!(said(a.clone(), a.clone()).is_empty(), "{name} {path}");
                let first = said(a, object(Value::Null));
                assert_eq!(first.is_empty(), *fixed == OnceSet, "{name} {path}");
            }
        }
    }
}
