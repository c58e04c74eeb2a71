//! Asks a server about limits that it keeps for all proxies, in Envoy's protocol, within its time. What becomes of a
//! request while it cannot be asked, the policy says; nothing waits for it longer than that, however many questions
//! there are about a request.
//!
//! The server may be somebody else's program: what it answers has bounds, and nothing of it frames a message.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use daemon::clock::{self, Instant};
use snapshot::rate_limit::LimitServer;
use xds::rate_limit::{Descriptor, METHOD, Question, Status, Verdict};

use super::caller::Caller;
use super::{Judgement, Limiter, Told, told};
use crate::active::Active;
use crate::error::UpstreamError;
use crate::http::codec::{Fields, Request};
use crate::http::exchange::Exchange;
use crate::http::filters::ext_authz;
use crate::http::inquiry::Inquiry;
use crate::http::reply::{self, LocalReply};
use crate::telemetry::flags::Flag;
use crate::telemetry::metrics::LimitOutcome;
use crate::upstream::load_balancing::xxhash;

/// Most bytes of an answer: statuses and a few fields.
const LONGEST: usize = 64 << 10;
/// Envoy's words and status.
const REFUSED_THERE: &str = "request_rate_limited";
const UNREACHED: &str = "rate_limiter_error";
const ERROR: u16 = 500;

/// Limits that are asked about together, by position, with what the server is told of each.
type Batch = Vec<(usize, Descriptor)>;

/// Asks about the limits at these positions; the answer to the request, if it is refused.
pub(super) async fn ask(
    exchange: &mut Exchange<'_>,
    active: &Active,
    limiter: &Limiter,
    asked: &[usize],
) -> Option<LocalReply> {
    let server = limiter.facts.server.as_ref()?;
    let begun = clock::now();
    for batch in batches(exchange, limiter, server, asked) {
        let (positions, descriptors): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let question = Question {
            domain: server.domain.clone(),
            descriptors,
        };
        let answer = match inquire(exchange, active, (server, begun), &question).await {
            Ok(verdict) => judge(exchange, limiter, &positions, verdict),
            Err(problem) => {
                tracing::debug!(
                    policy = limiter.facts.policy,
                    problem,
                    "the server of limits was not asked"
                );
                unreached(exchange, limiter, server, &positions)
            }
        };
        if answer.is_some() {
            return answer;
        }
    }
    None
}

/// The mesh's own server counts each key at one of its replicas: each is asked by itself. Others are asked once.
fn batches(exchange: &Exchange<'_>, limiter: &Limiter, server: &LimitServer, asked: &[usize]) -> Vec<Batch> {
    let caller = Caller::of(exchange);
    let descriptors = asked.iter().filter_map(|position| {
        let limit = &limiter.facts.limits[*position];
        let entries = limit.descriptor(&exchange.request, &caller)?;
        let descriptor = Descriptor {
            entries,
            cost: (limit.cost != 1).then(|| limit.cost.into()),
            stated: None,
        };
        Some((*position, descriptor))
    });
    let all: Batch = descriptors.collect();
    match server.own {
        true => all.into_iter().map(|one| vec![one]).collect(),
        false if all.is_empty() => Vec::new(),
        false => vec![all],
    }
}

async fn inquire(
    exchange: &Exchange<'_>,
    active: &Active,
    (server, begun): (&LimitServer, Instant),
    question: &Question,
) -> Result<Verdict, String> {
    let worker = &exchange.connection.worker;
    let cluster = active
        .cluster(&server.cluster)
        .ok_or_else(|| format!("there is no cluster {}", server.cluster))?;
    let mut fields = Fields::default();
    if server.own
        && let Some(token) = worker.token().await
    {
        fields.push("authorization", format!("Bearer {token}").as_bytes());
    }
    let message = question.encode();
    let left = left(server.timeout, clock::now().saturating_duration_since(begun));
    let inquiry = Inquiry {
        worker,
        cluster,
        ends: exchange.connection.ends,
        limit: Some(left.ok_or_else(|| UpstreamError::Timeout.to_string())?),
        key: Some(xxhash::hash(&message)),
        longest: LONGEST,
        abandoned: Cell::default(),
    };
    let answer = inquiry.call(METHOD, &server.authority, fields, &message).await;
    let answer = answer.map_err(|error| error.to_string())?;
    Verdict::decode(&answer).map_err(|error| error.to_string())
}

/// What is left of the time that all questions about a request share; `None` when it is over.
pub(super) fn left(limit: Duration, passed: Duration) -> Option<Duration> {
    limit.checked_sub(passed).filter(|left| !left.is_zero())
}

