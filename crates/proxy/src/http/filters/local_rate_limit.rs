//! Limits of files for Envoy: a token bucket for all workers, of a listener or of a route. Policies of the mesh are in
//! `rate_limit/`.

use std::borrow::Cow;

use daemon::buckets::{Bucket, Rate};
use daemon::clock;
use snapshot::LocalRateLimit;
use snapshot::local_rate_limit::ALL;

use crate::http::codec::Fields;
use crate::http::exchange::Exchange;
use crate::http::headers::Changes;
use crate::http::reply::{self, LocalReply};
use crate::telemetry::flags::Flag;

/// What a response says of the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    limit: u32,
    remaining: u64,
    reset: u64,
}

/// The bucket of a limit.
pub(crate) fn bucket(limit: &LocalRateLimit) -> Bucket {
    Bucket::new(Rate::new(
        limit.tokens_per_fill,
        limit.fill_interval,
        limit.max_tokens,
        clock::now(),
    ))
}

impl Limits {
    /// Adds them to a response.
    pub(crate) fn apply(&self, fields: &mut Fields) {
        fields.set("x-ratelimit-limit", self.limit.to_string().as_bytes());
        fields.set("x-ratelimit-remaining", self.remaining.to_string().as_bytes());
        fields.set("x-ratelimit-reset", self.reset.to_string().as_bytes());
    }
}

/// Takes a token for the request, or answers it.
pub(super) fn check(
    exchange: &mut Exchange<'_>,
    limit: &LocalRateLimit,
    bucket: &Bucket,
) -> Option<LocalReply> {
    let random = &exchange.connection.worker.random;
    let chosen = |millionths: u32| millionths >= ALL || random.next() % u64::from(ALL) < millionths.into();
    if !chosen(limit.enabled) {
        return None;
    }
    let left = bucket.take(clock::now(), 1);
    exchange.record.limits = limit.says_limits.then(|| Limits {
        limit: limit.max_tokens,
        remaining: left.remaining,
        reset: bucket.rate().token().as_secs(),
    });
    if left.taken {
        return None;
    }
    if !chosen(limit.enforced) {
        let facts = exchange.facts("");
        let changes = Changes::new(&limit.request_headers, &facts);
        changes.apply(&mut exchange.request.fields);
        return None;
    }
    exchange.record.flags = exchange.record.flags.with(Flag::RateLimited);
    exchange.record.details = Cow::Borrowed("local_rate_limited");
    let mut reply = reply::stated(limit.status, None, "local_rate_limited", &exchange.request);
    if limit.resource_exhausted && reply.response.fields.contains("grpc-status") {
        reply.response.fields.set("grpc-status", b"8");
    }
    let facts = exchange.facts("");
    Changes::new(&limit.response_headers, &facts).apply(&mut reply.response.fields);
    Some(reply)
}
