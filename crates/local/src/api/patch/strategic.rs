//! Strategic merge patch: a merge patch that also merges lists by key, with directives for what merging cannot say.
//!
//! `$patch: replace|delete|merge`, `$retainKeys`, `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`.
//! Source: `apimachinery/pkg/util/strategicpatch`; order of merged lists included.

use serde_json::{Map, Value};

use super::keys::{Strategy, strategy};
use crate::api::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_PLAIN: &str = "$deleteFromPrimitiveList/";

pub(super) fn apply(kind: &str, current: &Value, patch: &Value) -> Result<Value, Status> {
    let empty = Map::new();
    let current = current.as_object().unwrap_or(&empty);
    let patch = patch.as_object().unwrap_or(&empty);
    Merge { kind }
        .objects(current, patch, &mut Vec::new())
        .map(Value::Object)
}

/// What stays the same while a patch is applied.
struct Merge<'a> {
    kind: &'a str,
}

impl Merge<'_> {
    fn objects<'p>(
        &self,
        current: &Map<String, Value>,
        patch: &'p Map<String, Value>,
        path: &mut Vec<&'p str>,
    ) -> Result<Map<String, Value>, Status> {
        let mut result = match directive(patch)? {
            Some("replace") => return Ok(without_directives(patch)),
            Some("delete") => return Ok(Map::new()),
            _ => current.clone(),
        };
        if let Some(kept) = patch.get(RETAIN) {
            let kept = kept
                .as_array()
                .ok_or_else(|| malformed("$retainKeys must be a list"))?;
            result.retain(|name, _| kept.iter().any(|one| one == name));
        }
        for (name, change) in patch {
            if name == DIRECTIVE || name == RETAIN {
                continue;
            }
            if let Some(list) = name.strip_prefix(ORDER) {
                // A list that the patch also holds is put in order where it is merged.
                if !patch.contains_key(list) {
                    self.reorder(&mut result, list, change, path)?;
                }
                continue;
            }
            if let Some(list) = name.strip_prefix(DELETE_PLAIN) {
                delete_plain(&mut result, list, change);
                continue;
            }
            path.push(name);
            let merged = self.field(
                result.get(name),
                change,
                patch.get(&format!("{ORDER}{name}")),
                path,
            );
            path.pop();
            match merged? {
                Some(value) => {
                    result.insert(name.clone(), value);
                }
                None => {
                    result.shift_remove(name);
                }
            }
        }
        Ok(result)
    }

    fn field<'p>(
        &self,
        current: Option<&Value>,
        change: &'p Value,
        order: Option<&Value>,
        path: &mut Vec<&'p str>,
    ) -> Result<Option<Value>, Status> {
        match change {
            Value::Null => Ok(None),
            Value::Object(inner) => {
                let empty = Map::new();
                let before = current.and_then(Value::as_object).unwrap_or(&empty);
                self.objects(before, inner, path)
                    .map(|merged| Some(Value::Object(merged)))
            }
            Value::Array(items) => {
                let before = current.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                self.lists(before, items, order, path)
                    .map(|merged| Some(Value::Array(merged)))
            }
            plain => Ok(Some(plain.clone())),
        }
    }

    fn lists<'p>(
        &self,
        current: &[Value],
        patch: &'p [Value],
        order: Option<&Value>,
        path: &mut Vec<&'p str>,
    ) -> Result<Vec<Value>, Status> {
        match strategy(self.kind, path) {
            Strategy::Replace => Ok(patch.iter().map(stripped).collect()),
            Strategy::Union => {
                let mut merged = current.to_vec();
                for item in patch.iter().filter(|item| !current.contains(item)) {
                    if !merged.contains(item) {
                        merged.push(item.clone());
                    }
                }
                Ok(in_order(
                    merged,
                    order.and_then(Value::as_array).map_or(patch, Vec::as_slice),
                    current,
                    None,
                ))
            }
            Strategy::MergeBy(key) => {
                if patch.iter().any(|item| item[DIRECTIVE] == "replace") {
                    let kept = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
                    return Ok(kept.map(stripped).collect());
                }
                let merged = self.by_key(current, patch, key, path)?;
                let order = order.and_then(Value::as_array).map_or(patch, Vec::as_slice);
                Ok(in_order(merged, order, current, Some(key)))
            }
        }
    }

    fn by_key<'p>(
        &self,
        current: &[Value],
        patch: &'p [Value],
        key: &str,
        path: &mut Vec<&'p str>,
    ) -> Result<Vec<Value>, Status> {
        let mut merged = current.to_vec();
        for item in patch {
            let fields = item
                .as_object()
                .ok_or_else(|| malformed("items of a merged list must be objects"))?;
            let Some(name) = fields.get(key) else {
                return Err(malformed(&format!(
                    "map: {item} does not contain declared merge key: {key}"
                )));
            };
            if item[DIRECTIVE] == "delete" {
                merged.retain(|one| one.get(key) != Some(name));
                continue;
            }
            let empty = Map::new();
            let place = merged.iter().position(|one| one.get(key) == Some(name));
            let before = place
                .and_then(|place| merged[place].as_object())
                .unwrap_or(&empty);
            let value = Value::Object(self.objects(before, fields, path)?);
            match place {
                Some(place) => merged[place] = value,
                None => merged.push(value),
            }
        }
        Ok(merged)
    }

    /// Puts a list that the patch does not change into the order it names.
    fn reorder<'p>(
        &self,
        result: &mut Map<String, Value>,
        list: &'p str,
        order: &Value,
        path: &mut Vec<&'p str>,
    ) -> Result<(), Status> {
        path.push(list);
        let strategy = strategy(self.kind, path);
        path.pop();
        let key = match strategy {
            Strategy::MergeBy(key) => Some(key),
            Strategy::Union => None,
            Strategy::Replace => return Ok(()),
        };
        let order = order
            .as_array()
            .ok_or_else(|| malformed("$setElementOrder must be a list"))?;
        if let Some(items) = result.get_mut(list).and_then(Value::as_array_mut) {
            let before = std::mem::take(items);
            *items = in_order(before.clone(), order, &before, key);
        }
        Ok(())
    }
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

fn directive(patch: &Map<String, Value>) -> Result<Option<&str>, Status> {
    match patch.get(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(word)) if matches!(word.as_str(), "replace" | "delete" | "merge") => {
            Ok(Some(word))
        }
        Some(other) => Err(malformed(&format!("Unknown patch type found: {other}"))),
    }
}

/// A value of a patch that meets nothing in the object: taken as it is, without directives.
fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(without_directives(fields)),
        other => other.clone(),
    }
}

fn without_directives(fields: &Map<String, Value>) -> Map<String, Value> {
    let kept = fields
        .iter()
        .filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    kept.map(|(name, value)| (name.clone(), stripped(value)))
        .collect()
}

fn malformed(why: &str) -> Status {
    Status::bad_request(why)
}
