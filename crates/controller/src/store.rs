//! Resources by key as the API told them, and what changed since the last time somebody asked.
//!
//! An object that cannot be read any more keeps the last form in which it could: a slip must not undo routing
//! that works. Nobody is told anything before every kind has been listed, so that no proxy gets half a picture.

use std::collections::{BTreeMap, BTreeSet};

use resources::{Key, Kind, Problem, Resource};

use crate::watch::Event;

/// Everything known.
#[derive(Debug, Default)]
pub struct Store {
    resources: BTreeMap<Key, Resource>,
    problems: BTreeMap<Key, Vec<Problem>>,
    changed: BTreeSet<Key>,
    listed: BTreeSet<Kind>,
}

impl Store {
    /// A store that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a watch tells. Whether anything that the mesh reads is different now.
    pub fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Present {
                key,
                resource,
                problems,
            } => self.put(key, resource, problems),
            Event::Gone(key) => self.remove(&key),
            Event::Listed(kind, keys) => self.finish_list(kind, &keys),
        }
    }

    /// Whether every kind has been listed.
    pub fn synced(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.listed.contains(kind))
    }

    /// What changed since the last call: the resource as it is now, or `None` where it is gone.
    pub fn take_changes(&mut self) -> Vec<(Key, Option<Resource>)> {
        let changed = std::mem::take(&mut self.changed);
        let now = |key: Key| {
            let resource = self.resources.get(&key).cloned();
            (key, resource)
        };
        changed.into_iter().map(now).collect()
    }

    /// Lets the next [`Store::take_changes`] tell of these again.
    pub fn put_back(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.changed.extend(keys);
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.resources.keys().filter(|key| key.kind == kind).count()
    }

    /// What is wrong with single objects.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    fn put(&mut self, key: Key, resource: Option<Resource>, problems: Vec<Problem>) -> bool {
        let same_problems = self
            .problems
            .get(&key)
            .map_or(problems.is_empty(), |old| *old == problems);
        if problems.is_empty() {
            self.problems.remove(&key);
        } else {
            self.problems.insert(key.clone(), problems);
        }
        let Some(resource) = resource else {
            if !same_problems {
                let kept = self.resources.contains_key(&key);
                tracing::warn!(object = %key, kept, "an object cannot be read; its last form, where kept, stays in force");
            }
            return !same_problems;
        };
        if self.resources.get(&key) == Some(&resource) {
            return !same_problems;
        }
        self.resources.insert(key.clone(), resource);
        self.changed.insert(key);
        true
    }

    fn remove(&mut self, key: &Key) -> bool {
        let had_problems = self.problems.remove(key).is_some();
        if self.resources.remove(key).is_some() {
            self.changed.insert(key.clone());
            return true;
        }
        had_problems
    }

    fn finish_list(&mut self, kind: Kind, keys: &BTreeSet<Key>) -> bool {
        let first = self.listed.insert(kind);
        let known = self.resources.keys().chain(self.problems.keys());
        let gone: BTreeSet<_> = known
            .filter(|key| key.kind == kind && !keys.contains(key))
            .cloned()
            .collect();
        gone.iter()
            .fold(first, |changed, key| self.remove(key) || changed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Kind::Namespace, "", name)
    }

    fn present(name: &str, label: &str) -> Event {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"l": label}}});
        Event::Present {
            key: key(name),
            resource: Some(Resource::from_object(&object).unwrap().resource),
            problems: Vec::new(),
        }
    }

    #[test]
    fn an_object_that_says_the_same_again_is_no_change() {
        let mut store = Store::new();
        assert!(store.apply(present("a", "1")));
        assert_eq!(store.take_changes().len(), 1);
        assert!(!store.apply(present("a", "1")));
        assert!(store.take_changes().is_empty());
        assert!(store.apply(present("a", "2")));
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let mut store = Store::new();
        for name in ["a", "b"] {
            store.apply(present(name, "1"));
        }
        store.take_changes();
        assert!(store.apply(Event::Listed(Kind::Namespace, BTreeSet::from([key("a")]))));
        assert_eq!(store.take_changes(), [(key("b"), None)]);
        assert!(!store.apply(Event::Listed(Kind::Namespace, BTreeSet::from([key("a")]))));
    }

    #[test]
    fn an_object_that_became_unreadable_keeps_its_last_form_and_is_a_problem() {
        let mut store = Store::new();
        store.apply(present("a", "1"));
        store.take_changes();
        let problem = Problem::new(
            resources::Code::SchemaValidationError,
            &key("a"),
            "metadata",
            "bad",
        );
        let unreadable = Event::Present {
            key: key("a"),
            resource: None,
            problems: vec![problem.clone()],
        };
        assert!(store.apply(unreadable));
        assert!(store.take_changes().is_empty());
        assert_eq!(store.problems().collect::<Vec<_>>(), [&problem]);
        store.apply(present("a", "1"));
        assert_eq!(store.problems().count(), 0);
    }

    #[test]
    fn it_is_synced_once_every_kind_was_listed() {
        let mut store = Store::new();
        for kind in Kind::ALL {
            assert!(!store.synced());
            store.apply(Event::Listed(kind, BTreeSet::new()));
        }
        assert!(store.synced());
    }
}
