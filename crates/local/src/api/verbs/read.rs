//! Get, list and watch.

use super::super::client::{List, Object, Query, Watch};
use super::super::paging::{At, Page, Rest, token_after};
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
        self.list_page(target, query, &Page::default())
    }

    /// A part of that list, at the version that the page is of; whoever asks has waited for that version.
    ///
    /// # Errors
    /// 400 for a selector that makes no sense, 410 for a version that is out of reach.
    pub fn list_page(&self, target: &Target, query: &Query, page: &Page) -> Result<List, Status> {
        let filter = Filter::parse(&target.kind, query)?;
        let collection = target.key().collection;
        let (objects, resource_version) = match page.at {
            At::Exact(version) => {
                let objects = self.store.list_at(&collection, &target.namespace, version);
                (objects.map_err(|_| page.expired())?, version)
            }
            At::Newest | At::NotOlderThan(_) => self.store.list(&collection, &target.namespace),
        };
        let mut matching = objects
            .iter()
            .filter(|object| page.reaches(object) && filter.matches(object));
        let found: Vec<_> = matching.by_ref().take(page.limit.unwrap_or(usize::MAX)).collect();
        let left = matching.count();
        let rest = found.last().filter(|_| left > 0).map(|last| Rest {
            token: token_after(last, resource_version),
            remaining: filter.is_empty().then_some(left),
        });
        Ok(List {
            items: found
                .into_iter()
                .map(|object| target.kind.served(object))
                .collect(),
            resource_version,
            rest,
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
