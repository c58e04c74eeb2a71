//! Index of RequestAuthentications: which of them hold for a workload. All of them do that apply, those of its own
//! namespace first, then those of the root namespace, each oldest first.

use std::sync::Arc;

use resources::{RequestAuthentication, Resource};

use super::Stored;
use super::oldest_first::{ByNamespace, Indexed, by_namespace};
use super::selection::{Subject, applies};
use crate::ROOT_NAMESPACE;

/// All RequestAuthentications.
#[derive(Debug, Default)]
pub struct RequestAuthentications(ByNamespace<RequestAuthentication>);

impl RequestAuthentications {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        Self(by_namespace(
            stored,
            |resource| match resource {
                Resource::RequestAuthentication(object) => Some(object),
                _ => None,
            },
            |object| &object.metadata.namespace,
        ))
    }

    /// Those that hold for a workload. Those with targets are for gateways, and hold for no sidecar.
    pub fn of<'a>(
        &'a self,
        workload: Subject<'a>,
    ) -> impl Iterator<Item = &'a Indexed<RequestAuthentication>> {
        let root = Some(ROOT_NAMESPACE).filter(|root| *root != workload.namespace);
        let namespaces = [workload.namespace].into_iter().chain(root);
        let candidates = namespaces.filter_map(|namespace| self.0.get(namespace)).flatten();
        candidates.filter(move |indexed| {
            let (meta, spec) = (&indexed.object.metadata, &indexed.object.spec);
            let selector = spec.selector.as_ref().map(|selector| &selector.match_labels);
            spec.targets().next().is_none()
                && applies(&meta.namespace, selector, workload, ROOT_NAMESPACE).is_some()
        })
    }

    /// Every one.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.0.values().flatten().map(|indexed| &indexed.object)
    }
}
