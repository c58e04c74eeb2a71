//! Token buckets: one for all workers, taken from without a lock.
//!
//! A bucket is one number, the time at which it was, or would have been, empty. Tokens trickle in, as in Envoy.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use daemon::clock::{self, Instant};
use snapshot::LocalRateLimit;
use snapshot::local_rate_limit::ALL;

use crate::http::codec::Fields;
use crate::http::exchange::Exchange;
use crate::http::headers::Changes;
use crate::http::reply::{self, LocalReply};
use crate::telemetry::flags::Flag;

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    made: Instant,
    /// Nanoseconds from a full bucket before `made`.
    empty_at: AtomicU64,
    /// Nanoseconds of one token, and of all.
    token: u64,
    all: u64,
}

/// What a response says of the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    limit: u32,
    remaining: u64,
    reset: u64,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(limit: &LocalRateLimit) -> Self {
        let nanoseconds = u64::try_from(limit.fill_interval.as_nanos()).unwrap_or(u64::MAX);
        let token = (nanoseconds / u64::from(limit.tokens_per_fill.max(1))).max(1);
        Self {
            made: clock::now(),
            empty_at: AtomicU64::new(0),
            token,
            all: token.saturating_mul(limit.max_tokens.into()),
        }
    }

    /// Takes a token, if there is one.
    fn take(&self, now: Instant) -> bool {
        let now = self.at(now);
        let taken = self
            .empty_at
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
                let next = empty_at.max(now - self.all) + self.token;
                (next <= now).then_some(next)
            });
        taken.is_ok()
    }

    fn remaining(&self, now: Instant) -> u64 {
        let now = self.at(now);
        let empty_at = self.empty_at.load(Ordering::Relaxed).max(now - self.all);
        now.saturating_sub(empty_at) / self.token
    }

    /// Time since the bucket was filled first; at least that of all tokens.
    fn at(&self, now: Instant) -> u64 {
        let passed = u64::try_from((now - self.made).as_nanos()).unwrap_or(u64::MAX);
        self.all.saturating_add(passed)
    }
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
    let now = clock::now();
    let taken = bucket.take(now);
    exchange.record.limits = limit.says_limits.then(|| Limits {
        limit: limit.max_tokens,
        remaining: bucket.remaining(now),
        reset: Duration::from_nanos(bucket.token).as_secs(),
    });
    if taken {
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

#[cfg(test)]
mod tests {
    use snapshot::HeaderOperations;

    use super::*;

    #[test]
    fn a_bucket_gives_what_it_has_and_what_trickles_in() {
        let limit = LocalRateLimit {
            stat_prefix: String::new(),
            status: 429,
            max_tokens: 2,
            tokens_per_fill: 1,
            fill_interval: Duration::from_secs(10),
            enabled: ALL,
            enforced: ALL,
            response_headers: HeaderOperations::default(),
            request_headers: HeaderOperations::default(),
            says_limits: false,
            resource_exhausted: false,
        };
        let bucket = Bucket::new(&limit);
        let after = |seconds| bucket.made + Duration::from_secs(seconds);
        assert_eq!(bucket.remaining(after(0)), 2);
        assert!(bucket.take(after(0)) && bucket.take(after(1)));
        assert!(!bucket.take(after(2)), "empty");
        assert!(bucket.take(after(11)), "one came");
        assert!(!bucket.take(after(12)));
        assert_eq!(bucket.remaining(after(1000)), 2, "never more than fit in");
    }
}
