//! `trafficPolicy.tunnel` → the request with which a TCP connection begins. Only chains have it, never HTTP routes.
//!
//! Unlike every other block, a subset's does not fall back to the host's, and settings of a port change nothing.

use snapshot::Tunnel;

use crate::scope::Scope;

/// The request for connections to a subset of a host, or, without subset, to the host.
pub(crate) fn tunnel(scope: &Scope, host: &str, subset: &str) -> Option<Tunnel> {
    let policy = scope.service(host)?.policy.as_ref()?;
    let level = match subset {
        "" => policy.traffic_policy.as_ref(),
        subset => policy.subset(subset)?.traffic_policy.as_ref(),
    };
    let settings = level?.tunnel.as_ref()?;
    let host = match settings.target_host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => settings.target_host.clone(),
    };
    Some(Tunnel {
        target: format!("{host}:{}", settings.target_port),
        post: settings.protocol == "POST",
    })
}
