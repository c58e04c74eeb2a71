//! Limits of a cluster ⇄ `CircuitBreakers`. Envoy's own defaults are tight (1024, and 3 retries); Istio's are none,
//! said with the largest number. The limits that Envoy keeps elsewhere are in `http.rs`.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::google::protobuf::UInt32Value;
use pb::circuit_breakers::Thresholds;
use snapshot::CircuitBreaker;

use super::proto::{number, refuse};
use crate::rejected::Reason;

const UNLIMITED: u32 = u32::MAX;

pub(super) fn to_proto(breaker: &CircuitBreaker) -> pb::CircuitBreakers {
    let threshold = |limit: Option<u32>| number(limit.unwrap_or(UNLIMITED));
    pb::CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: threshold(breaker.max_connections),
            max_pending_requests: threshold(breaker.max_pending_requests),
            max_requests: threshold(breaker.max_requests),
            max_retries: threshold(breaker.max_retries),
            track_remaining: true,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Everything but what `http.rs` reads.
pub(super) fn from_proto(message: Option<pb::CircuitBreakers>) -> Result<CircuitBreaker, Reason> {
    let message = message.unwrap_or_default();
    refuse!(message, "CircuitBreakers", [per_host_thresholds]);
    let mut normal = Thresholds::default();
    for threshold in message.thresholds {
        refuse!(
            threshold,
            "CircuitBreakers.Thresholds",
            [priority, retry_budget, max_connection_pools]
        );
        normal = threshold;
    }
    let limit = |value: Option<UInt32Value>, default: u32| {
        Some(value.map_or(default, |value| value.value)).filter(|limit| *limit != UNLIMITED)
    };
    Ok(CircuitBreaker {
        max_connections: limit(normal.max_connections, 1024),
        max_pending_requests: limit(normal.max_pending_requests, 1024),
        max_requests: limit(normal.max_requests, 1024),
        max_retries: limit(normal.max_retries, 3),
        ..CircuitBreaker::default()
    })
}
