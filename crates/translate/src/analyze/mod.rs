//! What is wrong across objects: findings that no object shows by itself. The same for `amime analyze`, events,
//! status and the console.

mod conflicts;
pub mod messages;
mod rate_limits;
mod references;
mod unsupported;

use std::collections::BTreeSet;
use std::sync::Arc;

use resources::{Code, DestinationRule, Key, Kind, Problem, Resource, VirtualService};

use crate::Mesh;

/// Everything that is wrong across objects of a mesh, in the order of their keys.
pub fn analyze(mesh: &Mesh) -> Vec<Problem> {
    let mut problems = conflicts::same_host(mesh);
    for (key, object) in virtual_services(mesh) {
        references::of_virtual_service(mesh, &key, object, &mut problems);
        unsupported::of_virtual_service(&key, object, &mut problems);
    }
    for (key, object) in destination_rules(mesh) {
        references::of_destination_rule(mesh, &key, object, &mut problems);
        unsupported::of_destination_rule(&key, object, &mut problems);
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

fn destination_rules(mesh: &Mesh) -> impl Iterator<Item = (Key, &Arc<DestinationRule>)> {
    mesh.kind(Kind::DestinationRule)
        .filter_map(|stored| match &stored.resource {
            Resource::DestinationRule(object) => Some((stored.resource.key(), object)),
            _ => None,
        })
}
