//! Sets of fields, as trees: `fieldsV1`.

use std::collections::BTreeMap;
use std::collections::btree_map;

use serde_json::{Map, Value};

use super::element::Element;

/// A set of paths. A place and what is below it are members independently of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<Element, Entry>);

/// Invariant: a member, or members are below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    member: bool,
    below: FieldSet,
}

impl Entry {
    fn is_needed(&self) -> bool {
        self.member || !self.below.is_empty()
    }
}

impl FieldSet {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a path; the root is nobody's and is left out.
    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => self.0.entry(last.clone()).or_default().member = true,
            [first, rest @ ..] => self.0.entry(first.clone()).or_default().below.insert(rest),
        }
    }

    pub fn contains(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.has(last),
            [first, rest @ ..] => self.below(first).is_some_and(|below| below.contains(rest)),
        }
    }

    /// Whether a path of one step is a member.
    pub(super) fn has(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|entry| entry.member)
    }

    /// The members below a step, if there are any.
    pub(super) fn below(&self, element: &Element) -> Option<&Self> {
        self.0
            .get(element)
            .map(|entry| &entry.below)
            .filter(|below| !below.is_empty())
    }

    /// Adds all of `others`.
    pub fn add(&mut self, others: &Self) {
        for (element, other) in &others.0 {
            match self.0.entry(element.clone()) {
                btree_map::Entry::Vacant(place) => {
                    place.insert(other.clone());
                }
                btree_map::Entry::Occupied(mut place) => {
                    let entry = place.get_mut();
                    entry.member |= other.member;
                    entry.below.add(&other.below);
                }
            }
        }
    }

    /// Takes `others` out, each for itself: what is below a member of `others` stays.
    pub fn remove(&mut self, others: &Self) {
        self.0.retain(|element, entry| {
            if let Some(other) = others.0.get(element) {
                entry.member &= !other.member;
                entry.below.remove(&other.below);
            }
            entry.is_needed()
        });
    }

    /// What is in both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(element, entry)| {
            let other = other.0.get(element)?;
            let entry = Entry {
                member: entry.member && other.member,
                below: entry.below.common(&other.below),
            };
            entry.is_needed().then(|| (element.clone(), entry))
        });
        Self(both.collect())
    }

    #[must_use]
    pub fn without(mut self, others: &Self) -> Self {
        self.remove(others);
        self
    }

    #[must_use]
    pub fn with(mut self, others: &Self) -> Self {
        self.add(others);
        self
    }

    /// Keeps what `keep` says of the first step, with everything below it.
    pub(super) fn retain_roots(&mut self, keep: impl Fn(&Element) -> bool) {
        self.0.retain(|element, _| keep(element));
    }

    /// Makes another set step by step: `change` sees each first step, whether it is a member, and what is below.
    pub(super) fn map(&self, mut change: impl FnMut(&Element, bool, &Self) -> (bool, Self)) -> Self {
        let changed = self.0.iter().filter_map(|(element, entry)| {
            let (member, below) = change(element, entry.member, &entry.below);
            let entry = Entry { member, below };
            entry.is_needed().then(|| (element.clone(), entry))
        });
        Self(changed.collect())
    }

    /// All paths: at each place first the members, then what is below them.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, at: &mut Vec<Element>, found: &mut Vec<Vec<Element>>) {
        for (element, _) in self.0.iter().filter(|(_, entry)| entry.member) {
            let mut path = at.clone();
            path.push(element.clone());
            found.push(path);
        }
        for (element, entry) in &self.0 {
            at.push(element.clone());
            entry.below.collect(at, found);
            at.pop();
        }
    }

    /// `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let entries = self.0.iter().map(|(element, entry)| {
            let mut below = Map::new();
            if entry.member && !entry.below.is_empty() {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            if let Value::Object(inner) = entry.below.to_value() {
                below.extend(inner);
            }
            (element.to_text(), Value::Object(below))
        });
        Value::Object(entries.collect())
    }

    /// Reads `fieldsV1`.
    ///
    /// # Errors
    /// What is no step.
    pub fn from_value(value: &Value) -> Result<Self, String> {
        let mut set = Self::default();
        for (text, inner) in value.as_object().into_iter().flatten() {
            if text == "." {
                continue;
            }
            let Some(element) = Element::from_text(text)? else {
                continue;
            };
            let below = Self::from_value(inner)?;
            let member = below.is_empty() || inner.get(".").is_some();
            set.0.insert(element, Entry { member, below });
        }
        Ok(set)
    }
}
