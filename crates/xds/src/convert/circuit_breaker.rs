//! Limits of a cluster ⇄ `CircuitBreakers`. Envoy's own defaults are tight (1024, and 3 retries); Istio's are none,
//! said with the largest number. The limits that Envoy keeps elsewhere are in `http.rs`.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt32Value;
use pb::circuit_breakers::{Thresholds, thresholds};
use snapshot::{CircuitBreaker, RetryBudget};

use super::proto::{duration, number, refuse, to_duration};
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
            retry_budget: breaker.retry_budget.map(budget_to_proto),
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
            [priority, max_connection_pools]
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
        retry_budget: normal.retry_budget.map(budget_from_proto).transpose()?,
        ..CircuitBreaker::default()
    })
}

fn budget_to_proto(budget: RetryBudget) -> thresholds::RetryBudget {
    thresholds::RetryBudget {
        budget_percent: Some(Percent {
            value: budget.percent,
        }),
        min_retry_concurrency: number(budget.min_retry_concurrency),
        budget_interval: budget.interval.and_then(duration),
    }
}

fn budget_from_proto(message: thresholds::RetryBudget) -> Result<RetryBudget, Reason> {
    let envoys = RetryBudget::default();
    let interval = message
        .budget_interval
        .map(|interval| to_duration(interval, "RetryBudget.budget_interval"))
        .transpose()?;
    Ok(RetryBudget {
        percent: message
            .budget_percent
            .map_or(envoys.percent, |percent| percent.value),
        min_retry_concurrency: message
            .min_retry_concurrency
            .map_or(envoys.min_retry_concurrency, |count| count.value),
        interval: interval.filter(|interval| !interval.is_zero()),
    })
}
