//! Index of RateLimits, and which of them are for a workload.

use std::sync::Arc;

use resources::{RateLimit, Resource};

use super::Stored;
use super::oldest_first::{Indexed, oldest_first};
use super::selection::{self, Subject};
use super::services::Services;
use crate::ROOT_NAMESPACE;

/// All RateLimits, oldest first.
#[derive(Debug, Default)]
pub struct RateLimits {
    in_order: Vec<Indexed<RateLimit>>,
}

/// An object that is for a workload.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) indexed: Indexed<RateLimit>,
    /// Service and name of the port, or of all of its ports; `None` is for all ports of the workload.
    pub(crate) target: Option<Target>,
}

/// The part of a service that limits are for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) service: String,
    pub(crate) port: Option<String>,
}

impl RateLimits {
    pub(super) fn derive<'a>(stored: impl Iterator<Item = &'a Stored>) -> Self {
        Self {
            in_order: oldest_first(stored, |resource| match resource {
                Resource::RateLimit(object) => Some(object),
                _ => None,
            }),
        }
    }

    /// All objects, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RateLimit>> {
        self.in_order.iter().map(|indexed| &indexed.object)
    }

    /// Those for a workload, oldest first.
    pub(crate) fn of_workload(&self, services: &Services, workload: Subject<'_>) -> Vec<Applied> {
        let applied = self.in_order.iter().filter_map(|indexed| {
            let target = applies(&indexed.object, services, workload)?;
            Some(Applied {
                indexed: indexed.clone(),
                target,
            })
        });
        applied.collect()
    }
}

/// `None` where the object is not for the workload.
#[allow(clippy::option_option, reason = "whether, and for which part")]
fn applies(object: &RateLimit, services: &Services, workload: Subject<'_>) -> Option<Option<Target>> {
    let (meta, spec) = (&object.metadata, &object.spec);
    let own = meta.namespace == workload.namespace;
    if let Some(target) = &spec.target_ref {
        let is_service = target.kind == "Service" && target.group.is_empty();
        let named = |service: &&Arc<super::services::Service>| {
            service.name == target.name && service.namespace == meta.namespace
        };
        let service = services.iter().find(named).filter(|_| own && is_service)?;
        return service.selects(workload.namespace, workload.labels).then(|| {
            Some(Target {
                service: service.host.to_string(),
                port: target.section_name.clone(),
            })
        });
    }
    let selector = spec.selector.as_ref().map(|selector| &selector.match_labels);
    selection::applies(&meta.namespace, selector, workload, ROOT_NAMESPACE).map(|_| None)
}

#[cfg(test)]
mod tests {
    use resources::yaml;

    use super::*;
    use crate::Mesh;

    const WORLD: &str = "
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {selector: {app: backend}, ports: [{name: http, port: 80}]}
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: by-service, namespace: shop}
spec: {targetRef: {kind: Service, name: backend, sectionName: http}, limits: [{name: a, requests: 1}]}
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: by-label, namespace: shop}
spec: {selector: {matchLabels: {tier: back}}, limits: [{name: a, requests: 1}]}
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: everybody, namespace: istio-system}
spec: {limits: [{name: a, requests: 1}]}
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: neighbours, namespace: other}
spec: {targetRef: {kind: Service, name: backend}, limits: [{name: a, requests: 1}]}
";

    fn names(namespace: &str, labels: &[(&str, &str)]) -> Vec<String> {
        let mesh = Mesh::of(yaml::read(WORLD).resources);
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let workload = Subject {
            namespace,
            labels: &labels,
        };
        let applied = mesh.rate_limits.of_workload(&mesh.services, workload);
        applied
            .iter()
            .map(|applied| applied.indexed.object.metadata.name.clone())
            .collect()
    }

    #[test]
    fn a_policy_is_for_the_workloads_that_it_names_and_never_for_another_namespace() {
        assert_eq!(
            names("shop", &[("app", "backend"), ("tier", "back")]),
            ["by-label", "by-service", "everybody"]
        );
        assert_eq!(names("shop", &[("app", "client")]), ["everybody"]);
        assert_eq!(names("other", &[("app", "backend")]), ["everybody"]);
    }
}
