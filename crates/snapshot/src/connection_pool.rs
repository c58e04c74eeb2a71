//! How connections of a cluster are kept alive, and what HTTP/2 may carry on one of them.
//! Istio: `connectionPool.tcp.tcpKeepalive`, `connectionPool.http.{maxConcurrentStreams, http2KeepAlive}`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// TCP keepalive of upstream connections. What is not stated is the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpKeepalive {
    /// Probes without answer before a connection is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// Seconds of silence before the first probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u32>,
    /// Seconds between probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
}

/// HTTP/2 towards a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2Options {
    /// Streams at once on one connection, also when its server would take more; `None` leaves it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_streams: Option<u32>,
    /// Pings on connections; `None` sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Http2Keepalive>,
}

impl Http2Options {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// HTTP/2 pings: a connection that does not answer one is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2Keepalive {
    /// Pause between pings; `None` sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Wait for an answer.
    pub timeout: Duration,
}
