//! Mutual TLS between proxies of the mesh: what a server's proxy takes ([`server`]), what a client's proxy offers
//! ([`client`]), and whose names count ([`settings`]). Facts are Istio's (`pilot/pkg/security/authn`,
//! `pilot/pkg/networking/core`).
//!
//! Invariant: a connection that a STRICT workload must refuse fits no chain of its listener, and there is none that takes
//! what fits no other.

pub(crate) mod client;
mod reason;
pub(crate) mod server;
mod settings;

use crate::mesh::peer_authentications::Stated;
use crate::mesh::selection::Subject;
use crate::{Mesh, Node};

pub(crate) use reason::{inbound, is_mutual, is_stranger, outbound};
pub(crate) use settings::Settings;

/// What the proxies of a mesh call HTTP under mutual TLS.
const HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What they call anything else. Istio's exchange metadata under the first, which ours leave alone: see
/// `docs/decisions`, "Proxies of other meshes are met without metadata".
const OPAQUE: [&str; 2] = ["istio-peer-exchange", "istio"];

/// Which connections a workload takes on a port, and the object that says so.
pub fn mode_of(mesh: &Mesh, node: &Node, port: u16) -> Stated {
    let pod = mesh.pod(&node.namespace, &node.pod_name);
    let modes = mesh.peer_authentications.of(Subject {
        namespace: &node.namespace,
        labels: pod.map_or(&node.labels, |pod| &pod.metadata.labels),
    });
    modes.at(port).clone()
}
