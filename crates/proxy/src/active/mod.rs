//! The Snapshot in force in one worker: compiled once for all workers, paired with what lives on in each.
//!
//! A worker replaces its `Rc<Active>` between two requests. Requests keep the one that they began with, so nothing
//! on their path is locked, and nothing changes under them.

pub(crate) mod compile;
mod limiters;

use std::rc::Rc;
use std::sync::Arc;

use snapshot::ClusterName;

use crate::random::Random;
use crate::upstream::Cluster;
pub(crate) use compile::Compiled;

/// The Snapshot in force in one worker.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) compiled: Arc<Compiled>,
    clusters: foldhash::HashMap<ClusterName, Rc<Cluster>>,
}

impl Active {
    /// The next one, with what lives on from the one before.
    pub(crate) fn adopt(compiled: Arc<Compiled>, before: Option<&Active>, random: &Random) -> Rc<Self> {
        let endpoints = &compiled.snapshot.endpoints;
        let clusters: foldhash::HashMap<_, _> = compiled
            .balancers()
            .map(|balancer| {
                let name = &balancer.facts.name;
                let old = before.and_then(|before| before.clusters.get(name));
                let cluster = Cluster::adopt(balancer, endpoints.get(name.as_str()), old, random);
                if let Some(counts) = compiled.counts.get(name) {
                    cluster.live.usage.share(counts);
                }
                (name.clone(), cluster)
            })
            .collect();
        for (name, old) in before.into_iter().flat_map(|before| &before.clusters) {
            if !clusters.contains_key(name) {
                old.retire();
            }
        }
        Rc::new(Self { compiled, clusters })
    }

    /// The cluster of that name.
    pub(crate) fn cluster(&self, name: &ClusterName) -> Option<&Rc<Cluster>> {
        self.clusters.get(name)
    }

    /// All clusters.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Rc<Cluster>> {
        self.clusters.values()
    }
}

#[cfg(test)]
mod tests;
