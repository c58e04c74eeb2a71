//! A set of named, shared items with content-hash versions, and the difference between two of them.
//!
//! Versions are hashes of content, so that a proxy that reconnects with the versions it has receives only what
//! differs, whichever controller replica it meets.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An item that a [`Set`] can hold: it knows its own name.
pub trait Named {
    /// Unique within a set.
    fn name(&self) -> &str;
}

/// Items by name, in name order. Cloning shares the items.
#[derive(Clone, Debug, PartialEq)]
pub struct Set<T>(BTreeMap<Arc<str>, Arc<T>>);

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Named> Set<T> {
    /// Adds an item; one of the same name is replaced.
    pub fn insert(&mut self, item: impl Into<Arc<T>>) {
        let item = item.into();
        self.0.insert(item.name().into(), item);
    }

    /// The item of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.0.get(name)
    }

    /// Removes and returns the item of that name.
    pub fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        self.0.remove(name)
    }

    /// Items in name order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values()
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What leads from one set to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff<T> {
    /// New or changed items, in name order.
    pub changed: Vec<Arc<T>>,
    /// Names that are gone, in name order.
    pub removed: Vec<Arc<str>>,
}

impl<T: Named + PartialEq> Set<T> {
    /// What leads from `old` to `self`. Shared items are not compared by content.
    pub fn diff(&self, old: &Self) -> Diff<T> {
        let same = |name: &Arc<str>, item: &Arc<T>| {
            old.0
                .get(name)
                .is_some_and(|before| Arc::ptr_eq(before, item) || before == item)
        };
        Diff {
            changed: self
                .0
                .iter()
                .filter(|(name, item)| !same(name, item))
                .map(|(_, item)| item.clone())
                .collect(),
            removed: old
                .0
                .keys()
                .filter(|name| !self.0.contains_key(*name))
                .cloned()
                .collect(),
        }
    }
}

impl<T: Named> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut set = Self::default();
        items.into_iter().for_each(|item| set.insert(item));
        set
    }
}

impl<T: Serialize> Serialize for Set<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.values().map(AsRef::as_ref))
    }
}

impl<'de, T: Named + Deserialize<'de>> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<T>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item(&'static str, u32);
    impl Named for Item {
        fn name(&self) -> &str {
            self.0
        }
    }

    #[test]
    fn diff_names_what_changed_and_what_went() {
        let old: Set<Item> = [Item("a", 1), Item("b", 1), Item("c", 1)].into_iter().collect();
        let new: Set<Item> = [Item("a", 1), Item("b", 2), Item("d", 1)].into_iter().collect();
        let diff = new.diff(&old);
        assert_eq!(
            diff.changed.iter().map(|item| item.0).collect::<Vec<_>>(),
            ["b", "d"]
        );
        assert_eq!(diff.removed, ["c".into()]);
        assert_eq!(
            new.diff(&new.clone()),
            Diff {
                changed: vec![],
                removed: vec![]
            }
        );
    }
}
