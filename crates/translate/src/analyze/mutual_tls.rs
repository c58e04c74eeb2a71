//! PeerAuthentications without effect, and DestinationRules whose clients speak another way than the workloads take.

use std::collections::BTreeSet;
use std::sync::Arc;

use resources::istio::destination_rule::{Subset, TlsMode};
use resources::istio::{host_covers, resolve_host};
use resources::kubernetes::Pod;
use resources::{Code, DestinationRule, Key, Kind, PeerAuthentication, Problem, Resource};

use super::messages;
use crate::mesh::endpoints::Member;
use crate::mesh::peer_authentications::Mutual;
use crate::mesh::policies::{Client, Policy};
use crate::mesh::services::{Service, contains_all};
use crate::traffic_policy::Effective;
use crate::{DOMAIN, Mesh, Protocol, ROOT_NAMESPACE};

/// What is wrong with PeerAuthentications among each other, and with what they select.
pub(super) fn of_peer_authentications(mesh: &Mesh) -> Vec<Problem> {
    let mut objects: Vec<&Arc<PeerAuthentication>> = mesh
        .kind(Kind::PeerAuthentication)
        .filter_map(|stored| match &stored.resource {
            Resource::PeerAuthentication(object) => Some(object),
            _ => None,
        })
        .collect();
    objects.sort_by(|a, b| a.metadata.age_order().cmp(&b.metadata.age_order()));
    let mut problems = Vec::new();
    for (position, object) in objects.iter().enumerate() {
        let of_namespace = objects[..position]
            .iter()
            .filter(|older| older.metadata.namespace == object.metadata.namespace);
        let older: Vec<_> = of_namespace.copied().collect();
        problems.extend(of_peer_authentication(mesh, object, &older));
    }
    problems
}

fn of_peer_authentication(
    mesh: &Mesh,
    object: &PeerAuthentication,
    older: &[&Arc<PeerAuthentication>],
) -> Option<Problem> {
    let meta = &object.metadata;
    let key = Key::new(Kind::PeerAuthentication, &meta.namespace, &meta.name);
    let ineffective = |reason: &str| {
        let message = messages::ineffective_policy(reason);
        Some(Problem::new(Code::IneffectivePolicy, &key, "spec", message))
    };
    let counts_instead =
        |older: &PeerAuthentication| format!("{} is older and counts instead", older.metadata.name);
    let Some(selector) = object.spec.selector() else {
        let rival = older.iter().find(|older| older.spec.selector().is_none())?;
        return ineffective(&counts_instead(rival));
    };
    if meta.namespace == ROOT_NAMESPACE {
        return ineffective("objects of the root namespace select no workloads");
    }
    let mut selected = pods(mesh)
        .filter(|pod| pod.metadata.namespace == meta.namespace)
        .filter(|pod| contains_all(&pod.metadata.labels, selector))
        .peekable();
    if selected.peek().is_none() {
        let labels = selector.iter().map(|(name, value)| format!("{name}={value}"));
        let message = messages::no_matching_workloads_found(&labels.collect::<Vec<_>>().join(","));
        return Some(Problem::new(
            Code::NoMatchingWorkloadsFound,
            &key,
            "spec.selector",
            message,
        ));
    }
    let rivals: Option<Vec<_>> = selected.map(|pod| rival(pod, older)).collect();
    ineffective(&counts_instead(rivals?.first()?))
}

/// The oldest object that selects a pod.
fn rival<'a>(pod: &Pod, older: &[&'a Arc<PeerAuthentication>]) -> Option<&'a Arc<PeerAuthentication>> {
    let selects = |object: &&&Arc<PeerAuthentication>| {
        let selector = object.spec.selector();
        selector.is_some_and(|selector| contains_all(&pod.metadata.labels, selector))
    };
    older.iter().find(selects).copied()
}

