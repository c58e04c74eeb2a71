//! Index of DestinationRules, merged as Istio merges them, and the search for the one that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resources::istio::destination_rule::{Subset, TrafficPolicy};
use resources::istio::{has_wildcard, resolve_host};
use resources::{DestinationRule, Key, Kind, Resource};

use super::Stored;
use super::routes::specificity;
use super::services::{Service, contains_all};
use super::visibility::Visibility;
use crate::{DOMAIN, ROOT_NAMESPACE};

/// Merged rules by namespace.
#[derive(Debug, Default)]
pub struct Policies {
    by_namespace: BTreeMap<String, OfNamespace>,
}

/// Merged rules of one namespace, oldest first.
#[derive(Debug, Default)]
struct OfNamespace {
    exact: BTreeMap<String, Vec<Arc<Policy>>>,
    wildcards: Vec<Arc<Policy>>,
}

/// What one or several DestinationRules say about a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Fully qualified, or a wildcard.
    pub host: String,
    pub visibility: Visibility,
    /// Clients that it is for; empty is all.
    pub selector: BTreeMap<String, String>,
    pub traffic_policy: Option<TrafficPolicy>,
    pub subsets: Vec<Subset>,
    /// The objects that it was merged from, oldest first, with their revisions.
    pub(crate) sources: Vec<(Key, u64)>,
}

impl Policies {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        let mut all: Vec<(&DestinationRule, u64)> = stored
            .filter_map(|stored| match &stored.resource {
                Resource::DestinationRule(rule) => Some((&**rule, stored.revision)),
                _ => None,
            })
            .collect();
        all.sort_by(|(a, _), (b, _)| a.metadata.age_order().cmp(&b.metadata.age_order()));
        let mut merged: BTreeMap<(String, String), Vec<Policy>> = BTreeMap::new();
        for (rule, revision) in all {
            let host = resolve_host(&rule.spec.host, &rule.metadata.namespace, DOMAIN);
            let policies = merged.entry((rule.metadata.namespace.clone(), host)).or_default();
            let policy = Policy::of(rule, revision);
            match policies.iter_mut().find(|known| known.merges_with(&policy)) {
                Some(known) => known.merge(policy),
                None => policies.push(policy),
            }
        }
        let mut by_namespace: BTreeMap<String, OfNamespace> = BTreeMap::new();
        for ((namespace, host), policies) in merged {
            let of_namespace = by_namespace.entry(namespace).or_default();
            let policies = policies.into_iter().map(Arc::new);
            if has_wildcard(&host) {
                of_namespace.wildcards.extend(policies);
            } else {
                of_namespace.exact.insert(host, policies.collect());
            }
        }
        Self { by_namespace }
    }

    /// The policy that a client applies to a service. The first namespace that has any counts alone: the client's
    /// own, then the service's, then the root namespace.
    pub fn find(&self, client: Client<'_>, service: &Service) -> Option<&Arc<Policy>> {
        let (host, namespace) = (service.host.as_str(), client.namespace);
        let own = |policy: &Policy| namespace != ROOT_NAMESPACE || policy.visibility.is_only(namespace);
        let exported = |policy: &Policy| policy.visibility.includes(namespace);
        self.best(namespace, client, host, &own)
            .or_else(|| self.best(&service.namespace, client, host, &exported))
            .or_else(|| self.best(ROOT_NAMESPACE, client, host, &exported))
    }

    fn best(
        &self,
        namespace: &str,
        client: Client<'_>,
        host: &str,
        visible: &dyn Fn(&Policy) -> bool,
    ) -> Option<&Arc<Policy>> {
        let fits = |policy: &&Arc<Policy>| {
            let selected = policy.selector.is_empty()
                || (namespace == client.namespace && contains_all(client.labels, &policy.selector));
            selected && visible(policy)
        };
        let rank = |policy: &Arc<Policy>| {
            specificity(&policy.host, host).map(|specific| (specific, !policy.selector.is_empty()))
        };
        let of_namespace = self.by_namespace.get(namespace)?;
        let policies = of_namespace
            .exact
            .get(host)
            .into_iter()
            .flatten()
            .chain(&of_namespace.wildcards);
        // Of equals the first, that is the oldest, wins; `max_by_key` would take the last.
        let ranked = policies
            .filter(fits)
            .filter_map(|policy| Some((rank(policy)?, policy)));
        ranked
            .rev()
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, policy)| policy)
    }

    /// Labels that any `workloadSelector` in that namespace asks for.
    pub(crate) fn asked_labels(&self, namespace: &str) -> BTreeSet<String> {
        let of_namespace = self.by_namespace.get(namespace);
        let exact = of_namespace
            .into_iter()
            .flat_map(|policies| policies.exact.values().flatten());
        let wildcards = of_namespace.into_iter().flat_map(|policies| &policies.wildcards);
        let selectors = exact.chain(wildcards).flat_map(|policy| policy.selector.keys());
        selectors.cloned().collect()
    }
}

/// Who asks for a policy.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub namespace: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

impl Policy {
    fn of(rule: &DestinationRule, revision: u64) -> Self {
        let (meta, spec) = (&rule.metadata, &rule.spec);
        let selector = spec
            .workload_selector
            .as_ref()
            .map(|selector| selector.match_labels.clone());
        let visibility = match &selector {
            Some(_) => Visibility::of(["."], &meta.namespace),
            None => Visibility::of(spec.export_to.iter().map(String::as_str), &meta.namespace),
        };
        Self {
            host: resolve_host(&spec.host, &meta.namespace, DOMAIN),
            visibility,
            selector: selector.unwrap_or_default(),
            traffic_policy: spec.traffic_policy.clone(),
            subsets: spec.subsets.clone(),
            sources: vec![(
                Key::new(Kind::DestinationRule, &meta.namespace, &meta.name),
                revision,
            )],
        }
    }

    fn merges_with(&self, other: &Self) -> bool {
        self.host == other.host && self.visibility == other.visibility && self.selector == other.selector
    }

    /// Takes in a younger rule: its new subsets, and its policy if there is none yet.
    fn merge(&mut self, younger: Self) {
        for subset in younger.subsets {
            if self.subset(&subset.name).is_none() {
                self.subsets.push(subset);
            }
        }
        self.traffic_policy = self.traffic_policy.take().or(younger.traffic_policy);
        self.sources.extend(younger.sources);
    }

    /// The subset of that name.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }
}
