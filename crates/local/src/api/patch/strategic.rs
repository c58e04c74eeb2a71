//! Strategic merge patch: a merge patch that also merges lists by key, with directives for what merging cannot say.
//!
//! `$patch: replace|delete`, `$retainKeys`, `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`.
//! Source: `apimachinery/pkg/util/strategicpatch`; order of merged lists included.

use serde_json::{Map, Value};

use crate::api::Status;
use crate::api::fields::{PatchList, Rule};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_PLAIN: &str = "$deleteFromPrimitiveList/";

/// What a patch makes of an object whose fields merge by `rule`.
pub(super) fn apply(rule: &Rule, current: &Value, patch: &Value) -> Result<Value, Status> {
    let empty = Map::new();
    let current = current.as_object().unwrap_or(&empty);
    let patch = patch.as_object().unwrap_or(&empty);
    objects(rule, current, patch).map(Value::Object)
}

fn objects(
    rule: &Rule,
    current: &Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Status> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(word) if word == "replace" => return Ok(without_directives(patch)),
        Some(word) if word == "delete" => return Ok(Map::new()),
        Some(other) => return Err(unknown_directive(other, patch)),
    }
    let mut result = current.clone();
    if let Some(kept) = patch.get(RETAIN) {
        retain(&mut result, patch, kept)?;
    }
    for (name, change) in patch.iter().filter(|(name, _)| *name != RETAIN) {
        if let Some(list) = name.strip_prefix(ORDER) {
            let order = items_of(change)?;
            check_order(rule, list, patch.get(list), order)?;
            // A list that the patch also holds is put in order where it is merged.
            if !patch.contains_key(list) {
                reorder(rule, &mut result, list, order);
            }
        } else if let Some(list) = name.strip_prefix(DELETE_PLAIN) {
            delete_plain(&mut result, list, change);
        } else {
            let order = patch.get(&format!("{ORDER}{name}")).and_then(Value::as_array);
            match field(rule, name, result.get(name), (change, order.map(Vec::as_slice)))? {
                Some(value) => {
                    result.insert(name.clone(), value);
                }
                None => {
                    result.shift_remove(name);
                }
            }
        }
    }
    Ok(result)
}

/// Drops the fields that the patch does not list; what it sets must be listed.
fn retain(result: &mut Map<String, Value>, patch: &Map<String, Value>, kept: &Value) -> Result<(), Status> {
    let bad = || Status::bad_request("invalid patch format of retainKeys");
    let kept = kept.as_array().ok_or_else(bad)?;
    let sets = |(name, value): (&String, &Value)| !value.is_null() && !name.starts_with('$');
    if patch
        .iter()
        .filter(|entry| sets(*entry))
        .any(|(name, _)| !kept.iter().any(|one| one == name))
    {
        return Err(bad());
    }
    result.retain(|name, _| kept.iter().any(|one| one == name));
    Ok(())
}

/// The new value of a field, if it stays; `change` comes with the order that the patch names for it.
fn field(
    rule: &Rule,
    name: &str,
    current: Option<&Value>,
    change: (&Value, Option<&[Value]>),
) -> Result<Option<Value>, Status> {
    let (change, order) = change;
    match (change, current) {
        (Value::Null, _) => Ok(None),
        (Value::Object(inner), Some(Value::Object(before))) => {
            objects(rule.field(name), before, inner).map(|merged| Some(Value::Object(merged)))
        }
        (Value::Array(items), Some(Value::Array(before))) => {
            lists(rule, name, before, (items, order)).map(|merged| Some(Value::Array(merged)))
        }
        // There is nothing to merge with, and nothing to delete.
        (Value::Object(inner), _) if inner.contains_key(DIRECTIVE) && inner[DIRECTIVE] != "replace" => {
            Ok(None)
        }
        _ => Ok(Some(stripped(change))),
    }
}

/// Items of a patch, and the order that it states.
type Ordered<'p> = (&'p [Value], Option<&'p [Value]>);

