//! AuthorizationPolicies that do not do what they seem to: for nobody, asking somebody whom nobody knows, or
//! somebody who knows requests only.

use std::sync::Arc;

use resources::istio::authorization_policy::{Action, Operation};
use resources::kubernetes::Pod;
use resources::{AuthorizationPolicy, Code, Key, Kind, Problem, Resource};

use super::messages;
use crate::ext_authz::Providers;
use crate::mesh::selection::{Subject, applies};
use crate::mesh::services::{ServicePort, contains_all};
use crate::scope::target_port;
use crate::{Mesh, Protocol, ROOT_NAMESPACE};

pub(super) fn of_policy(mesh: &Mesh, key: &Key, object: &AuthorizationPolicy, problems: &mut Vec<Problem>) {
    let spec = &object.spec;
    let mut add = |code, field: String, message| problems.push(Problem::new(code, key, field, message));
    let single = spec.target_ref.iter().map(|_| "spec.targetRef".to_owned());
    let several = (0..spec.target_refs.len()).map(|index| format!("spec.targetRefs[{index}]"));
    for field in single.chain(several) {
        let message = messages::not_supported_yet(&field, "no gateway or waypoint applies this policy");
        add(Code::NotSupportedYet, field, message);
    }
    if let Some(selector) = spec
        .selector
        .as_ref()
        .filter(|selector| !selector.match_labels.is_empty())
    {
        let selected = |pod: &Pod| {
            let here = *key.namespace == *ROOT_NAMESPACE || pod.metadata.namespace == *key.namespace;
            here && contains_all(&pod.metadata.labels, &selector.match_labels)
        };
        if !pods(mesh).any(|pod| selected(pod)) {
            let labels = selector.match_labels.iter();
            let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value}")).collect();
            let message = messages::no_matching_workloads(&labels.join(","));
            add(
                Code::NoMatchingWorkloadsFound,
                "spec.selector".to_owned(),
                message,
            );
        }
    }
    // One that is tried out asks nobody, and refuses nothing.
    if spec.action() == Action::Custom && !object.is_dry_run() {
        of_provider(mesh, key, object, problems);
    }
}

fn of_provider(mesh: &Mesh, key: &Key, object: &AuthorizationPolicy, problems: &mut Vec<Problem>) {
    let name = object.spec.provider_name();
    let mut add = |code, message| problems.push(Problem::new(code, key, "spec.provider.name", message));
    let providers = Providers::of(&mesh.services, &mesh.settings.extension_providers);
    if let Some(why) = providers.problem(name) {
        let message = messages::provider_not_found(name, &why);
        add(Code::ReferencedResourceNotFound, message);
    }
    if providers.knows_only_requests(name) {
        let unasked = opaque_ports(mesh, key, object);
        if !unasked.is_empty() {
            let message = messages::connections_pass_unasked(name, &unasked.join(", "));
            add(Code::IneffectivePolicy, message);
        }
    }
}

/// Ports of services whose workloads a policy is for, and that carry no requests: `db.shop.svc.cluster.local:5432`.
fn opaque_ports(mesh: &Mesh, key: &Key, object: &AuthorizationPolicy) -> Vec<String> {
    if object.spec.targets().next().is_some() {
        return Vec::new();
    }
    let selector = object
        .spec
        .selector
        .as_ref()
        .map(|selector| &selector.match_labels);
    let is_for = |pod: &Pod| {
        let workload = Subject {
            namespace: &pod.metadata.namespace,
            labels: &pod.metadata.labels,
        };
        applies(&key.namespace, selector, workload, ROOT_NAMESPACE).is_some()
    };
    let mut found = Vec::new();
    for service in mesh.services.iter() {
        let opaque = |port: &&ServicePort| matches!(port.protocol, Protocol::Tcp | Protocol::Tls);
        for port in service.ports.iter().filter(opaque) {
            let mut behind = pods(mesh).filter(|pod| {
                let meta = &pod.metadata;
                service.selects(&meta.namespace, &meta.labels) && is_for(pod)
            });
            let wanted = |pod: &Arc<Pod>| {
                target_port(port, Some(pod)).is_some_and(|target| asks_about_port(object, target))
            };
            if behind.any(wanted) {
                found.push(format!("{}:{}", service.host, port.port));
            }
        }
    }
    found
}

/// Whether one of the rules may hold for connections to a port of a workload.
fn asks_about_port(object: &AuthorizationPolicy, port: u16) -> bool {
    object.spec.rules.iter().any(|rule| {
        let operations = || rule.to().iter().map(|to| to.operation.as_ref());
        let named = |operation: Option<&Operation>| {
            operation.is_none_or(|operation| {
                operation.ports.is_empty() || operation.ports.contains(&port.to_string())
            })
        };
        rule.to().is_empty() || operations().any(named)
    })
}

fn pods(mesh: &Mesh) -> impl Iterator<Item = &Arc<Pod>> {
    mesh.kind(Kind::Pod).filter_map(|stored| match &stored.resource {
        Resource::Pod(pod) => Some(pod),
        _ => None,
    })
}
