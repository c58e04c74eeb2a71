//! Asks a server about limits that it keeps for all proxies, in Envoy's protocol, within its time. What becomes of a
//! request while it cannot be asked, the policy says; nothing waits for it longer than that.

use std::borrow::Cow;
use std::cell::Cell;

use snapshot::HeaderField;
use snapshot::rate_limit::LimitServer;
use xds::rate_limit::{Descriptor, METHOD, Question, Verdict};

use super::caller::Caller;
use super::{Limiter, Told};
use crate::active::Active;
use crate::http::codec::Fields;
use crate::http::exchange::Exchange;
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
    for batch in batches(exchange, limiter, server, asked) {
        let (positions, descriptors): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let question = Question {
            domain: server.domain.clone(),
            descriptors,
        };
        let answer = match inquire(exchange, active, server, &question).await {
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
    server: &LimitServer,
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
    let inquiry = Inquiry {
        worker,
        cluster,
        ends: exchange.connection.ends,
        limit: Some(server.timeout),
        key: Some(xxhash::hash(&message)),
        longest: LONGEST,
        abandoned: Cell::default(),
    };
    let answer = inquiry.call(METHOD, &server.authority, fields, &message).await;
    let answer = answer.map_err(|error| error.to_string())?;
    Verdict::decode(&answer).map_err(|error| error.to_string())
}

fn judge(
    exchange: &mut Exchange<'_>,
    limiter: &Limiter,
    positions: &[usize],
    verdict: Verdict,
) -> Option<LocalReply> {
    let (mut refusing, mut ignored) = (None, false);
    for (position, status) in positions.iter().zip(&verdict.statuses) {
        let limit = &limiter.facts.limits[*position];
        if limiter.says(limit) {
            let told = Told::of_server(&limiter.facts, limit, status);
            Told::keep(&mut exchange.record.told, told);
        }
        if status.over && limit.dry_run {
            ignored = true;
            limiter.count(exchange, *position, LimitOutcome::DryRun);
            limiter.write_down(exchange, *position);
        } else if status.over {
            refusing = refusing.or(Some(*position));
        }
    }
    // A server need not say which limit it was.
    if verdict.over && refusing.is_none() && !ignored {
        let enforced = |position: &&usize| !limiter.facts.limits[**position].dry_run;
        refusing = positions.iter().find(enforced).copied();
    }
    let fields: Vec<_> = verdict.response_fields.into_iter().filter(may_be_set).collect();
    if !fields.is_empty() {
        Told::keep(&mut exchange.record.told, Told::fields(fields));
    }
    let Some(position) = refusing else {
        for (name, value) in verdict.request_fields.into_iter().filter(may_be_set) {
            exchange.request.fields.push(&name, value.as_bytes());
        }
        return None;
    };
    limiter.count(exchange, position, LimitOutcome::Refused);
    limiter.write_down(exchange, position);
    exchange.record.flag(Flag::RateLimited);
    exchange.record.details = Cow::Borrowed(REFUSED_THERE);
    let body = String::from_utf8_lossy(&verdict.body);
    let mut reply = reply::stated(limiter.facts.status, None, &body, &exchange.request);
    reply.response.fields.push("x-envoy-ratelimited", b"true");
    Some(reply)
}

/// What frames messages is nobody's to set, and neither is what breaks out of a field.
fn may_be_set((name, value): &(String, String)) -> bool {
    let clean = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    HeaderField::new(name, "").is_ok() && value.bytes().all(clean)
}

fn unreached(
    exchange: &mut Exchange<'_>,
    limiter: &Limiter,
    server: &LimitServer,
    positions: &[usize],
) -> Option<LocalReply> {
    let enforced = positions
        .iter()
        .find(|position| !limiter.facts.limits[**position].dry_run);
    let closed = enforced.filter(|_| server.fails_closed);
    for position in positions {
        let outcome = match closed {
            Some(_) => LimitOutcome::FailedClosed,
            None => LimitOutcome::FailedOpen,
        };
        limiter.count(exchange, *position, outcome);
    }
    let position = closed?;
    limiter.write_down(exchange, *position);
    exchange.record.flag(Flag::RateLimitServiceError);
    exchange.record.details = Cow::Borrowed(UNREACHED);
    Some(reply::stated(ERROR, None, "", &exchange.request))
}
