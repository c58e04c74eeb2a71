//! Limits in time of a chain that serves HTTP. Istio's sidecars set none of them, so Envoy's defaults hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits in time of downstream connections and their streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTimeouts {
    /// Longest time of a connection without a request; `None` is Envoy's hour, zero is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Longest life of a connection: after it, requests under way end and no others are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Duration>,
    /// Longest life of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Duration>,
    /// Limit for receiving a whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// Limit for receiving the head of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_head: Option<Duration>,
}

impl HttpTimeouts {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the deadline of a gRPC caller (`grpc-timeout`) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrpcTimeout {
    /// It is the timeout of the request, but never longer than the route's (Istio, outbound).
    #[default]
    WithinTimeout,
    /// It is the timeout of the request, but never longer than this one; zero is no limit.
    Within(Duration),
    /// It limits the life of the stream, but never to more than this; zero is no limit (Istio, inbound).
    OfStream(Duration),
    /// Nothing (Envoy's default).
    Ignored,
}

impl GrpcTimeout {
    /// Whether it is what Istio's outbound routes have.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
