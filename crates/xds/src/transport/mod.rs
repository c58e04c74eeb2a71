//! The gRPC shell around the two state machines: sockets, TLS, tokens, deadlines and back-off; no decisions.

mod backoff;
pub mod certificates;
mod client;
mod dial;
mod rate_limit;
mod server;
mod stream;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use backoff::LONGEST as LONGEST_PAUSE;
pub use client::{Believe, Event, Settings, Trust, follow, follow_beside, follow_trusting};
pub use rate_limit::RateLimitService;
pub use server::{DeltaService, Requests, Session};

const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const WHOLE_METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Bytes in flight per stream and per connection: a push for a large mesh is tens of megabytes, and the 64 KiB
/// of the standard would cost it a round trip each.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all streams of a connection.
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// A dead peer is noticed after an interval and a timeout.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a ping may stay unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest push that a proxy takes.
const LARGEST_RESPONSE: usize = 256 << 20;
/// The largest question: names and versions of everything that a proxy has.
const LARGEST_REQUEST: usize = 32 << 20;
