//! The fields that an object states: what its author will own.

use std::collections::HashSet;

use serde_json::Value;

use super::element::Element;
use super::rule::{List, Rule, Shape};
use super::set::FieldSet;

impl FieldSet {
    /// The fields of an object. Objects are owned through their fields, unless they are empty or entries of a map;
    /// items of lists are owned beside their fields.
    pub fn stated_by(rule: &Rule, object: &Value) -> Self {
        let mut set = Self::default();
        value(rule, object, &mut Vec::new(), &mut set);
        set
    }

    /// This set with the known fields on the way to its members.
    #[must_use]
    pub(super) fn with_parents(&self, rule: &Rule) -> Self {
        self.map(|element, member, below| {
            let named = match (rule.resolved(), element) {
                (Rule::Fields(fields), Element::Field(name)) => fields.names(name),
                _ => false,
            };
            (member || named, below.with_parents(rule.step(element)))
        })
    }
}

fn value(rule: &Rule, value: &Value, at: &mut Vec<Element>, set: &mut FieldSet) {
    match (rule.shape(value), value) {
        (shape @ (Shape::Open | Shape::Fields(_)), Value::Object(fields)) => {
            for (name, inner) in fields {
                at.push(Element::Field(name.clone()));
                self::value(shape.field(name), inner, at, set);
                let empty = inner.is_null() || inner.as_object().is_some_and(serde_json::Map::is_empty);
                if empty || !shape.names(name) {
                    set.insert(at);
                }
                at.pop();
            }
        }
        (Shape::List(list), Value::Array(items)) => self::items(list, items, at, set),
        (Shape::Whole, _) => set.insert(at),
        (Shape::Open | Shape::Fields(_) | Shape::List(_), _) => {}
    }
}

/// An item that stands in the list more than once is owned as a whole.
fn items(list: List<'_>, items: &[Value], at: &mut Vec<Element>, set: &mut FieldSet) {
    let elements: Vec<Element> = items.iter().map(|item| list.element(item)).collect();
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for element in &elements {
        if !seen.insert(element) {
            twice.insert(element);
        }
    }
    for (element, item) in elements.iter().zip(items) {
        at.push(element.clone());
        if !twice.contains(element) {
            value(list.item(), item, at, set);
        }
        set.insert(at);
        at.pop();
    }
}
