//! Index of RateLimits, and which of them are for a workload.

use std::sync::Arc;

use resources::{RateLimit, Resource};

use super::Stored;
use super::selection::Subject;
use super::services::{Services, contains_all};
use crate::ROOT_NAMESPACE;

/// All RateLimits, oldest first.
#[derive(Debug, Default)]
pub struct RateLimits {
    in_order: Vec<Indexed>,
}

/// An object, with the number of the Mesh that brought it in this form.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    pub(crate) object: Arc<RateLimit>,
    pub(crate) revision: u64,
}

/// An object that is for a workload.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) indexed: Indexed,
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
        let mut in_order: Vec<_> = stored
            .filter_map(|stored| match &stored.resource {
                Resource::RateLimit(object) => Some(Indexed {
                    object: object.clone(),
                    revision: stored.revision,
                }),
                _ => None,
            })
            .collect();
        in_order.sort_by(|a, b| {
            let (a, b) = (&a.object.metadata, &b.object.metadata);
            a.age_order().cmp(&b.age_order())
        });
        Self { in_order }
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
    // Istio's rule for policies: those of the root namespace are for every namespace.
    let reaches = own || meta.namespace == ROOT_NAMESPACE;
    let selected = spec
        .selector
        .as_ref()
        .is_none_or(|selector| contains_all(workload.labels, &selector.match_labels));
    (reaches && selected).then_some(None)
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
