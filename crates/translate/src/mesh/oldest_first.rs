//! Objects of one kind in the order in which Istio lets them count: oldest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use resources::Resource;

use super::Stored;

/// An object, with the number of the Mesh that brought it in this form.
#[derive(Debug)]
pub struct Indexed<T> {
    pub object: Arc<T>,
    pub(crate) revision: u64,
}

impl<T> Clone for Indexed<T> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
            revision: self.revision,
        }
    }
}

/// By namespace, oldest first in each.
pub(super) type ByNamespace<T> = BTreeMap<String, Vec<Indexed<T>>>;

/// The object in a resource, if it is of that kind.
type Pick<T> = fn(&Resource) -> Option<&Arc<T>>;

/// Those of the stored objects that `pick` knows.
pub(super) fn oldest_first<'a, T: 'a>(
    stored: impl Iterator<Item = &'a Stored>,
    pick: Pick<T>,
) -> Vec<Indexed<T>> {
    let mut all: Vec<&Stored> = stored.filter(|stored| pick(&stored.resource).is_some()).collect();
    all.sort_by(|a, b| {
        let (a, b) = (a.resource.meta(), b.resource.meta());
        a.age_order().cmp(&b.age_order())
    });
    let indexed = |stored: &Stored| {
        Some(Indexed {
            object: pick(&stored.resource)?.clone(),
            revision: stored.revision,
        })
    };
    all.into_iter().filter_map(indexed).collect()
}

/// The same, by namespace.
pub(super) fn by_namespace<'a, T: 'a>(
    stored: impl Iterator<Item = &'a Stored>,
    pick: Pick<T>,
    namespace: fn(&T) -> &str,
) -> ByNamespace<T> {
    let mut by_namespace = ByNamespace::new();
    for indexed in oldest_first(stored, pick) {
        let namespace = namespace(&indexed.object).to_owned();
        by_namespace.entry(namespace).or_default().push(indexed);
    }
    by_namespace
}