fn judge(
    exchange: &mut Exchange<'_>,
    limiter: &Limiter,
    positions: &[usize],
    verdict: Verdict,
) -> Option<LocalReply> {
    let judgement = ruling(limiter, positions, &verdict);
    if let Some(told) = judgement.told {
        Told::keep(&mut exchange.record.told, told);
    }
    for position in judgement.ignored {
        limiter.count(exchange, position, LimitOutcome::DryRun);
        limiter.write_down(exchange, position);
    }
    let fields: Vec<_> = verdict.response_fields.into_iter().filter(may_be_set).collect();
    if !fields.is_empty() {
        Told::keep(&mut exchange.record.told, Told::fields(fields));
    }
    let Some(position) = judgement.refused else {
        let fields: Vec<_> = verdict.request_fields.into_iter().filter(may_be_set).collect();
        told::add(&mut exchange.request.fields, &fields);
        return None;
    };
    limiter.count(exchange, position, LimitOutcome::Refused);
    limiter.write_down(exchange, position);
    exchange.record.flag(Flag::RateLimited);
    exchange.record.details = Cow::Borrowed(REFUSED_THERE);
    Some(refusal(limiter.facts.status, verdict.body, &exchange.request))
}

/// What a verdict means for the limits at these positions. As for Envoy, a request passes that the server lets pass,
/// whatever it says of single limits: one that only watches says that they are used up. Limits that are tried out here
/// go by what it says of them.
pub(super) fn ruling(limiter: &Limiter, positions: &[usize], verdict: &Verdict) -> Judgement {
    let mut judgement = Judgement::default();
    for (position, status) in positions.iter().zip(&verdict.statuses) {
        let limit = &limiter.facts.limits[*position];
        let refuses = verdict.over && status.over;
        if limiter.says(limit) && (refuses || has_numbers(status)) {
            let told = Told::of_server(&limiter.facts, limit, status, refuses);
            Told::keep(&mut judgement.told, told);
        }
        if status.over && limit.dry_run {
            judgement.ignored.push(*position);
        } else if refuses {
            judgement.refused = judgement.refused.or(Some(*position));
        }
    }
    // A server need not say which limit it was.
    if verdict.over && judgement.refused.is_none() && judgement.ignored.is_empty() {
        let enforced = |position: &&usize| !limiter.facts.limits[**position].dry_run;
        judgement.refused = positions.iter().find(enforced).copied();
    }
    judgement
}

/// Where the server has no rule, or one that limits nothing, there is nothing to tell.
fn has_numbers(status: &Status) -> bool {
    status.rate.is_some() && status.remaining < u32::MAX
}

/// What is answered to a request over a limit. The body is the server's.
pub(super) fn refusal(status: u16, body: Bytes, request: &Request) -> LocalReply {
    let mut reply = reply::with_body(status, body, request);
    reply.response.fields.push("x-envoy-ratelimited", b"true");
    reply
}

/// What frames messages is nobody's to set, and neither is what breaks out of a field.
fn may_be_set((name, value): &(String, String)) -> bool {
    ext_authz::is_field(&name.to_ascii_lowercase(), value.as_bytes())
}

fn unreached(
    exchange: &mut Exchange<'_>,
    limiter: &Limiter,
    server: &LimitServer,
    positions: &[usize],
) -> Option<LocalReply> {
    let mut closed = None;
    for (position, outcome) in outcomes(limiter, positions, server.fails_closed) {
        limiter.count(exchange, position, outcome);
        if outcome == LimitOutcome::FailedClosed {
            closed = closed.or(Some(position));
        }
    }
    let position = closed?;
    limiter.write_down(exchange, position);
    exchange.record.flag(Flag::RateLimitServiceError);
    exchange.record.details = Cow::Borrowed(UNREACHED);
    Some(reply::stated(ERROR, None, "", &exchange.request))
}

/// What becomes of limits whose server was not reached. Those that are tried out refuse nothing.
pub(super) fn outcomes(
    limiter: &Limiter,
    positions: &[usize],
    fails_closed: bool,
) -> Vec<(usize, LimitOutcome)> {
    let outcome = |position: usize| match fails_closed && !limiter.facts.limits[position].dry_run {
        true => LimitOutcome::FailedClosed,
        false => LimitOutcome::FailedOpen,
    };
    let positions = positions.iter();
    positions
        .map(|position| (*position, outcome(*position)))
        .collect()
}
