//! Index of VirtualServices, in the order in which Istio prefers them.

use std::collections::BTreeSet;
use std::sync::Arc;

use resources::istio::resolve_host;
use resources::{Resource, VirtualService};

use super::Stored;
use super::visibility::Visibility;
use crate::DOMAIN;

/// All VirtualServices, oldest first.
#[derive(Debug, Default)]
pub struct Routes {
    in_order: Vec<Arc<IndexedRoutes>>,
}

/// One VirtualService, with what is asked of it often.
#[derive(Debug)]
pub struct IndexedRoutes {
    pub object: Arc<VirtualService>,
    /// Fully qualified; in the order of `spec.hosts`.
    pub hosts: Vec<String>,
    pub visibility: Visibility,
    /// Labels that `sourceLabels` of any rule ask for.
    pub(crate) asked_labels: BTreeSet<String>,
    pub(crate) revision: u64,
}

impl Routes {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        let mut in_order: Vec<_> = stored.filter_map(IndexedRoutes::of).map(Arc::new).collect();
        in_order.sort_by(|a, b| a.object.metadata.age_order().cmp(&b.object.metadata.age_order()));
        Self { in_order }
    }

    /// Those that sidecars in that namespace apply.
    pub fn for_sidecars<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<IndexedRoutes>> {
        self.in_order.iter().filter(move |routes| {
            routes.object.spec.applies_to_mesh() && routes.visibility.includes(namespace)
        })
    }
}

impl IndexedRoutes {
    fn of(stored: &Stored) -> Option<Self> {
        let Resource::VirtualService(object) = &stored.resource else {
            return None;
        };
        let (meta, spec) = (&object.metadata, &object.spec);
        let http = spec
            .http
            .iter()
            .flat_map(|rule| &rule.matches)
            .map(|matches| &matches.source_labels);
        let tcp = spec
            .tcp
            .iter()
            .flat_map(|rule| &rule.matches)
            .map(|matches| &matches.source_labels);
        Some(Self {
            hosts: spec
                .hosts
                .iter()
                .map(|host| resolve_host(host, &meta.namespace, DOMAIN))
                .collect(),
            visibility: Visibility::of(spec.export_to.iter().map(String::as_str), &meta.namespace),
            asked_labels: http
                .chain(tcp)
                .flat_map(|labels| labels.keys().cloned())
                .collect(),
            object: object.clone(),
            revision: stored.revision,
        })
    }
}

/// How well a host of a rule fits a service host; larger is better, `None` is not at all.
/// Exact beats every wildcard, and a longer wildcard beats a shorter one.
pub(crate) fn specificity(pattern: &str, host: &str) -> Option<usize> {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix).then_some(suffix.len()),
        None => (pattern == host).then_some(usize::MAX),
    }
}
