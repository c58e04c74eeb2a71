//! Index of AuthorizationPolicies: which of them hold for a workload. All of them do that apply: those of the root
//! namespace and those of its own.

use std::collections::BTreeSet;

use resources::{AuthorizationPolicy, Resource};

use super::Stored;
use super::oldest_first::{ByNamespace, Indexed, by_namespace};
use super::selection::{Subject, applies};
use crate::ROOT_NAMESPACE;

/// All AuthorizationPolicies.
#[derive(Debug, Default)]
pub struct AuthorizationPolicies(ByNamespace<AuthorizationPolicy>);

impl AuthorizationPolicies {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        Self(by_namespace(
            stored,
            |resource| match resource {
                Resource::AuthorizationPolicy(object) => Some(object),
                _ => None,
            },
            |object| &object.metadata.namespace,
        ))
    }

    /// Those that hold for a workload. Those with targets are for gateways, and hold for no sidecar.
    pub fn of<'a>(&'a self, workload: Subject<'a>) -> impl Iterator<Item = &'a Indexed<AuthorizationPolicy>> {
        let namespaces = BTreeSet::from([ROOT_NAMESPACE, workload.namespace]);
        let candidates = namespaces
            .into_iter()
            .filter_map(|namespace| self.0.get(namespace))
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
    use std::collections::BTreeMap;
    use std::sync::Arc;

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
