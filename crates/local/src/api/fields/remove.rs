//! Takes fields out of an object.

use serde_json::{Map, Value};

use super::element::Element;
use super::rule::{List, Rule, Shape};
use super::set::FieldSet;

/// `object` without the members of `gone`; objects and lists that become empty by it go too.
pub(super) fn remove(rule: &Rule, object: &Value, gone: &FieldSet) -> Value {
    inside(rule, object, gone).unwrap_or_else(|| Value::Object(Map::new()))
}

fn inside(rule: &Rule, value: &Value, gone: &FieldSet) -> Option<Value> {
    match (rule.shape(value), value) {
        (shape @ (Shape::Open | Shape::Fields(_)), Value::Object(fields)) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let kept = part(shape.field(name), &Element::Field(name.clone()), value, gone)?;
                Some((name.clone(), kept))
            });
            let kept: Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (Shape::List(list), Value::Array(items)) => {
            let kept = items.iter().filter_map(|item| item_of(list, item, gone));
            let kept: Vec<Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => Some(value.clone()),
    }
}

fn item_of(list: List<'_>, item: &Value, gone: &FieldSet) -> Option<Value> {
    part(list.item(), &list.element(item), item, gone)
}

fn part(rule: &Rule, element: &Element, value: &Value, gone: &FieldSet) -> Option<Value> {
    if gone.has(element) {
        return None;
    }
    match gone.below(element) {
        Some(below) => inside(rule, value, below),
        None => Some(value.clone()),
    }
}
