//! `connectionPool` → connections of a cluster: their way, their life, what they carry. Limits on how many there may be
//! are in `circuit_breaker`.
//!
//! Both sides of a call apply it: the client's proxy to the service, the server's to its own workload. Only the
//! client's decides to upgrade to HTTP/2.

use resources::istio::destination_rule::{self as istio, ConnectionPool, H2UpgradePolicy};
use snapshot::cluster::UpstreamHttp;
use snapshot::{Cluster, Direction, Http2Keepalive, Http2Options, TcpHandler, TcpKeepalive};

use crate::circuit_breaker::{above_zero, circuit_breaker};
use crate::mesh::policies::Policy;
use crate::mesh::settings::MeshSettings;
use crate::traffic_policy::Effective;

/// Applies the blocks in effect to a cluster that has everything else.
pub(crate) fn apply(effective: &Effective<'_>, direction: Direction, cluster: &mut Cluster) {
    let pool = effective.connection_pool;
    let (tcp, http) = (
        pool.and_then(|pool| pool.tcp.as_ref()),
        pool.and_then(|pool| pool.http.as_ref()),
    );
    if let Some(timeout) = tcp.and_then(|tcp| tcp.connect_timeout) {
        cluster.connect_timeout = timeout.0;
    }
    cluster.tcp_keepalive = tcp.and_then(|tcp| tcp.tcp_keepalive.as_ref()).map(keepalive);
    cluster.circuit_breaker = circuit_breaker(pool, effective.retry_budget);
    cluster.http = upstream_http(cluster.http, direction, pool);
    if cluster.http != UpstreamHttp::Http1 {
        cluster.http2 = Http2Options {
            max_concurrent_streams: http
                .filter(|_| cluster.http == UpstreamHttp::Http2)
                .and_then(|http| above_zero(http.max_concurrent_streams)),
            keepalive: http.and_then(|http| http.http2_keep_alive).and_then(pings),
        };
    }
}

/// What settings of the mesh say about calls to a service where its policy says nothing.
pub(crate) fn complete(effective: &Effective<'_>, settings: &MeshSettings, cluster: &mut Cluster) {
    if let Some(general) = settings.tcp_keepalive.as_ref().map(keepalive) {
        let stated = cluster.tcp_keepalive.unwrap_or_default();
        cluster.tcp_keepalive = Some(TcpKeepalive {
            probes: stated.probes.or(general.probes),
            time: stated.time.or(general.time),
            interval: stated.interval.or(general.interval),
        });
    }
    let http = effective.connection_pool.and_then(|pool| pool.http.as_ref());
    let stated = http.and_then(|http| http.h2_upgrade_policy);
    let is_stated = stated.is_some_and(|policy| policy != H2UpgradePolicy::Default);
    if settings.h2_upgrade && !is_stated && cluster.http == UpstreamHttp::Http1 {
        cluster.http = UpstreamHttp::Http2;
    }
}

/// Applies to opaque connections what Istio says at the listener: always the policy of the host, whatever subset or
/// port.
pub(crate) fn apply_to_tcp(policy: Option<&Policy>, handler: &mut TcpHandler) {
    let policy = policy.and_then(|policy| policy.traffic_policy.as_ref());
    let pool = policy.and_then(|policy| policy.connection_pool.as_ref());
    let Some(tcp) = pool.and_then(|pool| pool.tcp.as_ref()) else {
        return;
    };
    handler.idle_timeout = tcp.idle_timeout.map(|timeout| timeout.0);
    handler.max_connection_duration = tcp.max_connection_duration.map(|limit| limit.0);
}

/// A rule that upgrades knows that the port speaks HTTP, also where the port does not say so.
fn upstream_http(by_port: UpstreamHttp, direction: Direction, pool: Option<&ConnectionPool>) -> UpstreamHttp {
    let Some(http) = pool.and_then(|pool| pool.http.as_ref()) else {
        return by_port;
    };
    let upgrade = http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade);
    if upgrade && direction == Direction::Outbound {
        UpstreamHttp::Http2
    } else if http.use_client_protocol == Some(true) {
        UpstreamHttp::Downstream
    } else {
        by_port
    }
}

/// Envoy counts in seconds.
fn keepalive(settings: &istio::TcpKeepalive) -> TcpKeepalive {
    let seconds =
        |duration: resources::istio::Duration| u32::try_from(duration.0.as_secs()).unwrap_or(u32::MAX);
    TcpKeepalive {
        probes: settings.probes.filter(|probes| *probes > 0),
        time: settings.time.map(seconds),
        interval: settings.interval.map(seconds),
    }
}

fn pings(settings: istio::Http2KeepAlive) -> Option<Http2Keepalive> {
    Some(Http2Keepalive {
        interval: Some(settings.interval?.0),
        timeout: settings.timeout?.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(policy: Option<H2UpgradePolicy>, use_client_protocol: Option<bool>) -> ConnectionPool {
        ConnectionPool {
            http: Some(istio::HttpPool {
                h2_upgrade_policy: policy,
                use_client_protocol,
                ..istio::HttpPool::default()
            }),
            ..ConnectionPool::default()
        }
    }

    #[test]
    fn only_the_client_side_upgrades_and_both_follow_the_client_when_asked_to() {
        use UpstreamHttp::{Downstream, Http1, Http2};
        let upgrade = http(Some(H2UpgradePolicy::Upgrade), None);
        let follow = http(None, Some(true));
        let keep = http(Some(H2UpgradePolicy::DoNotUpgrade), None);
        for (by_port, direction, pool, expected) in [
            (Http1, Direction::Outbound, &upgrade, Http2),
            (Downstream, Direction::Outbound, &upgrade, Http2),
            (Http1, Direction::Inbound, &upgrade, Http1),
            (Http1, Direction::Outbound, &follow, Downstream),
            (Http2, Direction::Inbound, &follow, Downstream),
            (Http2, Direction::Outbound, &keep, Http2),
        ] {
            assert_eq!(upstream_http(by_port, direction, Some(pool)), expected);
        }
    }
}
