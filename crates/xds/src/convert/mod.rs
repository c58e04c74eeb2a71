//! Snapshot nouns to Envoy's messages and back: one file per noun, both directions in it.
//!
//! `to_proto` makes what stock Envoy accepts. `from_proto` takes anything: what it does not understand and what
//! would change behaviour is refused with the name of the field, never skipped. Fields that only shape statistics
//! or logs are let through.
#![allow(
    deprecated,
    reason = "old fields are read, because others still send them, or refused by name"
)]

mod access_log;
mod authorization;
pub(crate) mod bootstrap;
mod chain;
mod circuit_breaker;
mod client_certificate;
mod cluster;
mod connection_pool;
mod cors;
mod endpoint;
mod ext_authz;
mod fault;
mod filter;
mod hash;
mod headers;
mod http;
mod http_options;
mod inspection;
mod json;
mod jwt;
mod listener;
mod load_balancing;
mod local_rate_limit;
mod matching;
mod metadata;
mod mirror;
mod node;
mod outlier_detection;
mod proto;
mod protocol;
mod proxyless;
mod rate_limit;
mod redirect;
mod retry;
mod rewrite;
mod route;
mod server_tls;
mod share;
mod timeouts;
mod tls;
mod tls_context;

#[cfg(test)]
mod istio_tests;
#[cfg(test)]
mod tests;

pub use node::Node;

use bytes::Bytes;
use envoy_types::pb::envoy::config;
use prost::Message;
use snapshot::{Cluster, Endpoints, Listener, Named, RouteTable};

use crate::Kind;
use crate::rejected::{Reason, Rejected};

/// Who will read what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Our own proxy: everything, including filters that only it has.
    Amime,
    /// Stock Envoy: only what it knows.
    Envoy,
    /// A gRPC client that routes its calls itself.
    Grpc,
}

/// One resource of any kind.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "lives while one resource is converted")]
pub enum Resource {
    /// An upstream group.
    Cluster(Cluster),
    /// The members of one.
    Endpoints(Endpoints),
    /// A listener.
    Listener(Listener),
    /// A route table.
    Routes(RouteTable),
}

impl Resource {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Cluster(item) => item.name(),
            Self::Endpoints(item) => item.name(),
            Self::Listener(item) => item.name(),
            Self::Routes(item) => item.name(),
        }
    }
}

/// Encodes a cluster.
pub fn encode_cluster(cluster: &Cluster, dialect: Dialect) -> Bytes {
    let message = cluster::to_proto(cluster);
    let message = match dialect {
        Dialect::Grpc => proxyless::cluster(cluster, message),
        Dialect::Amime | Dialect::Envoy => message,
    };
    message.encode_to_vec().into()
}

/// Encodes the members of a cluster.
pub fn encode_endpoints(endpoints: &Endpoints) -> Bytes {
    endpoint::to_proto(endpoints).encode_to_vec().into()
}

/// Encodes a listener.
pub fn encode_listener(listener: &Listener, dialect: Dialect) -> Bytes {
    let message = match dialect {
        Dialect::Grpc => proxyless::listener(listener),
        Dialect::Amime | Dialect::Envoy => listener::to_proto(listener, dialect),
    };
    message.encode_to_vec().into()
}

/// Encodes a route table.
pub fn encode_routes(routes: &RouteTable) -> Bytes {
    route::to_proto(routes).encode_to_vec().into()
}

/// Decodes the resource that a server calls `name`.
///
/// # Errors
/// [`Rejected`] for bytes that are no such message, and for messages that ask for what we cannot do.
pub fn decode(kind: Kind, name: &str, body: &[u8]) -> Result<Resource, Rejected> {
    let resource = match kind {
        Kind::Cluster => parse::<config::cluster::v3::Cluster>(body)
            .and_then(cluster::from_proto)
            .map(Resource::Cluster),
        Kind::Endpoints => parse::<config::endpoint::v3::ClusterLoadAssignment>(body)
            .and_then(endpoint::from_proto)
            .map(Resource::Endpoints),
        Kind::Listener => parse::<config::listener::v3::Listener>(body)
            .and_then(listener::from_proto)
            .map(Resource::Listener),
        Kind::Routes => parse::<config::route::v3::RouteConfiguration>(body)
            .and_then(route::from_proto)
            .map(Resource::Routes),
    };
    let named = resource.and_then(|resource| match resource.name() == name {
        true => Ok(resource),
        false => Err(Reason::new(
            "name",
            format!("is {:?}, not the resource's", resource.name()),
        )),
    });
    named.map_err(|reason| Rejected {
        kind,
        name: name.to_owned(),
        reason,
    })
}

fn parse<M: Message + Default>(body: &[u8]) -> Result<M, Reason> {
    M::decode(body).map_err(|error| Reason::new("resource", error.to_string()))
}
