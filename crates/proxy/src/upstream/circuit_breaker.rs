//! How much a cluster is asked to do at once: counts, and permits that give back when they are dropped.
//!
//! Counts belong to one worker; with several, each has its share of a limit. Istio: `connectionPool`.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Connections,
    Pending,
    Requests,
    Retries,
}

/// How much of each resource is in use. Lives as long as the cluster, whatever Snapshots come.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    counts: [Cell<u32>; 4],
    /// Told when a connection becomes idle or is closed; one who waits for it goes on.
    pub(crate) freed: Notify,
}

impl Usage {
    /// Takes one, unless the limit is reached.
    pub(crate) fn take(self: &Rc<Self>, resource: Resource, limit: Option<u32>) -> Option<Permit> {
        let count = &self.counts[resource as usize];
        if limit.is_some_and(|limit| count.get() >= limit) {
            return None;
        }
        count.set(count.get() + 1);
        Some(Permit {
            usage: self.clone(),
            resource,
        })
    }

    /// How much of it is in use.
    #[cfg(test)]
    pub(crate) fn count(&self, resource: Resource) -> u32 {
        self.counts[resource as usize].get()
    }
}

/// The right to one of a resource.
#[derive(Debug)]
pub(crate) struct Permit {
    usage: Rc<Usage>,
    resource: Resource,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let count = &self.usage.counts[self.resource as usize];
        count.set(count.get() - 1);
        if self.resource == Resource::Connections {
            self.usage.freed.notify_one();
        }
    }
}

/// The part of a limit that one of several workers may use; at least 1, so that no limit closes a cluster.
pub(crate) fn share(limit: Option<u32>, workers: usize) -> Option<u32> {
    let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    limit.map(|limit| limit.div_ceil(workers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_gives_back_when_it_is_dropped() {
        let usage = Rc::new(Usage::default());
        let first = usage.take(Resource::Requests, Some(1));
        assert!(first.is_some());
        assert!(
            usage.take(Resource::Requests, Some(1)).is_none(),
            "the limit is reached"
        );
        assert!(
            usage.take(Resource::Retries, Some(1)).is_some(),
            "resources are counted apart"
        );
        drop(first);
        assert_eq!(usage.count(Resource::Requests), 0);
    }

    #[test]
    fn workers_share_a_limit() {
        assert_eq!(share(Some(10), 4), Some(3));
        assert_eq!(share(Some(0), 4), Some(0));
        assert_eq!(share(None, 4), None);
    }
}
