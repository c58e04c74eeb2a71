//! What server-side apply cannot take: items of a list that cannot be told apart, fields that the type does not have.

use std::collections::HashSet;

use serde_json::Value;

use super::element::{Element, show};
use super::rule::{List, Rule, Shape};
use crate::api::decode::Step;

/// What is wrong with an applied object, one line each.
pub fn problems(rule: &Rule, object: &Value, unknown: &[Vec<Step>]) -> Vec<String> {
    let mut found: Vec<String> = unknown
        .iter()
        .map(|path| format!("{}: field not declared in schema", place(rule, object, path)))
        .collect();
    value(rule, object, &mut Vec::new(), &mut found);
    found
}

fn value(rule: &Rule, value: &Value, at: &mut Vec<Element>, found: &mut Vec<String>) {
    match (rule.shape(value), value) {
        (shape @ (Shape::Open | Shape::Fields(_)), Value::Object(fields)) => {
            for (name, inner) in fields {
                at.push(Element::Field(name.clone()));
                self::value(shape.field(name), inner, at, found);
                at.pop();
            }
        }
        (Shape::List(list), Value::Array(items)) => self::items(list, items, at, found),
        _ => {}
    }
}

fn items(list: List<'_>, items: &[Value], at: &mut Vec<Element>, found: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(why) = misfit(list, item) {
            found.push(format!("{}: element {index}: {why}", show(at)));
            continue;
        }
        let element = list.element(item);
        if !seen.insert(element.to_string()) {
            found.push(format!("{}: duplicate entries for key {element}", show(at)));
            continue;
        }
        at.push(element);
        value(list.item(), item, at, found);
        at.pop();
    }
}

/// Why an item cannot be told apart from others.
fn misfit(list: List<'_>, item: &Value) -> Option<String> {
    match (list, item) {
        (List::Set, Value::Object(_)) => {
            Some("associative list without keys has an element that's a map type".to_owned())
        }
        (List::Set, Value::Array(_)) => {
            Some("not supported: associative list with lists as elements".to_owned())
        }
        (List::Set, Value::Null) => {
            Some("associative list without keys has an element that's an explicit null".to_owned())
        }
        (List::Set, _) => None,
        (List::Keyed(_), Value::Null) => {
            Some("associative list with keys may not have a null element".to_owned())
        }
        (List::Keyed(keyed), Value::Object(_)) => {
            let names: Vec<String> = keyed.keys.iter().map(|key| format!("{:?}", key.name)).collect();
            Element::of_keyed(&keyed.keys, item).is_none().then(|| {
                format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have \
                     default values for any key fields)",
                    names.join(" ")
                )
            })
        }
        (List::Keyed(_), _) => Some("associative list with keys may not have non-map elements".to_owned()),
    }
}

/// A path with indexes, as server-side apply shows it.
fn place(rule: &Rule, object: &Value, path: &[Step]) -> String {
    let (mut rule, mut value) = (rule, object);
    let mut shown = Vec::new();
    for step in path {
        let element = match (step, rule.shape(value)) {
            (Step::Index(index), Shape::List(list)) => list.element(&value[index]),
            (Step::Index(index), _) => Element::Index(*index as u64),
            (Step::Field(name), _) => Element::Field(name.clone()),
        };
        value = match step {
            Step::Field(name) => &value[name],
            Step::Index(index) => &value[index],
        };
        rule = rule.step(&element);
        shown.push(element);
    }
    show(&shown)
}
