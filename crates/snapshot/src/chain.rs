//! Chains: what a listener does with a connection once its destination and protocol are known.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ClusterName, HttpFilter, RouteTable, RouteTableName};

/// One way to handle a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Unique within its listener.
    pub name: String,
    /// Which connections it takes.
    #[serde(default)]
    pub matches: ChainMatch,
    /// What happens to them.
    pub handler: Handler,
}

/// Which connections a chain takes. An empty match takes all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainMatch {
    /// The original destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Detected or negotiated protocols (`http/1.0`, `http/1.1`, `h2c`); empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub application_protocols: Vec<String>,
}

/// What happens to the connections of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handler {
    /// HTTP/1.1 or HTTP/2, told apart by the first bytes; each request is routed on its own.
    Http(HttpHandler),
    /// Opaque bytes to one cluster.
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
    /// Prefix of statistics; Istio uses the cluster name.
    pub stat_prefix: String,
    /// Where the bytes go.
    pub cluster: ClusterName,
    /// Longest silence in both directions; `None` is Envoy's hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// The address of the client is the key for clusters that choose consistently.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hash_source_address: bool,
}

impl TcpHandler {
    /// Forwards to that cluster, with Istio's defaults.
    pub fn to(cluster: ClusterName) -> Self {
        Self {
            stat_prefix: cluster.to_string(),
            cluster,
            idle_timeout: None,
            hash_source_address: false,
        }
    }
}
