//! JSON patch against RFC 6902 read aloud: every operation builds a new document, or there is none.

use local::api::patch::{PatchKind, apply};
use local::api::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use crate::merge::document;

pub(crate) fn case() -> impl Strategy<Value = (Value, Vec<Value>)> {
    (document(), prop::collection::vec(operation(), 1..6))
}

fn operation() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        (0..3_i64).prop_map(Value::from),
        Just(json!({"a": 1})),
        Just(json!([1, 2])),
        Just(Value::Null)
    ];
    prop_oneof![
        4 => (pointer(), value.clone()).prop_map(|(path, value)| json!({"op": "add", "path": path, "value": value})),
        2 => pointer().prop_map(|path| json!({"op": "remove", "path": path})),
        2 => (pointer(), value.clone()).prop_map(|(path, value)| json!({"op": "replace", "path": path, "value": value})),
        1 => (pointer(), pointer()).prop_map(|(from, path)| json!({"op": "move", "from": from, "path": path})),
        1 => (pointer(), pointer()).prop_map(|(from, path)| json!({"op": "copy", "from": from, "path": path})),
        1 => (pointer(), value).prop_map(|(path, value)| json!({"op": "test", "path": path, "value": value})),
    ]
}

/// A pointer to somewhere near; never to the whole document, which is an object and stays one.
fn pointer() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec!["a", "b", "c", "0", "1", "2", "-", "01", "x~1y", "~0"]);
    prop::collection::vec(token, 1..4)
        .prop_map(|tokens| tokens.iter().map(|token| format!("/{token}")).collect())
}

fn tokens(pointer: &Value) -> Vec<String> {
    let pointer = pointer.as_str().unwrap_or_default();
    pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect()
}

fn index(token: &str, limit: usize) -> Option<usize> {
    let plain =
        token == "0" || !token.starts_with('0') && token.bytes().all(|letter| letter.is_ascii_digit());
    token.parse().ok().filter(|index| plain && *index < limit)
}

fn get(document: &Value, path: &[String]) -> Option<Value> {
    match (path, document) {
        ([], found) => Some(found.clone()),
        ([token, rest @ ..], Value::Object(fields)) => get(fields.get(token)?, rest),
        ([token, rest @ ..], Value::Array(items)) => get(&items[index(token, items.len())?], rest),
        _ => None,
    }
}

/// What becomes of a parent at the last step of a path.
type End<'e> = dyn Fn(&Value, &str) -> Option<Value> + 'e;

/// The document in which the place at the end of the path is what `end` makes of its parent.
fn rebuilt(document: &Value, path: &[String], end: &End<'_>) -> Option<Value> {
    match (path, document) {
        ([last], parent) => end(parent, last),
        ([token, rest @ ..], Value::Object(fields)) => {
            let inner = rebuilt(fields.get(token)?, rest, end)?;
            let changed = fields.iter().map(|(name, value)| {
                let value = if name == token {
                    inner.clone()
                } else {
                    value.clone()
                };
                (name.clone(), value)
            });
            Some(Value::Object(changed.collect()))
        }
        ([token, rest @ ..], Value::Array(items)) => {
            let at = index(token, items.len())?;
            let inner = rebuilt(&items[at], rest, end)?;
            let changed = items
                .iter()
                .enumerate()
                .map(|(i, item)| if i == at { inner.clone() } else { item.clone() });
            Some(Value::Array(changed.collect()))
        }
        _ => None,
    }
}

fn add(document: &Value, path: &[String], value: &Value) -> Option<Value> {
    rebuilt(document, path, &|parent, last| match parent {
        Value::Object(fields) => {
            let others = fields.iter().filter(|(name, _)| *name != last);
            let others = others.map(|(name, value)| (name.clone(), value.clone()));
            Some(Value::Object(
                others.chain([(last.to_owned(), value.clone())]).collect(),
            ))
        }
        Value::Array(items) => {
            let at = if last == "-" {
                items.len()
            } else {
                index(last, items.len() + 1)?
            };
            Some(Value::Array(
                [&items[..at], std::slice::from_ref(value), &items[at..]].concat(),
            ))
        }
        _ => None,
    })
}

fn remove(document: &Value, path: &[String]) -> Option<Value> {
    get(document, path)?;
    rebuilt(document, path, &|parent, last| match parent {
        Value::Object(fields) => {
            let others = fields.iter().filter(|(name, _)| *name != last);
            Some(Value::Object(
                others
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            ))
        }
        Value::Array(items) => {
            let at = index(last, items.len())?;
            Some(Value::Array([&items[..at], &items[at + 1..]].concat()))
        }
        _ => None,
    })
}

fn patched(document: &Value, operation: &Value) -> Option<Value> {
    let (path, from) = (tokens(&operation["path"]), tokens(&operation["from"]));
    let value = &operation["value"];
    match operation["op"].as_str()? {
        "add" => add(document, &path, value),
        "remove" => remove(document, &path),
        "replace" => add(&remove(document, &path)?, &path, value),
        "move" if path.len() > from.len() && path.starts_with(&from) => None,
        "move" => add(&remove(document, &from)?, &path, &get(document, &from)?),
        "copy" => add(document, &path, &get(document, &from)?),
        "test" => (get(document, &path)? == *value).then(|| document.clone()),
        _ => None,
    }
}

pub(crate) fn agrees((document, operations): &(Value, Vec<Value>)) -> Result<(), TestCaseError> {
    let registry = Registry::built_in();
    let kind = registry.find("", "v1", "configmaps").expect("it is built in");
    let body = Value::from(operations.clone()).to_string();
    let result = apply(kind, PatchKind::Json, document, body.as_bytes());
    let wanted = operations
        .iter()
        .try_fold(document.clone(), |now, operation| patched(&now, operation));
    match (result, wanted) {
        (Ok(result), wanted) => prop_assert_eq!(Some(result), wanted),
        (Err(status), wanted) => {
            prop_assert_eq!(wanted, None);
            prop_assert_eq!(status.code, 422);
        }
    }
    Ok(())
}
