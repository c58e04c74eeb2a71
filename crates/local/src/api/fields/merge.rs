//! Puts what somebody applies into what there is.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::element::Element;
use super::rule::{List, Rule, Shape};

/// `live` with everything that `applied` states. Nothing is taken away.
pub(super) fn merge(rule: &Rule, live: &Value, applied: &Value) -> Value {
    if applied.is_null() {
        // Where there are parts, null states none of them; elsewhere it is a value like any other.
        return match rule.shape(live) {
            Shape::Whole => Value::Null,
            _ if is_empty(live) => Value::Null,
            Shape::Open | Shape::Fields(_) | Shape::List(_) => live.clone(),
        };
    }
    match (rule.shape(applied), live, applied) {
        (_, _, applied) if is_empty(applied) && is_empty(live) => applied.clone(),
        (shape @ (Shape::Open | Shape::Fields(_)), Value::Object(live), Value::Object(applied)) => {
            Value::Object(fields(shape, live, applied))
        }
        (Shape::List(list), Value::Array(live), Value::Array(applied)) => {
            Value::Array(items(list, live, applied))
        }
        _ => applied.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn fields(shape: Shape<'_>, live: &Map<String, Value>, applied: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = live.clone();
    for (name, value) in applied {
        let value = match live.get(name) {
            Some(live) => merge(shape.field(name), live, value),
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

/// Applied items stand in their own order; the others keep their place among them as far as that can be.
fn items(list: List<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let left: Vec<Element> = live.iter().map(|item| list.element(item)).collect();
    let right: Vec<Element> = applied.iter().map(|item| list.element(item)).collect();
    let wanted: HashSet<&Element> = right.iter().collect();
    let mut there: HashMap<&Element, Option<&Value>> = HashMap::new();
    for (element, item) in left.iter().zip(live) {
        // Items that are there more than once are replaced, not merged.
        there
            .entry(element)
            .and_modify(|item| *item = None)
            .or_insert(Some(item));
    }
    let mut shared: VecDeque<&Element> = right.iter().filter(|one| there.contains_key(one)).collect();
    let mut done: HashSet<&Element> = HashSet::new();
    let (mut from_live, mut from_applied) = (0, 0);
    let mut merged = Vec::with_capacity(left.len().max(right.len()));
    while from_live < left.len() || from_applied < right.len() {
        if let Some(element) = left.get(from_live) {
            if !wanted.contains(element) {
                merged.push(live[from_live].clone());
                from_live += 1;
                continue;
            }
            // Its turn comes when the applied list has reached it.
            if shared.front().is_some_and(|next| *next != element) {
                from_live += 1;
                continue;
            }
            if done.contains(element) {
                from_live += 1;
            }
        }
        let Some(element) = right.get(from_applied) else {
            continue;
        };
        let item = match there.get(element) {
            Some(Some(live)) => merge(list.item(), live, &applied[from_applied]),
            Some(None) | None => applied[from_applied].clone(),
        };
        merged.push(item);
        done.insert(element);
        from_applied += 1;
        if shared.front() == Some(&element) {
            shared.pop_front();
            if left.get(from_live) == Some(element) {
                from_live += 1;
            }
        }
    }
    merged
}
