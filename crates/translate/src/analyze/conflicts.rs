//! VirtualServices that claim the same host: sidecars apply the oldest only.

use std::collections::BTreeMap;

use resources::istio::resolve_host;
use resources::{Code, Key, Problem};

use super::{messages, virtual_services};
use crate::mesh::visibility::Visibility;
use crate::{DOMAIN, Mesh};

/// Objects that claim a host, each with who may see it and the position of the host in it.
type Claims = Vec<(Key, Visibility, usize)>;

pub(super) fn same_host(mesh: &Mesh) -> Vec<Problem> {
    let mut claims: BTreeMap<String, Claims> = BTreeMap::new();
    for (key, object) in virtual_services(mesh).filter(|(_, object)| object.spec.applies_to_mesh()) {
        let visibility = Visibility::of(object.spec.export_to.iter().map(String::as_str), &key.namespace);
        for (index, host) in object.spec.hosts.iter().enumerate() {
            let host = resolve_host(host, &key.namespace, DOMAIN);
            claims
                .entry(host)
                .or_default()
                .push((key.clone(), visibility.clone(), index));
        }
    }
    let mut problems = Vec::new();
    for (host, claims) in &claims {
        for (key, visibility, index) in claims {
            let rivals = claims
                .iter()
                .filter(|(other, theirs, _)| other == key || meet(visibility, theirs));
            let names: Vec<_> = rivals
                .map(|(key, ..)| format!("{}/{}", key.namespace, key.name))
                .collect();
            if names.len() > 1 {
                let message =
                    messages::conflicting_mesh_gateway_virtual_service_hosts(&names.join(","), host);
                let code = Code::ConflictingMeshGatewayVirtualServiceHosts;
                problems.push(Problem::new(code, key, format!("spec.hosts[{index}]"), message));
            }
        }
    }
    problems
}

/// Whether any namespace may see both.
fn meet(one: &Visibility, other: &Visibility) -> bool {
    match (one, other) {
        (Visibility::Public, Visibility::Public) => true,
        (Visibility::Public, Visibility::Namespaces(some))
        | (Visibility::Namespaces(some), Visibility::Public) => !some.is_empty(),
        (Visibility::Namespaces(some), Visibility::Namespaces(others)) => !some.is_disjoint(others),
    }
}
