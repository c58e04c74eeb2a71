//! `destination` of a rule → cluster name.

use resources::istio::{Destination, resolve_host};
use snapshot::ClusterName;

use crate::DOMAIN;
use crate::scope::Scope;

/// The cluster of a destination. It may not exist (an unknown host, a subset that nobody defines): calls to it are
/// then answered with 503, as Istio does.
pub(crate) fn cluster_name(
    scope: &Scope,
    destination: &Destination,
    namespace: &str,
    listener_port: u16,
) -> ClusterName {
    let host = resolve_host(&destination.host, namespace, DOMAIN);
    let said = destination.port.and_then(|port| u16::try_from(port.number).ok());
    let only_port = || match scope.service(&host).map(|seen| seen.service.ports.as_slice()) {
        Some([port]) => Some(port.port),
        _ => None,
    };
    let port = said.or_else(only_port).unwrap_or(listener_port);
    ClusterName::outbound(
        port,
        destination.subset.as_deref().unwrap_or_default(),
        &host.into(),
    )
}
