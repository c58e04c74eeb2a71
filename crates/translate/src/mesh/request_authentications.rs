//! Index of RequestAuthentications: which of them hold for a workload. All of them do that apply, those of its own
//! namespace first, then those of the root namespace, each oldest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use resources::{RequestAuthentication, Resource};

use super::Stored;
use super::services::contains_all;
use crate::ROOT_NAMESPACE;

/// All RequestAuthentications.
#[derive(Debug, Default)]
pub struct RequestAuthentications {
    by_namespace: BTreeMap<String, Vec<Indexed>>,
}

/// One of them, with the number of the Mesh that brought it.
#[derive(Clone, Debug)]
pub struct Indexed {
    pub object: Arc<RequestAuthentication>,
    pub(crate) revision: u64,
}

impl RequestAuthentications {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        let mut all: Vec<Indexed> = stored
            .filter_map(|stored| match &stored.resource {
                Resource::RequestAuthentication(object) => Some(Indexed {
                    object: object.clone(),
                    revision: stored.revision,
                }),
                _ => None,
            })
            .collect();
        all.sort_by(|a, b| {
            let (a, b) = (&a.object.metadata, &b.object.metadata);
            a.age_order().cmp(&b.age_order())
        });
        let mut by_namespace: BTreeMap<String, Vec<Indexed>> = BTreeMap::new();
        for indexed in all {
            let namespace = indexed.object.metadata.namespace.clone();
            by_namespace.entry(namespace).or_default().push(indexed);
        }
        Self { by_namespace }
    }

    /// Those that hold for a workload. Those with targets are for gateways, and hold for no sidecar.
    pub fn for_workload<'a>(
        &'a self,
        namespace: &str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Indexed> {
        let root = Some(ROOT_NAMESPACE).filter(|root| *root != namespace);
        let own = self.by_namespace.get(namespace);
        let of_root = root.and_then(|root| self.by_namespace.get(root));
        let candidates = own.into_iter().chain(of_root).flatten();
        candidates.filter(move |indexed| {
            let spec = &indexed.object.spec;
            let selector = spec.selector.as_ref();
            let selected = selector.is_none_or(|selector| contains_all(labels, &selector.match_labels));
            selected && spec.targets().next().is_none()
        })
    }

    /// Every one.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.by_namespace
            .values()
            .flatten()
            .map(|indexed| &indexed.object)
    }
}
