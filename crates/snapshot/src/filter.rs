//! Request filters: a closed enum over the policies that act on a request before it is routed.

use crate::{LocalRateLimit, RateLimit};
use serde::{Deserialize, Serialize};

/// One request filter. The mesh knows its filters; open doors (ext_authz, WASM) will be variants too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpFilter {
    /// Istio's standard metrics (`istio_requests_total` …), reported for one side of the call.
    Stats,
    /// Calls of gRPC-Web become gRPC, and their answers gRPC-Web (Istio: ports named `grpc-web`).
    GrpcWeb,
    /// A limit that this proxy keeps by itself; routes may have their own instead.
    LocalRateLimit(Option<Box<LocalRateLimit>>),
    /// Limits of one policy.
    RateLimit(Box<RateLimit>),
}
