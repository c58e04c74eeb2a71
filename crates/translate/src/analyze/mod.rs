//! What is wrong across objects: findings that no object shows by itself. The same for `amime analyze`, events,
//! status and the console.

mod conflicts;
pub mod messages;
mod references;
mod unsupported;

use std::sync::Arc;

use resources::{DestinationRule, Key, Kind, Problem, Resource, VirtualService};

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
    problems
        .sort_by(|a, b| (&a.key, &a.field, a.code, &a.message).cmp(&(&b.key, &b.field, b.code, &b.message)));
    problems
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
