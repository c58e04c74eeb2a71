//! Faults made on purpose. Istio: `HTTPFaultInjection`; Envoy: the fault filter, configured by the route.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Share;

/// What is done to a request before it is forwarded: it waits, then it may be answered with an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A wait; not part of the route's timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// An error instead of the upstream's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
}

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// How long.
    pub duration: Duration,
    /// For how many requests, in millionths.
    pub share: Share,
}

/// An error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Which one.
    pub status: AbortStatus,
    /// For how many requests, in millionths.
    pub share: Share,
}

/// The error that a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortStatus {
    /// An HTTP status; a gRPC caller gets the gRPC status that stands for it.
    Http(u16),
    /// A gRPC status; a caller that does not speak gRPC gets 200.
    Grpc(u32),
}
