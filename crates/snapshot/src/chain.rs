//! Chains: what a listener does with a connection once its destination and protocol are known.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    AccessLog, ClusterName, HttpFilter, HttpOptions, HttpTimeouts, NetworkFilter, RouteTable, RouteTableName,
    ServerTls, Subnet,
};

/// One way to handle a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Unique within its listener.
    pub name: String,
    /// Which connections it takes.
    #[serde(default)]
    pub matches: ChainMatch,
    /// They are encrypted, and what is under that is handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// What is asked, in order, before a connection is handled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<NetworkFilter>,
    /// What happens to them.
    pub handler: Handler,
}

/// Which connections a chain takes. An empty match takes all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainMatch {
    /// The original destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Networks of the original destination; empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_subnets: Vec<Subnet>,
    /// Server names asked for in a TLS ClientHello, or `*.` and what they end with; empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<String>,
    /// Whether the connection begins with TLS; `None` takes both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_protocol: Option<TransportProtocol>,
    /// Detected or negotiated protocols (`http/1.0`, `http/1.1`, `h2c`); empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub application_protocols: Vec<String>,
}

/// What lies under the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportProtocol {
    /// Nothing.
    RawBuffer,
    /// TLS.
    Tls,
}

/// What happens to the connections of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handler {
    /// HTTP/1.1 or HTTP/2, told apart by the first bytes; each request is routed on its own.
    Http(HttpHandler),
    /// Opaque bytes to a cluster.
    Tcp(TcpHandler),
}

/// How a chain serves HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpHandler {
    /// Prefix of statistics: `outbound_0.0.0.0_9090`, `inbound_0.0.0.0_8080`.
    pub stat_prefix: String,
    /// Where routes come from.
    pub routes: RouteSource,
    /// Request filters, in order; the router comes last and is not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpFilter>,
    /// Value of the response header `server`: `envoy` outbound, `istio-envoy` inbound, as Istio's.
    pub server_name: String,
    /// Longest silence on a stream; `None` is no limit (Istio's default for sidecars).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_idle_timeout: Option<Duration>,
    /// Other limits in time.
    #[serde(default, skip_serializing_if = "HttpTimeouts::is_default")]
    pub timeouts: HttpTimeouts,
    /// Where finished requests are written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_log: Vec<Arc<AccessLog>>,
    /// Paths, request ids, the client's address.
    #[serde(default, skip_serializing_if = "HttpOptions::is_default")]
    pub options: HttpOptions,
}

impl HttpHandler {
    /// Serves these routes, with Istio's defaults.
    pub fn new(stat_prefix: String, routes: RouteSource, server_name: &str) -> Self {
        Self {
            stat_prefix,
            routes,
            filters: vec![HttpFilter::Stats],
            server_name: server_name.to_owned(),
            stream_idle_timeout: None,
            timeouts: HttpTimeouts::default(),
            access_log: Vec::new(),
            options: HttpOptions::default(),
        }
    }
}

/// Where an HTTP handler takes its routes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteSource {
    /// A table of [`crate::Snapshot::routes`].
    Named(RouteTableName),
    /// A table that belongs to this chain alone.
    Inline(Arc<RouteTable>),
}

/// How a chain forwards opaque bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpHandler {
    /// Prefix of statistics; Istio uses the cluster name, or `NAME.NAMESPACE` of a rule with several targets.
    pub stat_prefix: String,
    /// Where the bytes go.
    #[serde(flatten)]
    pub target: TcpTarget,
    /// Longest silence in both directions; `None` is Envoy's hour, zero is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// The address of the client is the key for clusters that choose consistently.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hash_source_address: bool,
    /// Longest life of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<Duration>,
    /// How often connecting is tried; `None` is Envoy's once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connect_attempts: Option<u32>,
    /// The cluster is an HTTP proxy that shall connect to somewhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// Where finished connections are written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_log: Vec<Arc<AccessLog>>,
}

/// Where the bytes of a connection go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpTarget {
    /// Always there.
    Cluster(ClusterName),
    /// For each connection one of these, by weight.
    Clusters(Vec<WeightedCluster>),
}

/// A cluster with its share of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its share, relative to the others.
    pub weight: u32,
}

/// A request that asks an HTTP proxy for a connection. Istio: `DestinationRule.trafficPolicy.tunnel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// What the proxy is asked for: `host:port`.
    pub target: String,
    /// By POST instead of CONNECT.
    #[serde(default, skip_serializing_if = "is_false")]
    pub post: bool,
}

impl TcpHandler {
    /// Forwards to that cluster, with Istio's defaults.
    pub fn to(cluster: ClusterName) -> Self {
        Self::new(cluster.to_string(), TcpTarget::Cluster(cluster))
    }

    /// Forwards there, with Istio's defaults.
    pub fn new(stat_prefix: String, target: TcpTarget) -> Self {
        Self {
            stat_prefix,
            target,
            idle_timeout: None,
            hash_source_address: false,
            max_connection_duration: None,
            max_connect_attempts: None,
            tunnel: None,
            access_log: Vec::new(),
        }
    }
}

impl TcpTarget {
    /// All clusters with their shares.
    pub fn weighted(&self) -> impl Iterator<Item = (&ClusterName, u32)> {
        let (one, several) = match self {
            Self::Cluster(cluster) => (Some((cluster, 1)), &[][..]),
            Self::Clusters(clusters) => (None, clusters.as_slice()),
        };
        one.into_iter()
            .chain(several.iter().map(|target| (&target.cluster, target.weight)))
    }

    /// The cluster for one connection; `random` is evenly distributed. `None` when nothing has weight.
    pub fn pick(&self, random: u64) -> Option<&ClusterName> {
        let total: u64 = self.weighted().map(|(_, weight)| u64::from(weight)).sum();
        let mut left = random.checked_rem(total)?;
        self.weighted().find_map(|(cluster, weight)| {
            let taken = left < u64::from(weight);
            left = left.saturating_sub(weight.into());
            taken.then_some(cluster)
        })
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_by_weight_and_never_where_there_is_none() {
        let target = |weights: &[u32]| {
            TcpTarget::Clusters(
                weights
                    .iter()
                    .enumerate()
                    .map(|(at, weight)| WeightedCluster {
                        cluster: at.to_string().into(),
                        weight: *weight,
                    })
                    .collect(),
            )
        };
        let picks = |weights: &[u32]| {
            let target = target(weights);
            (0..10)
                .map(|random| target.pick(random).map_or("-".into(), ToString::to_string))
                .collect::<String>()
        };
        assert_eq!(picks(&[3, 0, 7]), "0002222222");
        assert_eq!(picks(&[0, 0]), "----------");
        assert_eq!(TcpTarget::Cluster("x".into()).pick(7), Some(&"x".into()));
    }
}