fn lists(
    rule: &Rule,
    name: &str,
    current: &[Value],
    (patch, order): Ordered<'_>,
) -> Result<Vec<Value>, Status> {
    match rule.known(name).and_then(|field| field.patch.as_ref()) {
        None => Ok(patch.iter().map(stripped).collect()),
        Some(PatchList::Plain) => {
            let mut merged = current.to_vec();
            for item in patch {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(in_order(merged, order.unwrap_or(patch), current, None))
        }
        Some(PatchList::By(key)) => {
            if patch.iter().any(|item| item[DIRECTIVE] == "replace") {
                let kept = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
                return Ok(kept.map(stripped).collect());
            }
            let merged = by_key(rule.field(name).items(), current, patch, key)?;
            Ok(in_order(merged, order.unwrap_or(patch), current, Some(key)))
        }
    }
}

fn by_key(rule: &Rule, current: &[Value], patch: &[Value], key: &str) -> Result<Vec<Value>, Status> {
    let mut merged = current.to_vec();
    for item in patch {
        let fields = item.as_object().ok_or_else(|| {
            failed(format!(
                "list element types are not identical: {}",
                go_show(&Value::from(patch))
            ))
        })?;
        let Some(name) = fields.get(key) else {
            let item = go_show(item);
            return Err(failed(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        };
        match fields.get(DIRECTIVE) {
            None => {}
            Some(word) if word == "delete" => {
                merged.retain(|one| one.get(key) != Some(name));
                continue;
            }
            Some(word) if word == "merge" => {
                return Err(failed(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(other) => return Err(unknown_directive(other, fields)),
        }
        match merged.iter_mut().find(|one| one.get(key) == Some(name)) {
            Some(Value::Object(before)) => *before = objects(rule, before, fields)?,
            _ => merged.push(stripped(item)),
        }
    }
    Ok(merged)
}

/// Puts a list that the patch does not change into the order it names.
fn reorder(rule: &Rule, result: &mut Map<String, Value>, list: &str, order: &[Value]) {
    let key = match rule.known(list).and_then(|field| field.patch.as_ref()) {
        Some(PatchList::By(key)) => Some(*key),
        Some(PatchList::Plain) => None,
        None => return,
    };
    if let Some(items) = result.get_mut(list).and_then(Value::as_array_mut) {
        let before = std::mem::take(items);
        *items = in_order(before.clone(), order, &before, key);
    }
}

/// The items of a patch must stand in the order that it names, and be among what it names.
fn check_order(rule: &Rule, list: &str, patch: Option<&Value>, order: &[Value]) -> Result<(), Status> {
    let Some(Value::Array(patch)) = patch else {
        return Ok(());
    };
    let key = match rule.known(list).and_then(|field| field.patch.as_ref()) {
        Some(PatchList::By(key)) => Some(*key),
        Some(PatchList::Plain) | None => None,
    };
    let name = |item: &Value| key.map_or_else(|| Some(item.clone()), |key| item.get(key).cloned());
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    let fits = patch
        .iter()
        .filter(|item| item.get(DIRECTIVE).is_none())
        .all(|item| rest.any(|one| name(one).is_some() && name(one) == name(item)));
    if fits {
        return Ok(());
    }
    let (patch, order) = (
        go_show(&Value::from(patch.as_slice())),
        go_show(&Value::from(order)),
    );
    Err(failed(format!(
        "The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n"
    )))
}

/// Items named by `order` stand in that order; the others keep their place among them as they had it on the server.
fn in_order(merged: Vec<Value>, order: &[Value], server: &[Value], key: Option<&str>) -> Vec<Value> {
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    };
    let place = |list: &[Value], item: &Value| list.iter().position(|one| same(one, item));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut result = Vec::new();
    loop {
        let named_first = match (named.peek(), others.peek()) {
            (None, None) => return result,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => {
                matches!((place(server, left), place(server, right)), (Some(left), Some(right)) if left < right)
            }
        };
        result.extend(if named_first { named.next() } else { others.next() });
    }
}

fn delete_plain(result: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(items), Some(gone)) = (
        result.get_mut(list).and_then(Value::as_array_mut),
        gone.as_array(),
    ) {
        items.retain(|item| !gone.contains(item));
    }
}

/// A value of a patch that meets nothing in the object: taken as it is, without directives. Items and objects that
/// are to be deleted are not there.
fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(without_directives(fields)),
        Value::Array(items) => {
            let kept = items.iter().filter(|item| item.get(DIRECTIVE).is_none());
            Value::Array(kept.map(stripped).collect())
        }
        other => other.clone(),
    }
}

fn without_directives(fields: &Map<String, Value>) -> Map<String, Value> {
    let is_meant =
        |value: &Value| !value.is_null() && value.get(DIRECTIVE).is_none_or(|word| word == "replace");
    let kept = fields
        .iter()
        .filter(|(name, value)| !name.starts_with('$') && is_meant(value));
    kept.map(|(name, value)| (name.clone(), stripped(value)))
        .collect()
}

fn items_of(value: &Value) -> Result<&[Value], Status> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| {
        let given = match value {
            Value::Null => "<nil>",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float64",
            Value::Number(_) => "int64",
            Value::String(_) => "string",
            Value::Object(_) => "map[string]interface {}",
            Value::Array(_) => "[]interface {}",
        };
        failed(format!("expected a []interface {{}}, but received a {given}"))
    })
}

fn unknown_directive(word: &Value, patch: &Map<String, Value>) -> Status {
    let patch = go_show(&Value::Object(patch.clone()));
    failed(format!("unknown patch type: {} in map: {patch}", go_show(word)))
}

/// The real server answers most of what is wrong with such a patch by an error without a reason.
fn failed(why: String) -> Status {
    Status::new(500, "", why)
}

/// A value as Go's `%v` shows it: `map[name:backend ports:[80]]`.
fn go_show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_show).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", go_show(value)))
                .collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        plain => plain.to_string(),
    }
}
