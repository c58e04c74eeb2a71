//! `trafficPolicy.proxyProtocol` → the header that connections to a cluster begin with. Without a version it is V1.

use resources::istio::destination_rule::{ProxyProtocol, ProxyProtocolVersion};

/// The header that connections begin with.
pub(crate) fn proxy_protocol(settings: Option<&ProxyProtocol>) -> Option<snapshot::ProxyProtocol> {
    settings.map(|settings| match settings.version {
        Some(ProxyProtocolVersion::V2) => snapshot::ProxyProtocol::V2,
        Some(ProxyProtocolVersion::V1) | None => snapshot::ProxyProtocol::V1,
    })
}
