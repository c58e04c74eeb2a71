//! A limit on requests that each proxy keeps by itself. Envoy: `envoy.filters.http.local_ratelimit`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::HeaderOperations;

/// All of something, in millionths.
pub const ALL: u32 = 1_000_000;

/// A token bucket, and what happens when it is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalRateLimit {
    /// Prefix of statistics.
    pub stat_prefix: String,
    /// Status of requests over the limit.
    pub status: u16,
    /// Tokens in a full bucket; each request takes one.
    pub max_tokens: u32,
    /// Tokens that come in each interval.
    pub tokens_per_fill: u32,
    /// The interval.
    pub fill_interval: Duration,
    /// Millionths of requests that take a token.
    pub enabled: u32,
    /// Millionths of those without a token that are refused; the others pass, changed.
    pub enforced: u32,
    /// Changes to the refusal.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub response_headers: HeaderOperations,
    /// Changes to requests over the limit that pass.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub request_headers: HeaderOperations,
    /// Responses say limit, rest and time in `x-ratelimit-*`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub says_limits: bool,
    /// gRPC callers learn RESOURCE_EXHAUSTED instead of UNAVAILABLE.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resource_exhausted: bool,
}
