//! Limits of a cluster. Istio: `DestinationRule.trafficPolicy.connectionPool`; unlimited unless stated.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a cluster may be asked to do at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    /// Connections at once; `None` is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests waiting for a connection; `None` is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Requests at once; `None` is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Retries at once; `None` is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Retries at once in proportion to requests; replaces `max_retries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Requests on one connection before it is closed; `None` is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<u32>,
    /// An idle connection is closed after this; `None` is Envoy's hour, zero is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Longest life of a connection: after it, requests under way end and no others are sent on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<Duration>,
}

/// Retries at once in proportion to requests at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// Retries per hundred requests under way or waiting.
    pub percent: f64,
    /// Retries that are always allowed.
    pub min_retry_concurrency: u32,
    /// Requests count for so long after their begin, also when they have ended; `None` counts those under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
}

impl Default for RetryBudget {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            percent: 20.0,
            min_retry_concurrency: 3,
            interval: None,
        }
    }
}
