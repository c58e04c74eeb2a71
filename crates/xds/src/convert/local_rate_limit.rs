//! Limits that a proxy keeps by itself ⇄ `extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, HttpStatus, TokenBucket};
use snapshot::local_rate_limit::{ALL, LocalRateLimit};

use super::headers;
use super::proto::{duration, number, refuse, to_duration};
use crate::rejected::Reason;

pub(super) const FILTER: &str = "envoy.filters.http.local_ratelimit";
/// Envoy's status where none is stated.
const TOO_MANY_REQUESTS: u16 = 429;
const DRAFT_VERSION_03: i32 = 1;

pub(super) fn to_proto(limit: &LocalRateLimit) -> pb::LocalRateLimit {
    pb::LocalRateLimit {
        stat_prefix: limit.stat_prefix.clone(),
        status: Some(HttpStatus {
            code: limit.status.into(),
        }),
        token_bucket: Some(TokenBucket {
            max_tokens: limit.max_tokens,
            tokens_per_fill: number(limit.tokens_per_fill),
            fill_interval: duration(limit.fill_interval),
        }),
        filter_enabled: Some(fraction(limit.enabled)),
        filter_enforced: Some(fraction(limit.enforced)),
        response_headers_to_add: headers::to_proto(&limit.response_headers).add,
        request_headers_to_add_when_not_enforced: headers::to_proto(&limit.request_headers).add,
        enable_x_ratelimit_headers: if limit.says_limits { DRAFT_VERSION_03 } else { 0 },
        rate_limited_as_resource_exhausted: limit.resource_exhausted,
        ..Default::default()
    }
}

/// `None` without a bucket, which limits nothing.
pub(super) fn from_proto(message: pb::LocalRateLimit) -> Result<Option<LocalRateLimit>, Reason> {
    refuse!(
        message,
        "LocalRateLimit",
        [
            descriptors,
            stage,
            local_rate_limit_per_downstream_connection,
            local_cluster_rate_limit,
            vh_rate_limits,
            always_consume_default_token_bucket,
            rate_limits,
            max_dynamic_descriptors,
            enable_retry_after_header,
        ]
    );
    let Some(bucket) = message.token_bucket else {
        return Ok(None);
    };
    let fill_interval = bucket
        .fill_interval
        .ok_or_else(|| Reason::missing("TokenBucket.fill_interval"))?;
    let fill_interval = to_duration(fill_interval, "TokenBucket.fill_interval")?;
    if fill_interval.as_millis() < 50 {
        return Err(Reason::new("TokenBucket.fill_interval", "is less than 50 ms"));
    }
    let status = message.status.map_or(Ok(TOO_MANY_REQUESTS), |status| {
        u16::try_from(status.code).map_err(|_| Reason::new("LocalRateLimit.status", "is no status"))
    })?;
    Ok(Some(LocalRateLimit {
        stat_prefix: message.stat_prefix,
        // Envoy keeps to errors.
        status: if status < 400 { TOO_MANY_REQUESTS } else { status },
        max_tokens: bucket.max_tokens,
        tokens_per_fill: bucket.tokens_per_fill.map_or(1, |tokens| tokens.value).max(1),
        fill_interval,
        enabled: millionths(message.filter_enabled)?,
        enforced: millionths(message.filter_enforced)?,
        response_headers: headers::from_proto(message.response_headers_to_add, &[])?,
        request_headers: headers::from_proto(message.request_headers_to_add_when_not_enforced, &[])?,
        says_limits: message.enable_x_ratelimit_headers == DRAFT_VERSION_03,
        resource_exhausted: message.rate_limited_as_resource_exhausted,
    }))
}

pub(super) fn fraction(millionths: u32) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: millionths,
            denominator: DenominatorType::Million.into(),
        }),
        ..Default::default()
    }
}

/// Nothing where nothing is said. There is no runtime whose key could say more.
pub(super) fn millionths(value: Option<core::RuntimeFractionalPercent>) -> Result<u32, Reason> {
    let Some(value) = value.and_then(|value| value.default_value) else {
        return Ok(0);
    };
    let parts = match value.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => ALL,
    };
    let scaled = u64::from(value.numerator) * u64::from(ALL / parts);
    u32::try_from(scaled.min(ALL.into()))
        .map_err(|_| Reason::new("FractionalPercent.numerator", "is too large"))
}
