//! Limits of policies: token buckets of this proxy, shared by all workers without a lock, and limits that a server
//! keeps for all proxies.
//!
//! Once per request and policy, in Envoy's order: the strictest limit first, and none is asked after one has refused.
//! Limits of the proxy come before those of the server, so that what is refused anyway costs no question.

mod caller;
mod server;
mod told;

use std::borrow::Cow;

use daemon::buckets::{Bucket, Callers, Left, Rate};
use daemon::clock::{self, Instant};
use snapshot::RateLimit;
use snapshot::rate_limit::{CompiledRateLimit, Limit};

use crate::active::Active;
use crate::http::codec::Request;
use crate::http::exchange::Exchange;
use crate::http::reply::{self, LocalReply};
use crate::telemetry::flags::Flag;
use crate::telemetry::metrics::LimitOutcome;
use caller::Caller;
pub(crate) use told::Told;

/// Callers of a limit with keys that are known at once; 64 KiB for each such limit.
const CALLERS: usize = 4096;
/// Envoy's words.
const REFUSED_HERE: &str = "local_rate_limited";

/// A policy with its buckets. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Limiter {
    facts: RateLimit,
    compiled: CompiledRateLimit,
    /// By position of the limit.
    buckets: Vec<Buckets>,
}

#[derive(Debug)]
enum Buckets {
    /// Of all callers together.
    One(Bucket),
    /// Of each.
    Each(Box<Callers>),
    /// Somebody else counts.
    Server,
}

/// What the limits of a policy say to a request.
#[derive(Debug, Default)]
struct Judgement {
    told: Option<Told>,
    /// The limit that refuses it.
    refused: Option<usize>,
    /// Limits that would, and only try.
    ignored: Vec<usize>,
    /// Limits that the server has to be asked about.
    asked: Vec<usize>,
}

impl Limiter {
    /// A policy whose buckets are full. Limits that cannot work are logged and for nobody.
    pub(crate) fn new(facts: &RateLimit) -> Self {
        let (compiled, problems) = CompiledRateLimit::new(facts);
        for problem in problems {
            tracing::warn!(%problem, "a limit cannot work");
        }
        let now = clock::now();
        Self {
            buckets: facts
                .limits
                .iter()
                .map(|limit| Buckets::new(limit, now))
                .collect(),
            compiled,
            facts: facts.clone(),
        }
    }

    /// The policy.
    pub(crate) fn facts(&self) -> &RateLimit {
        &self.facts
    }

    fn judge(&self, request: &Request, caller: &Caller<'_>, now: Instant) -> Judgement {
        let mut judgement = Judgement::default();
        for position in self.compiled.matching(request) {
            let limit = &self.facts.limits[position];
            let left = match &self.buckets[position] {
                Buckets::Server => {
                    judgement.asked.push(position);
                    continue;
                }
                Buckets::One(bucket) => Some(bucket.take(now, limit.cost)),
                Buckets::Each(callers) => of_caller(callers, limit, (request, caller), now),
            };
            let Some(left) = left else { continue };
            if self.says(limit) {
                let told = Told::of_bucket(&self.facts, limit, left);
                Told::keep(&mut judgement.told, told);
            }
            match left.taken {
                true => {}
                false if limit.dry_run => judgement.ignored.push(position),
                false => {
                    judgement.refused = Some(position);
                    judgement.asked.clear();
                    return judgement;
                }
            }
        }
        judgement
    }

    fn says(&self, limit: &Limit) -> bool {
        !limit.dry_run && (self.facts.says_limits || self.facts.says_x_limits)
    }

    fn count(&self, exchange: &Exchange<'_>, position: usize, outcome: LimitOutcome) {
        let limit = &self.facts.limits[position];
        let metrics = &exchange.connection.worker.metrics;
        metrics.limited(&self.facts.policy, &limit.name, outcome);
    }

    /// Writes down which limit decided, for who looks for the reason.
    fn write_down(&self, exchange: &mut Exchange<'_>, position: usize) {
        let limit = &self.facts.limits[position];
        exchange.record.limit = Some(format!("{} {}", self.facts.policy, limit.name));
    }

    fn refuse(&self, exchange: &mut Exchange<'_>, position: usize) -> LocalReply {
        self.count(exchange, position, LimitOutcome::Refused);
        self.write_down(exchange, position);
        exchange.record.flag(Flag::RateLimited);
        exchange.record.details = Cow::Borrowed(REFUSED_HERE);
        let body = self.facts.body.as_deref().unwrap_or(REFUSED_HERE);
        reply::stated(self.facts.status, None, body, &exchange.request)
    }
}

impl Buckets {
    fn new(limit: &Limit, now: Instant) -> Self {
        let rate = Rate::new(limit.requests, limit.interval, limit.burst, now);
        match (limit.global, limit.keys.is_empty()) {
            (true, _) => Self::Server,
            (false, true) => Self::One(Bucket::new(rate)),
            (false, false) => Self::Each(Box::new(Callers::new(rate, CALLERS))),
        }
    }
}

/// `None` where the request lacks a key, and the limit is not for it.
fn of_caller(
    callers: &Callers,
    limit: &Limit,
    (request, caller): (&Request, &Caller<'_>),
    now: Instant,
) -> Option<Left> {
    use std::hash::Hasher;
    let mut hasher = callers.hasher();
    let complete = limit.visit(request, caller, &mut |_, value| {
        hasher.write(value.as_bytes());
        // No text has this byte: where a value ends makes a difference.
        hasher.write_u8(0xff);
    });
    complete.then(|| callers.take(hasher.finish(), now, limit.cost))
}

/// Takes what the request needs of every limit that is for it, or answers it.
pub(super) async fn check(
    exchange: &mut Exchange<'_>,
    active: &Active,
    limiter: &Limiter,
) -> Option<LocalReply> {
    let judgement = limiter.judge(&exchange.request, &Caller::of(exchange), clock::now());
    if let Some(told) = judgement.told {
        Told::keep(&mut exchange.record.told, told);
    }
    for position in judgement.ignored {
        limiter.count(exchange, position, LimitOutcome::DryRun);
        limiter.write_down(exchange, position);
    }
    if let Some(position) = judgement.refused {
        return Some(limiter.refuse(exchange, position));
    }
    match judgement.asked.as_slice() {
        [] => None,
        asked => server::ask(exchange, active, limiter, asked).await,
    }
}

#[cfg(test)]
mod tests;
