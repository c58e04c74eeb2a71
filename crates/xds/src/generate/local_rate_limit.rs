//! Local rate limits of filters and routes.

use std::time::Duration;

use proptest::prelude::*;
use snapshot::local_rate_limit::ALL;
use snapshot::{HeaderOperations, LocalRateLimit};

use super::{header_operations, limit, name};

pub(super) fn local_rate_limit() -> BoxedStrategy<LocalRateLimit> {
    let headers = || {
        header_operations().prop_map(|operations| HeaderOperations {
            remove: Vec::new(),
            ..operations
        })
    };
    let numbers = (400..600_u16, any::<u32>(), 1..u32::MAX, 0..=ALL, 0..=ALL);
    let interval = limit().prop_map(|limit| limit.max(Duration::from_millis(50)));
    (
        name(),
        numbers,
        interval,
        (headers(), headers()),
        any::<(bool, bool)>(),
    )
        .prop_map(
            |(stat_prefix, numbers, fill_interval, (response_headers, request_headers), flags)| {
                LocalRateLimit {
                    stat_prefix,
                    status: numbers.0,
                    max_tokens: numbers.1,
                    tokens_per_fill: numbers.2,
                    fill_interval,
                    enabled: numbers.3,
                    enforced: numbers.4,
                    response_headers,
                    request_headers,
                    says_limits: flags.0,
                    resource_exhausted: flags.1,
                }
            },
        )
        .boxed()
}
