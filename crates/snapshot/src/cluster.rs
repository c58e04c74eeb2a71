//! Clusters: upstream groups, how their members are found, and how one of them is used.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    CircuitBreaker, ClientTls, ClusterName, Http2Options, LoadBalancing, LocalityBalancing, Named, Origin,
    OutlierDetection, ProxyProtocol, SlowStart, TcpKeepalive,
};

/// One upstream group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Istio's name of it.
    pub name: ClusterName,
    /// Where members come from.
    pub discovery: Discovery,
    /// How one member is picked.
    #[serde(default)]
    pub load_balancing: LoadBalancing,
    /// New members get their share little by little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// What the place of a member counts for.
    #[serde(default, skip_serializing_if = "LocalityBalancing::is_ignored")]
    pub locality: LocalityBalancing,
    /// With fewer healthy members than this percentage, all are used (Envoy: panic); 0 never does that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub panic_percent: u8,
    /// When a failing member is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// HTTP version spoken to members.
    #[serde(default)]
    pub http: UpstreamHttp,
    /// Limit for establishing a connection (Istio: 10 s).
    pub connect_timeout: Duration,
    /// Limits.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// TCP keepalive of connections; `None` leaves it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// HTTP/2 on connections.
    #[serde(default, skip_serializing_if = "Http2Options::is_default")]
    pub http2: Http2Options,
    /// Source address of connections; inbound clusters use 127.0.0.6, so that capture rules can tell the
    /// proxy's connections to its own workload from the workload's calls to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// TLS to members; `None` is plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// TLS to members that are [`crate::Endpoint::mutual`], and plain text to the others; counts where
    /// [`Cluster::tls`] is not stated. Istio: auto mTLS, Envoy: `transport_socket_matches`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_tls: Option<ClientTls>,
    /// Connections to members begin with a PROXY protocol header that names the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The service this cluster stands for, for metrics; `None` for the special clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// The DestinationRule that shaped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Cluster {
    /// A cluster that sets nothing: Istio's defaults.
    pub fn new(name: ClusterName, discovery: Discovery) -> Self {
        Self {
            name,
            discovery,
            load_balancing: LoadBalancing::default(),
            slow_start: None,
            locality: LocalityBalancing::default(),
            panic_percent: 0,
            outlier_detection: None,
            http: UpstreamHttp::default(),
            connect_timeout: Duration::from_secs(10),
            circuit_breaker: CircuitBreaker::default(),
            tcp_keepalive: None,
            http2: Http2Options::default(),
            source_address: None,
            tls: None,
            auto_tls: None,
            proxy_protocol: None,
            service: None,
            origin: None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

impl Named for Cluster {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

/// Where the members of a cluster come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// From the entry of the same name in [`crate::Snapshot::endpoints`].
    Endpoints,
    /// The destination that the connection was captured on its way to.
    OriginalDestination,
    /// Nobody: every connection is closed.
    Nobody,
}

/// HTTP version spoken to the members of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamHttp {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge: service ports named `http2`, `grpc` or `grpc-web`.
    Http2,
    /// Whatever the downstream connection speaks.
    Downstream,
}

/// A service, as named in `destination_service_*` of Istio's metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceRef {
    /// `backend.shop.svc.cluster.local`.
    pub host: String,
    /// `backend`.
    pub name: String,
    /// `shop`.
    pub namespace: String,
}
