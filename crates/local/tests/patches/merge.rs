//! JSON merge patch against a flat model: a document is a set of places, each an object or a value.

use std::collections::BTreeMap;

use local::api::patch::{PatchKind, apply};
use local::api::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value};

type Places = BTreeMap<Vec<String>, Place>;

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Object,
    Value(Value),
}

pub(crate) fn case() -> impl Strategy<Value = (Value, Value)> {
    (document(), document())
}

/// An object; deep enough to meet, small enough to read.
pub(crate) fn document() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]", tree(), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        2 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => (0..3_i64).prop_map(Value::from),
        1 => "[xy]".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn places(value: &Value, at: &[String], found: &mut Places) {
    let Value::Object(fields) = value else {
        found.insert(at.to_vec(), Place::Value(value.clone()));
        return;
    };
    found.insert(at.to_vec(), Place::Object);
    for (name, inner) in fields {
        places(inner, &[at, std::slice::from_ref(name)].concat(), found);
    }
}

/// Every place of the patch in turn, outer ones first: null clears, a value replaces, an object is there afterwards.
fn patched(document: &Value, patch: &Value) -> Places {
    let (mut now, mut changes) = (Places::new(), Places::new());
    places(document, &[], &mut now);
    places(patch, &[], &mut changes);
    for (at, change) in changes {
        if change == Place::Object && now.get(&at) == Some(&Place::Object) {
            continue;
        }
        now.retain(|place, _| !place.starts_with(&at));
        if change != Place::Value(Value::Null) {
            now.insert(at, change);
        }
    }
    now
}

pub(crate) fn agrees((document, patch): &(Value, Value)) -> Result<(), TestCaseError> {
    let registry = Registry::built_in();
    let kind = registry.find("", "v1", "configmaps").expect("it is built in");
    let result = apply(kind, PatchKind::Merge, document, patch.to_string().as_bytes());
    let mut found = Places::new();
    places(
        &result.map_err(|status| TestCaseError::fail(status.message))?,
        &[],
        &mut found,
    );
    prop_assert_eq!(found, patched(document, patch));
    Ok(())
}
