//! What differs between two objects, as sets of fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::element::Element;
use super::rule::{List, Rule, Shape};
use super::set::FieldSet;

/// How one object differs from an earlier one. No field is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// From `old` to `new`.
pub(super) fn compare(rule: &Rule, old: &Value, new: &Value) -> Difference {
    let mut walk = Walk::default();
    walk.place(rule, Some(old), Some(new));
    walk.found
}

#[derive(Default)]
struct Walk {
    at: Vec<Element>,
    found: Difference,
}

impl Walk {
    fn place(&mut self, rule: &Rule, old: Option<&Value>, new: Option<&Value>) {
        let Some(model) = new.filter(|new| !new.is_null()).or(old) else {
            return;
        };
        let shape = rule.shape(model);
        let other = old.filter(|old| !old.is_null()).map(|old| rule.shape(old));
        let descended = match other {
            // An object became a list, or a list a number: one thing for another, and what it had or has below.
            Some(other) if std::mem::discriminant(&other) != std::mem::discriminant(&shape) => {
                self.leaf(old, new);
                self.inside(other, old, None);
                self.inside(shape, None, new);
                return;
            }
            _ => self.inside(shape, old, new),
        };
        if !descended {
            self.leaf(old, new);
        } else if old.is_none() {
            self.found.added.insert(&self.at);
        } else if new.is_none() {
            self.found.removed.insert(&self.at);
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, None) => {}
            (None, Some(_)) => self.found.added.insert(&self.at),
            (Some(_), None) => self.found.removed.insert(&self.at),
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(_)) => self.found.modified.insert(&self.at),
        }
    }

    /// Compares what is below, if there is anything: two empty objects or lists are plain values.
    fn inside(&mut self, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> bool {
        match shape {
            Shape::Whole => false,
            Shape::Open | Shape::Fields(_) => {
                let (old, new) = (fields(old), fields(new));
                if old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty) {
                    return false;
                }
                self.fields(shape, old, new);
                true
            }
            Shape::List(list) => {
                let (old, new) = (items(old), items(new));
                if old.is_empty() && new.is_empty() {
                    return false;
                }
                self.items(list, old, new);
                true
            }
        }
    }

    fn fields(
        &mut self,
        shape: Shape<'_>,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
    ) {
        let (empty, null) = (Value::Object(Map::new()), Value::Null);
        let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
        for name in names {
            let rule = shape.field(name);
            // What is always there is not added by whoever fills it.
            let implied = if rule.is_object() { &empty } else { &null };
            let implied = shape.always(name).then_some(implied);
            let before = old.and_then(|old| old.get(name).or(implied));
            let after = new.and_then(|new| new.get(name).or(implied));
            self.at.push(Element::Field(name.clone()));
            self.place(rule, before, after);
            self.at.pop();
        }
    }

    fn items(&mut self, list: List<'_>, old: &[Value], new: &[Value]) {
        /// What stands at one place before and after.
        type Items<'v> = (Vec<&'v Value>, Vec<&'v Value>);
        let mut elements: BTreeMap<Element, Items<'_>> = BTreeMap::new();
        for item in old {
            elements.entry(list.element(item)).or_default().0.push(item);
        }
        for item in new {
            elements.entry(list.element(item)).or_default().1.push(item);
        }
        for (element, (old, new)) in elements {
            self.at.push(element);
            // Items that stand there more than once are one thing together.
            match (&*old, &*new) {
                ([] | [_], [] | [_]) => self.place(list.item(), old.first().copied(), new.first().copied()),
                ([_, _, ..], [_, _, ..]) if old == new => {}
                ([_, _, ..], [_, _, ..]) => self.found.modified.insert(&self.at),
                ([_, _, ..], one) => {
                    self.place(list.item(), None, one.first().copied());
                    self.found.removed.insert(&self.at);
                }
                (one, _) => {
                    self.place(list.item(), one.first().copied(), None);
                    self.found.added.insert(&self.at);
                }
            }
            self.at.pop();
        }
    }
}

fn fields(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
