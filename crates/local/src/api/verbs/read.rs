//! Get, list and watch.

use super::super::client::{List, Object, Query, Watch};
use super::super::query::Filter;
use super::super::{Status, watch};
use super::{Api, Target};

impl Api {
    /// One object.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, target: &Target) -> Result<Object, Status> {
        let stored = self.store.get(&target.key()).ok_or_else(|| target.not_found())?;
        Ok(target.kind.served(&stored))
    }

    /// The objects of a collection that match, with the version at which they did.
    ///
    /// # Errors
    /// 400 for a selector that makes no sense.
    pub fn list(&self, target: &Target, query: &Query) -> Result<List, Status> {
        let filter = Filter::parse(&target.kind, query)?;
        let (objects, resource_version) = self.store.list(&target.key().collection, &target.namespace);
        let items = objects
            .iter()
            .filter(|object| filter.matches(object))
            .map(|object| target.kind.served(object))
            .collect();
        Ok(List {
            items,
            resource_version,
        })
    }

    /// Changes of a collection after version `from`; with 0 first an `Added` for all there is.
    ///
    /// # Errors
    /// 400 for a selector that makes no sense, 410 for a version that is out of reach.
    pub fn watch(&self, target: &Target, query: &Query, from: u64) -> Result<Watch, Status> {
        let filter = Filter::parse(&target.kind, query)?;
        let (initial, from) = if from == 0 {
            let list = self.list(target, query)?;
            (list.items, list.resource_version)
        } else {
            (Vec::new(), from)
        };
        let feed = self
            .store
            .feed(&target.key().collection, from)
            .map_err(|too_old| watch::expired(&too_old))?;
        Ok(Watch::new(target, filter, initial, feed))
    }
}
