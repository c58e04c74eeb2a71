//! What is wrong across objects: findings that no object shows by itself. The same for `amime analyze`, events,
//! status and the console.

mod authorization;
mod conflicts;
mod keys;
pub mod messages;
mod mutual_tls;
mod rate_limits;
mod references;
mod unsupported;

use std::collections::BTreeSet;
use std::sync::Arc;

use resources::{
    AuthorizationPolicy, Code, DestinationRule, Key, Kind, Problem, RequestAuthentication, Resource,
    VirtualService,
};

use crate::Mesh;

/// Everything that is wrong across objects of a mesh, in the order of their keys.
pub fn analyze(mesh: &Mesh) -> Vec<Problem> {
    let mut problems = conflicts::same_host(mesh);
    problems.extend(mutual_tls::of_peer_authentications(mesh));
    for (key, object) in virtual_services(mesh) {
        references::of_virtual_service(mesh, &key, object, &mut problems);
        unsupported::of_virtual_service(&key, object, &mut problems);
    }
    for (key, object) in destination_rules(mesh) {
        references::of_destination_rule(mesh, &key, object, &mut problems);
        mutual_tls::of_destination_rule(mesh, &key, object, &mut problems);
        unsupported::of_destination_rule(&key, object, &mut problems);
    }
    for (key, object) in authorization_policies(mesh) {
        authorization::of_policy(mesh, &key, object, &mut problems);
    }
    for (key, object) in request_authentications(mesh) {
        keys::of_request_authentication(mesh, &key, object, &mut problems);
        unsupported::of_request_authentication(&key, object, &mut problems);
    }
    rate_limits::check(mesh, &mut problems);
    problems
        .sort_by(|a, b| (&a.key, &a.field, a.code, &a.message).cmp(&(&b.key, &b.field, b.code, &b.message)));
    problems
}

/// The subsets that rules name and no DestinationRule defines, by VirtualService. A request sent to one is answered 503.
pub fn missing_subsets(mesh: &Mesh) -> BTreeSet<(Key, String)> {
    let mut problems = Vec::new();
    for (key, object) in virtual_services(mesh) {
        references::of_virtual_service(mesh, &key, object, &mut problems);
    }
    let missing = |problem: &Problem| {
        problem.code == Code::ReferencedResourceNotFound && problem.field.ends_with(".subset")
    };
    problems
        .into_iter()
        .filter(missing)
        .filter_map(|problem| Some((problem.key?, problem.message)))
        .collect()
}

fn virtual_services(mesh: &Mesh) -> impl Iterator<Item = (Key, &Arc<VirtualService>)> {
    mesh.kind(Kind::VirtualService)
        .filter_map(|stored| match &stored.resource {
            Resource::VirtualService(object) => Some((stored.resource.key(), object)),
            _ => None,
        })
}

fn authorization_policies(mesh: &Mesh) -> impl Iterator<Item = (Key, &Arc<AuthorizationPolicy>)> {
    mesh.kind(Kind::AuthorizationPolicy)
        .filter_map(|stored| match &stored.resource {
            Resource::AuthorizationPolicy(object) => Some((stored.resource.key(), object)),
            _ => None,
        })
}

fn destination_rules(mesh: &Mesh) -> impl Iterator<Item = (Key, &Arc<DestinationRule>)> {
    mesh.kind(Kind::DestinationRule)
        .filter_map(|stored| match &stored.resource {
            Resource::DestinationRule(object) => Some((stored.resource.key(), object)),
            _ => None,
        })
}

fn request_authentications(mesh: &Mesh) -> impl Iterator<Item = (Key, &Arc<RequestAuthentication>)> {
    mesh.kind(Kind::RequestAuthentication)
        .filter_map(|stored| match &stored.resource {
            Resource::RequestAuthentication(object) => Some((stored.resource.key(), object)),
            _ => None,
        })
}
