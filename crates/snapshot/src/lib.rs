//! What one proxy must do, as plain data: the contract between controller and proxy.
//!
//! A [`Snapshot`] is made by `translate`, carried by `xds`, and put in force by `proxy`. Nothing here reads a
//! clock, a socket or a file, and nothing here knows Kubernetes or protobuf. Names follow Istio
//! (`outbound|9090|v0|backend.shop.svc.cluster.local`), so that dashboards, logs and scripts keep working.
//!
//! The pure matchers ([`route::CompiledTable`]) live here, because both `explain` and the data path must give
//! the same answer.
#![deny(missing_docs)]

pub mod access_log;
pub mod authorization;
pub mod chain;
pub mod chain_table;
pub mod circuit_breaker;
pub mod client_certificate;
pub mod cluster;
pub mod connection_pool;
pub mod cors;
pub mod endpoint;
pub mod ext_authz;
pub mod fault;
pub mod filter;
pub mod format;
pub mod headers;
pub mod http_options;
pub mod jwt;
pub mod listener;
pub mod load_balancing;
pub mod local_rate_limit;
pub mod mirror;
pub mod name;
pub mod origin;
pub mod outlier_detection;
pub mod rate_limit;
pub mod retry;
pub mod route;
pub mod set;
pub mod share;
pub mod subnet;
pub mod timeouts;
pub mod tls;

pub use access_log::{AccessLog, LogFormat, Template};
pub use authorization::Authorization;
pub use chain::{
    Chain, ChainMatch, Handler, HttpHandler, RouteSource, TcpHandler, TcpTarget, TransportProtocol, Tunnel,
    WeightedCluster,
};
pub use chain_table::{Arrival, ChainTable};
pub use circuit_breaker::{CircuitBreaker, RetryBudget};
pub use client_certificate::{CertificateDetails, CertificatePolicy, ClientCertificateHeader};
pub use cluster::{Cluster, Discovery};
pub use connection_pool::{Http2Keepalive, Http2Options, TcpKeepalive};
pub use cors::Cors;
pub use endpoint::{Endpoint, Endpoints, Health, Locality, LocalityEndpoints};
pub use ext_authz::ExtAuthz;
pub use fault::Fault;
pub use filter::{HttpFilter, NetworkFilter};
pub use format::Format;
pub use headers::{HeaderField, HeaderOperations, HeaderProblem, frames_messages};
pub use http_options::HttpOptions;
pub use jwt::{ClaimHeader, Jwt, JwtProvider, JwtRequirement, TokenHeader};
pub use listener::{Direction, Listener};
pub use load_balancing::{HashKey, HashPolicy, LoadBalancing, LocalityBalancing, SlowStart};
pub use local_rate_limit::LocalRateLimit;
pub use mirror::Mirror;
pub use name::{ClusterName, Host, ListenerName, Namespace, RouteTableName};
pub use origin::Origin;
pub use outlier_detection::OutlierDetection;
pub use rate_limit::RateLimit;
pub use retry::{BackOff, Retry};
pub use route::{Action, Route, RouteMatch, RouteTable, VirtualHost, Weighted};
pub use set::{Diff, Named, Set};
pub use share::Share;
pub use subnet::Subnet;
pub use timeouts::{GrpcTimeout, HttpTimeouts};
pub use tls::{
    Certificate, CertificateFiles, ClientTls, ProxyProtocol, ServerTls, SubjectMatch, TlsVersion, Trust,
};

use serde::{Deserialize, Serialize};

/// Everything one proxy must do.
///
/// Closed under names: a route names clusters of [`Snapshot::clusters`] (or one that does not exist, which
/// answers 503 with flag `NC`), and each cluster discovered by name has an entry in [`Snapshot::endpoints`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where connections come in, and what happens to them.
    pub listeners: Set<Listener>,
    /// Route tables named by HTTP handlers.
    pub routes: Set<RouteTable>,
    /// Upstream groups.
    pub clusters: Set<Cluster>,
    /// Members of the clusters that discover them by name.
    pub endpoints: Set<Endpoints>,
}
