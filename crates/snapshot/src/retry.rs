//! Retries of a route. Istio: `HTTPRetry`; the default policy is in Istio's "Traffic management" concepts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When and how often a request is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first one.
    pub attempts: u32,
    /// Envoy's conditions: `connect-failure`, `refused-stream`, `unavailable`, `cancelled`,
    /// `retriable-status-codes` …
    pub on: Vec<String>,
    /// Statuses for `retriable-status-codes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status_codes: Vec<u16>,
    /// Limit of each try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Duration>,
    /// Prefer hosts that this request has not tried (Envoy: `previous_hosts`).
    #[serde(default)]
    pub avoid_previous_hosts: bool,
}

impl Default for Retry {
    /// Istio's default for every HTTP route: 2 more tries, on failures that provably reached nobody.
    fn default() -> Self {
        Self {
            attempts: 2,
            on: ["connect-failure", "refused-stream", "unavailable", "cancelled"]
                .map(String::from)
                .to_vec(),
            status_codes: Vec::new(),
            per_try_timeout: None,
            avoid_previous_hosts: true,
        }
    }
}
