//! `connectionPool` and `retryBudget` → limits of a cluster. A limit of 0 is one that was not set: Istio cannot tell
//! them apart.

use resources::istio::destination_rule::{self as istio, ConnectionPool};
use snapshot::{CircuitBreaker, RetryBudget};

/// The limits.
pub(crate) fn circuit_breaker(
    pool: Option<&ConnectionPool>,
    budget: Option<&istio::RetryBudget>,
) -> CircuitBreaker {
    let tcp = pool.and_then(|pool| pool.tcp.clone()).unwrap_or_default();
    let http = pool.and_then(|pool| pool.http.clone()).unwrap_or_default();
    CircuitBreaker {
        max_connections: above_zero(tcp.max_connections),
        max_pending_requests: above_zero(http.http1_max_pending_requests),
        max_requests: above_zero(http.http2_max_requests),
        max_retries: above_zero(http.max_retries),
        retry_budget: budget.map(retry_budget),
        max_requests_per_connection: above_zero(http.max_requests_per_connection),
        idle_timeout: http.idle_timeout.or(tcp.idle_timeout).map(|timeout| timeout.0),
        max_connection_duration: tcp.max_connection_duration.map(|limit| limit.0),
    }
}

fn retry_budget(budget: &istio::RetryBudget) -> RetryBudget {
    let default = RetryBudget::default();
    RetryBudget {
        percent: budget.percent.unwrap_or(default.percent),
        min_retry_concurrency: budget
            .min_retry_concurrency
            .unwrap_or(default.min_retry_concurrency),
        interval: budget
            .budget_interval
            .filter(|interval| !interval.is_zero())
            .map(|interval| interval.0),
    }
}

pub(crate) fn above_zero(limit: Option<i32>) -> Option<u32> {
    limit
        .and_then(|limit| u32::try_from(limit).ok())
        .filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_limit_and_the_idle_timeout_of_tcp_stands_in_for_that_of_http() {
        let seconds = |seconds| {
            Some(resources::istio::Duration(std::time::Duration::from_secs(
                seconds,
            )))
        };
        let pool = ConnectionPool {
            tcp: Some(istio::TcpPool {
                max_connections: Some(0),
                idle_timeout: seconds(7),
                ..istio::TcpPool::default()
            }),
            http: Some(istio::HttpPool {
                http2_max_requests: Some(3),
                ..istio::HttpPool::default()
            }),
        };
        let limits = circuit_breaker(Some(&pool), Some(&istio::RetryBudget::default()));
        assert_eq!(
            limits,
            CircuitBreaker {
                max_requests: Some(3),
                retry_budget: Some(RetryBudget::default()),
                idle_timeout: Some(std::time::Duration::from_secs(7)),
                ..CircuitBreaker::default()
            }
        );
    }
}
