//! Filters: closed enums over the policies that act on a request before it is routed, and on a connection before it is
//! handled.

use std::sync::Arc;

use crate::ext_authz::{ExtAuthz, TcpExtAuthz};
use crate::{Authorization, Jwt, LocalRateLimit, RateLimit};
use serde::{Deserialize, Serialize};

/// One request filter. The mesh knows its filters; WASM, an open door, will be a variant too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpFilter {
    /// Istio's standard metrics (`istio_requests_total` …), reported for one side of the call.
    Stats,
    /// Calls of gRPC-Web become gRPC, and their answers gRPC-Web (Istio: ports named `grpc-web`).
    GrpcWeb,
    /// Tokens that requests must or may carry.
    Jwt(Arc<Jwt>),
    /// A limit that this proxy keeps by itself; routes may have their own instead.
    LocalRateLimit(Option<Box<LocalRateLimit>>),
    /// Who may send what.
    Authorization(Arc<Authorization>),
    /// Somebody else decides.
    ExtAuthz(Box<ExtAuthz>),
    /// Limits of one policy.
    RateLimit(Box<RateLimit>),
}

impl HttpFilter {
    /// Whether it may refuse a request: then no request may come in beside it.
    pub fn is_policy(&self) -> bool {
        match self {
            Self::Jwt(_) | Self::Authorization(_) | Self::ExtAuthz(_) | Self::RateLimit(_) => true,
            Self::LocalRateLimit(limit) => limit.is_some(),
            Self::Stats | Self::GrpcWeb => false,
        }
    }
}

/// One filter of connections that are not HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkFilter {
    /// Who may connect.
    Authorization(Arc<Authorization>),
    /// Somebody else decides.
    ExtAuthz(Box<TcpExtAuthz>),
}