fn pods(mesh: &Mesh) -> impl Iterator<Item = &Arc<Pod>> {
    mesh.kind(Kind::Pod).filter_map(|stored| match &stored.resource {
        Resource::Pod(pod) => Some(pod),
        _ => None,
    })
}

/// Hosts of a rule whose workloads do not take what the rule makes their clients speak.
pub(super) fn of_destination_rule(
    mesh: &Mesh,
    key: &Key,
    object: &DestinationRule,
    problems: &mut Vec<Problem>,
) {
    let host = resolve_host(&object.spec.host, &key.namespace, DOMAIN);
    let nothing = std::collections::BTreeMap::new();
    let client = Client {
        namespace: &key.namespace,
        labels: &nothing,
    };
    let covered = mesh
        .services
        .iter()
        .filter(|service| host_covers(&host, service.host.as_str()));
    for service in covered {
        let policy = mesh.policies.find(client, service);
        let ours = |policy: &&Arc<Policy>| policy.sources.iter().any(|(source, _)| source == key);
        let Some(policy) = policy.filter(ours) else {
            continue;
        };
        for (field, subset) in levels(object) {
            let conflicts = conflicts(mesh, service, policy, subset);
            problems.extend(conflicts.into_iter().map(|(asked, taken)| {
                let message = messages::mtls_policy_conflict(service.host.as_str(), &key.name, asked, &taken);
                Problem::new(Code::MtlsPolicyConflict, key, field.clone(), message)
            }));
        }
    }
}

/// The places of a rule where TLS is said, and the subset that each is for.
fn levels(object: &DestinationRule) -> Vec<(String, Option<&Subset>)> {
    let top = object.spec.traffic_policy.iter();
    let top = top.map(|_| ("spec.trafficPolicy".to_owned(), None));
    let subsets = object.spec.subsets.iter().enumerate();
    let subsets = subsets
        .filter(|(_, subset)| subset.traffic_policy.is_some())
        .map(|(index, subset)| (format!("spec.subsets[{index}].trafficPolicy"), Some(subset)));
    top.chain(subsets).collect()
}

/// What the rule asks for, and what is taken instead by whose word; each once.
fn conflicts(
    mesh: &Mesh,
    service: &Service,
    policy: &Policy,
    subset: Option<&Subset>,
) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    let Some(members) = mesh.endpoints.get(&service.host) else {
        return found;
    };
    let ports = service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
    for port in ports {
        let Some(tls) = Effective::of(policy, subset, port.port).tls else {
            continue;
        };
        for (address, member) in members.of_port(&port.name) {
            let chosen = subset.is_none_or(|subset| contains_all(&member.labels, &subset.labels));
            if chosen {
                found.extend(conflict(tls.mode, member, address.port()));
            }
        }
    }
    found
}

fn conflict(asked: Option<TlsMode>, member: &Member, port: u16) -> Option<(&'static str, String)> {
    let taken = member.modes.as_ref().map(|modes| modes.at(port));
    let by = || {
        let by = taken.and_then(|taken| taken.by.as_ref());
        by.map_or("nobody".to_owned(), |key| {
            format!("PeerAuthentication {}/{}", key.namespace, key.name)
        })
    };
    match (asked?, taken.map(|taken| taken.mode)) {
        (TlsMode::Disable, Some(Mutual::Strict)) => Some(("DISABLE", format!("{} asks for STRICT", by()))),
        (TlsMode::Simple, Some(Mutual::Strict)) => Some(("SIMPLE", format!("{} asks for STRICT", by()))),
        (TlsMode::Mutual, Some(Mutual::Strict)) => Some(("MUTUAL", format!("{} asks for STRICT", by()))),
        (TlsMode::IstioMutual, Some(Mutual::Disabled)) => {
            Some(("ISTIO_MUTUAL", format!("{} asks for DISABLE", by())))
        }
        (TlsMode::IstioMutual, None) => Some((
            "ISTIO_MUTUAL",
            "there are workloads without a proxy that takes it".to_owned(),
        )),
        _ => None,
    }
}
