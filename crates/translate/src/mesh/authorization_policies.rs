//! Index of AuthorizationPolicies: which of them hold for a workload. All of them do that apply: those of the root
//! namespace and those of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resources::{AuthorizationPolicy, Resource};

use super::Stored;
use super::selection::{Subject, applies};
use crate::ROOT_NAMESPACE;

/// All AuthorizationPolicies.
#[derive(Debug, Default)]
pub struct AuthorizationPolicies {
    /// Oldest first.
    by_namespace: BTreeMap<String, Vec<IndexedPolicy>>,
}

/// One of them, with the number of the Mesh that brought it.
#[derive(Clone, Debug)]
pub struct IndexedPolicy {
    pub object: Arc<AuthorizationPolicy>,
    pub(crate) revision: u64,
}

impl AuthorizationPolicies {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        let mut all: Vec<IndexedPolicy> = stored
            .filter_map(|stored| match &stored.resource {
                Resource::AuthorizationPolicy(object) => Some(IndexedPolicy {
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
        let mut by_namespace: BTreeMap<String, Vec<IndexedPolicy>> = BTreeMap::new();
        for indexed in all {
            let namespace = indexed.object.metadata.namespace.clone();
            by_namespace.entry(namespace).or_default().push(indexed);
        }
        Self { by_namespace }
    }

    /// Those that hold for a workload. Those with targets are for gateways, and hold for no sidecar.
    pub fn of<'a>(&'a self, workload: Subject<'a>) -> impl Iterator<Item = &'a IndexedPolicy> {
        let namespaces = BTreeSet::from([ROOT_NAMESPACE, workload.namespace]);
        let candidates = namespaces
            .into_iter()
            .filter_map(|namespace| self.by_namespace.get(namespace))
            .flatten();
        candidates.filter(move |indexed| {
            let (meta, spec) = (&indexed.object.metadata, &indexed.object.spec);
            let selector = spec.selector.as_ref().map(|selector| &selector.match_labels);
            spec.targets().next().is_none()
                && applies(&meta.namespace, selector, workload, ROOT_NAMESPACE).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use resources::istio::WorkloadSelector;
    use resources::istio::policy_target::PolicyTargetReference;
    use resources::{Meta, Resource};

    use super::*;

    #[test]
    fn policies_of_the_mesh_of_the_namespace_and_of_the_workload_add_up() {
        let labels = |labels: &[(&str, &str)]| -> BTreeMap<String, String> {
            let labels = labels.iter();
            labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let policy = |namespace: &str, name: &str, selector: &[(&str, &str)], target: bool| {
            let mut policy = AuthorizationPolicy {
                metadata: Meta {
                    name: name.into(),
                    namespace: namespace.into(),
                    ..Meta::default()
                },
                ..AuthorizationPolicy::default()
            };
            policy.spec.selector = (!selector.is_empty()).then(|| WorkloadSelector {
                match_labels: labels(selector),
            });
            policy.spec.target_refs = vec![PolicyTargetReference::default(); usize::from(target)];
            Stored {
                resource: Resource::AuthorizationPolicy(Arc::new(policy)),
                revision: 0,
            }
        };
        let stored = [
            policy("istio-system", "mesh", &[], false),
            policy("istio-system", "mesh-web", &[("app", "web")], false),
            policy("shop", "all", &[], false),
            policy("shop", "db", &[("app", "db")], false),
            policy("shop", "gateway", &[], true),
            policy("far", "far", &[], false),
        ];
        let policies = AuthorizationPolicies::derive(stored.iter());
        let labels = labels(&[("app", "web"), ("version", "1")]);
        let names: Vec<&str> = policies
            .of(Subject {
                namespace: "shop",
                labels: &labels,
            })
            .map(|indexed| indexed.object.metadata.name.as_str())
            .collect();
        assert_eq!(names, ["mesh", "mesh-web", "all"]);
    }
}
