//! RateLimits that are for nobody, that ask a server which nobody knows, or whose numbers do not count.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use resources::istio::resolve_host;
use resources::kubernetes::Pod;
use resources::policy::rate_limit::LimitScope;
use resources::{Code, Key, Kind, Problem, RateLimit, Resource};

use super::messages;
use crate::mesh::selection::{Subject, applies};
use crate::mesh::services::service_host;
use crate::rate_limit::{Rule, rules_of};
use crate::{DOMAIN, Mesh, ROOT_NAMESPACE};

/// The rules of a mesh and whose they are, by domain and name of the limit.
type Oldest = BTreeMap<(String, String), (Rule, Key)>;

pub(super) fn check(mesh: &Mesh, problems: &mut Vec<Problem>) {
    let mut oldest = Oldest::new();
    for object in mesh.rate_limits.iter() {
        let meta = &object.metadata;
        let key = Key::new(Kind::RateLimit, &meta.namespace, &meta.name);
        of_target(mesh, &key, object, problems);
        of_selector(mesh, &key, object, problems);
        of_rules(&key, object, &mut oldest, problems);
        of_server(mesh, &key, object, problems);
    }
}

fn of_target(mesh: &Mesh, key: &Key, object: &RateLimit, problems: &mut Vec<Problem>) {
    let Some(target) = &object.spec.target_ref else {
        return;
    };
    let host = service_host(&target.name, &key.namespace);
    let mut add = |field: &str, kind, name: &str| {
        let message = messages::referenced_resource_not_found(kind, name);
        problems.push(Problem::new(
            Code::ReferencedResourceNotFound,
            key,
            field,
            message,
        ));
    };
    let Some(service) = mesh.services.get(host.as_str()) else {
        add("spec.targetRef.name", "Service", &target.name);
        return;
    };
    if let Some(section) = &target.section_name
        && !service.ports.iter().any(|port| port.name == *section)
    {
        let name = format!("{}:{section}", target.name);
        add("spec.targetRef.sectionName", "Service port", &name);
    }
}

fn of_selector(mesh: &Mesh, key: &Key, object: &RateLimit, problems: &mut Vec<Problem>) {
    let selector = object.spec.selector.as_ref();
    let selector = selector.map(|selector| &selector.match_labels);
    let Some(selector) = selector.filter(|labels| !labels.is_empty()) else {
        return;
    };
    let mut pods = mesh.kind(Kind::Pod).filter_map(|stored| match &stored.resource {
        Resource::Pod(pod) => Some(pod),
        _ => None,
    });
    let is_for = |pod: &Arc<Pod>| {
        let workload = Subject {
            namespace: &pod.metadata.namespace,
            labels: &pod.metadata.labels,
        };
        applies(&key.namespace, Some(selector), workload, ROOT_NAMESPACE).is_some()
    };
    if !pods.any(is_for) {
        let labels = selector.iter().map(|(name, value)| format!("{name}={value}"));
        let labels: Vec<_> = labels.collect();
        problems.push(Problem::new(
            Code::NoMatchingWorkloadsFound,
            key,
            "spec.selector",
            messages::no_matching_workloads(&labels.join(",")),
        ));
    }
}

/// Of several limits that the mesh's own server counts as one, the oldest says how much that is.
fn of_rules(key: &Key, object: &RateLimit, oldest: &mut Oldest, problems: &mut Vec<Problem>) {
    for (index, rule) in rules_of(object) {
        match oldest.entry((rule.domain.clone(), rule.limit.clone())) {
            Entry::Vacant(entry) => {
                entry.insert((rule, key.clone()));
            }
            Entry::Occupied(known) => {
                let (counts, owner) = known.get();
                if *counts != rule {
                    let reason = format!(
                        "RateLimit {}/{} is older and has limit {:?} of domain {:?}, too; its numbers count",
                        owner.namespace, owner.name, rule.limit, rule.domain
                    );
                    let message = messages::ineffective_policy(&reason);
                    let field = format!("spec.limits[{index}]");
                    problems.push(Problem::new(Code::IneffectivePolicy, key, field, message));
                }
            }
        }
    }
}

fn of_server(mesh: &Mesh, key: &Key, object: &RateLimit, problems: &mut Vec<Problem>) {
    let spec = &object.spec;
    let server = spec.global.as_ref().and_then(|global| global.server.as_ref());
    let shared = spec.limits.iter().any(|limit| limit.scope == LimitScope::Global);
    let Some(server) = server.filter(|_| shared) else {
        return;
    };
    let host = resolve_host(&server.host, &key.namespace, DOMAIN);
    let known = mesh.services.get(&host);
    if known.is_none_or(|service| service.port(server.port.into()).is_none()) {
        let name = format!("{}:{}", server.host, server.port);
        let message = messages::referenced_resource_not_found("host:port", &name);
        problems.push(Problem::new(
            Code::ReferencedResourceNotFound,
            key,
            "spec.global.server",
            message,
        ));
    }
}

#[cfg(test)]
mod tests {
    use resources::yaml;

    use super::*;

    const WORLD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: backend-1, namespace: shop, labels: {app: backend}}
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: first, namespace: shop, creationTimestamp: '2024-01-01T00:00:00Z'}
spec:
  selector: {matchLabels: {app: backend}}
  global: {domain: all}
  limits: [{name: each, requests: 10, scope: Global}, {name: same, requests: 5, scope: Global}]
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: second, namespace: shop, creationTimestamp: '2024-01-02T00:00:00Z'}
spec:
  selector: {matchLabels: {app: nobody, tier: none}}
  global: {domain: all}
  limits: [{name: same, requests: 5, scope: Global}, {name: each, requests: 20, scope: Global}]
";

    #[test]
    fn who_is_for_nobody_and_whose_numbers_do_not_count_is_told() {
        let mesh = Mesh::of(yaml::read(WORLD).resources);
        let mut problems = Vec::new();
        check(&mesh, &mut problems);
        let told: Vec<_> = problems
            .iter()
            .map(|problem| (problem.code, problem.field.as_str(), problem.message.as_str()))
            .collect();
        assert!(problems.iter().all(|problem| {
            let key = problem.key.as_ref().unwrap();
            *key.name == *"second"
        }));
        assert_eq!(
            told,
            [
                (
                    Code::NoMatchingWorkloadsFound,
                    "spec.selector",
                    "No matching workloads for this resource with the following labels: app=nobody,tier=none"
                ),
                (
                    Code::IneffectivePolicy,
                    "spec.limits[1]",
                    "The policy has no impact: RateLimit shop/first is older and has limit \"each\" of \
                     domain \"shop/all\", too; its numbers count."
                ),
            ]
        );
    }
}
