//! Index of VirtualServices, in the order in which Istio prefers them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use resources::istio::resolve_host;
use resources::istio::virtual_service::HttpRoute;
use resources::{Resource, VirtualService};

use super::delegate::{self, Delegated};
use super::visibility::Visibility;
use super::{Resources, Stored};
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
    /// Its HTTP rules, when some of them are somebody else's.
    pub(crate) delegated: Option<Delegated>,
}

impl Routes {
    pub(super) fn derive(objects: Option<&Arc<Resources>>) -> Self {
        let of = |stored| objects.and_then(|objects| IndexedRoutes::of(stored, objects));
        let stored = objects.into_iter().flat_map(|objects| objects.values());
        let mut in_order: Vec<_> = stored.filter_map(of).map(Arc::new).collect();
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
    fn of(stored: &Stored, objects: &Resources) -> Option<Self> {
        let Resource::VirtualService(object) = &stored.resource else {
            return None;
        };
        let (meta, spec) = (&object.metadata, &object.spec);
        let delegated = delegate::delegated(object, objects);
        let merged = delegated.iter().flat_map(|delegated| &delegated.rules);
        let http = merged
            .map(|rule| &rule.rule)
            .chain(&spec.http)
            .flat_map(|rule| &rule.matches)
            .map(|matches| &matches.source_labels);
        let tcp = spec
            .tcp
            .iter()
            .flat_map(|rule| &rule.matches)
            .map(|matches| &matches.source_labels);
        let tls = spec
            .tls
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
                .chain(tls)
                .flat_map(|labels| labels.keys().cloned())
                .collect(),
            object: object.clone(),
            revision: stored.revision,
            delegated,
        })
    }

    /// The HTTP rules in order, each with where it is written.
    pub(crate) fn http(&self) -> impl Iterator<Item = (Cow<'_, str>, &HttpRoute)> {
        let merged = self.delegated.iter().flat_map(|delegated| &delegated.rules);
        let merged = merged.map(|rule| (Cow::Borrowed(rule.field.as_str()), &rule.rule));
        let own = self.object.spec.http.iter().enumerate();
        let own = own.filter(|_| self.delegated.is_none());
        own.map(|(index, rule)| (Cow::Owned(format!("spec.http[{index}]")), rule))
            .chain(merged)
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
