//! Somebody else decides: a request waits while a service is asked whether it may pass, as Envoy's `ext_authz`.
//!
//! The service is somebody else's program: what it answers has bounds, nothing of it frames a message, and without an
//! answer in time the request is refused, unless its owner wants it otherwise.

mod answer;
mod permit;
mod question;

use std::borrow::Cow;
use std::cell::Cell;

use bytes::Bytes;
use serde_json::{Map, Value};
use snapshot::ExtAuthz;
use snapshot::ext_authz::{AuthorizationService, CheckedBody, RouteExtAuthz};
use snapshot::route::Found;
use xds::check::{self, Decision, Permission, Refusal, Verdict};

use crate::active::Active;
use crate::error::{RequestError, UpstreamError};
use crate::http::body::Ahead;
use crate::http::exchange::Exchange;
use crate::http::forward::request_failed;
use crate::http::inquiry::{Inquiry, InquiryError};
use crate::http::reply::{self, LocalReply};
use crate::telemetry::flags::Flag;
use crate::telemetry::metrics::{Decider, Denial};

pub(crate) use permit::{apply, has_room, is_field};
pub(crate) use question::metadata;

/// Where its findings are kept.
const METADATA: &str = "envoy.filters.http.ext_authz";
/// Most bytes of a service's answer; gRPC's own bound of a message.
pub(crate) const LONGEST_ANSWER: usize = 4 << 20;
pub(crate) const DENIED: &str = "ext_authz_denied";
pub(crate) const ERROR: &str = "ext_authz_error";
const INVALID: &str = "ext_authz_invalid";
const OVERLOAD: &str = "overload";
const TOO_LARGE: &str = "request_payload_too_large";

/// What becomes of the request.
pub(super) enum Outcome {
    /// It goes on.
    Passes,
    /// It goes on, changed: its route is looked for anew.
    PassesAnew,
    /// It is answered.
    Answered(LocalReply),
}

/// Asks about the request, if it is one to ask about. A route may have its own settings.
pub(super) async fn decide(
    exchange: &mut Exchange<'_>,
    active: &Active,
    found: Option<&Found<'_>>,
    filter: &ExtAuthz,
) -> Result<Outcome, RequestError> {
    let route = found.and_then(|found| found.route.ext_authz.as_deref());
    if route.is_some_and(|route| route.disabled) {
        return Ok(Outcome::Passes);
    }
    if !concerns(exchange, filter) {
        if !filter.deny_unasked {
            return Ok(Outcome::Passes);
        }
        count(exchange, filter);
        return Ok(refused(
            exchange,
            filter.status_on_error,
            Refusal::default(),
            ERROR,
        ));
    }
    let body = match body_settings(exchange, filter, route) {
        None => None,
        Some(settings) => match read(exchange, settings).await? {
            Some(answer) => return Ok(Outcome::Answered(answer)),
            None => Some(settings),
        },
    };
    let asked = ask(exchange, active, filter, (route, body)).await?;
    let outcome = match asked {
        Ok(decision) => take(exchange, filter, decision),
        Err(error) => {
            tracing::debug!(%error, service = %filter.service.cluster(), "no decision about a request");
            failed(exchange, filter, None)
        }
    };
    if matches!(outcome, Outcome::Answered(_)) {
        count(exchange, filter);
        // Meanwhile the rest of the request may have come, and the connection may stay.
        exchange.skip_what_is_there().await;
    }
    Ok(outcome)
}

/// Counts a refusal, by the name of the rule that wanted the service asked.
fn count(exchange: &Exchange<'_>, filter: &ExtAuthz) {
    let rule = exchange.record.told(filter.when.as_ref());
    let metrics = &exchange.connection.worker.metrics;
    metrics.denied(Decider::Custom, Denial::Enforced, rule);
}

/// Whether the service is asked about the request.
fn concerns(exchange: &Exchange<'_>, filter: &ExtAuthz) -> bool {
    let random = &exchange.connection.worker.random;
    let all = snapshot::local_rate_limit::ALL;
    let chosen = filter.share >= all || random.next() % u64::from(all) < filter.share.into();
    let condition = filter.when.as_ref();
    chosen && condition.is_none_or(|condition| exchange.record.satisfies(condition))
}

/// What the service is told of this request's body. What follows a request for another protocol is none.
fn body_settings(
    exchange: &Exchange<'_>,
    filter: &ExtAuthz,
    route: Option<&RouteExtAuthz>,
) -> Option<CheckedBody> {
    if route.is_some_and(|route| route.without_body) {
        return None;
    }
    let settings = route.and_then(|route| route.body).or(filter.body);
    let request = &exchange.request;
    settings.filter(|_| !request.length.is_empty() && request.upgrade.is_none())
}

/// Reads the body that the service is told; an answer if it is too long.
async fn read(
    exchange: &mut Exchange<'_>,
    settings: CheckedBody,
) -> Result<Option<LocalReply>, RequestError> {
    let most = usize::try_from(settings.most).unwrap_or(usize::MAX);
    let Exchange { body, reply, .. } = exchange;
    let read = tokio::select! {
        biased;
        () = reply.cancelled() => return Err(RequestError::ClientGone),
        read = body.read_ahead(most, settings.partial) => read,
    };
    Ok(match read.map_err(|error| request_failed(&error))? {
        Ahead::Whole | Ahead::Part => None,
        Ahead::TooLong => {
            exchange.record.details = Cow::Borrowed(TOO_LARGE);
            Some(reply::stated(413, None, "Payload Too Large", &exchange.request))
        }
        Ahead::NoRoom => Some(overloaded(exchange)),
    })
}

/// Others have used up what requests may hold together; it is not the request's fault.
fn overloaded(exchange: &mut Exchange<'_>) -> LocalReply {
    exchange.record.flag(Flag::OverloadManager);
    exchange.record.details = Cow::Borrowed(OVERLOAD);
    let mut reply = reply::stated(503, None, "envoy overloaded", &exchange.request);
    reply.response.fields.push("x-envoy-overloaded", b"true");
    reply
}

/// The service's decision, or why there is none.
async fn ask(
    exchange: &mut Exchange<'_>,
    active: &Active,
    filter: &ExtAuthz,
    (route, body): (Option<&RouteExtAuthz>, Option<CheckedBody>),
) -> Result<Result<Decision, InquiryError>, RequestError> {
    let Some(cluster) = active.cluster(filter.service.cluster()) else {
        return Ok(Err(UpstreamError::NoHealthyEndpoint.into()));
    };
    let connection = exchange.connection;
    let inquiry = |limit| Inquiry {
        worker: &connection.worker,
        cluster,
        ends: connection.ends,
        limit,
        key: None,
        longest: LONGEST_ANSWER,
        abandoned: Cell::default(),
    };
    match &filter.service {
        AuthorizationService::Grpc(service) => {
            let message = question::message(exchange, filter, route, body);
            let fields = question::metadata(service, &exchange.facts(""));
            let inquiry = inquiry(service.timeout);
            let answer = inquiry.call(check::METHOD, service.authority(), fields, &message);
            let answer = tokio::select! {
                biased;
                () = left(exchange, &inquiry) => return Err(RequestError::ClientGone),
                answer = answer => answer,
            };
            Ok(answer.and_then(|message| check::decode(&message).map_err(|_| InquiryError::NoMessage)))
        }
        AuthorizationService::Http(service) => {
            let (request, content) = question::request(exchange, filter, service, body);
            let inquiry = inquiry(service.timeout);
            let answer = inquiry.ask(request, content);
            let answer = tokio::select! {
                biased;
                () = left(exchange, &inquiry) => return Err(RequestError::ClientGone),
                answer = answer => answer,
            };
            Ok(answer.map(|whole| answer::decision(whole, service)))
        }
    }
}

/// Waits for the client to leave.
async fn left(exchange: &mut Exchange<'_>, inquiry: &Inquiry<'_>) {
    exchange.client_gone().await;
    inquiry.abandoned.set(true);
}

/// Does as the service says.
fn take(exchange: &mut Exchange<'_>, filter: &ExtAuthz, decision: Decision) -> Outcome {
    if decision.is_invalid && filter.validates {
        return invalid(exchange);
    }
    remember(exchange, filter, decision.metadata);
    match decision.verdict {
        Verdict::Allowed(permission) => permitted(exchange, filter, permission),
        Verdict::Failed(refusal) => failed(exchange, filter, refusal),
        Verdict::Denied(refusal) if filter.validates && !permit::is_valid(&refusal) => invalid(exchange),
        Verdict::Denied(mut refusal) => {
            shorten(filter, &mut refusal);
            let status = refusal.status.unwrap_or(snapshot::ext_authz::FORBIDDEN);
            refused(exchange, status, refusal, DENIED)
        }
    }
}

fn remember(exchange: &mut Exchange<'_>, filter: &ExtAuthz, facts: Map<String, Value>) {
    if !facts.is_empty() && !filter.ignores_metadata {
        exchange.record.metadata.merge(METADATA, facts);
    }
}

fn permitted(exchange: &mut Exchange<'_>, filter: &ExtAuthz, permission: Permission) -> Outcome {
    let changes = permission.changes_request();
    match permit::request(&mut exchange.request, permission, filter.validates) {
        Err(problem) => {
            tracing::debug!(problem, service = %filter.service.cluster(), "a permission cannot be followed");
            invalid(exchange)
        }
        Ok(response) => {
            exchange.record.permitted.extend(response);
            match changes && filter.routes_anew {
                true => Outcome::PassesAnew,
                false => Outcome::Passes,
            }
        }
    }
}

/// There is no decision.
fn failed(exchange: &mut Exchange<'_>, filter: &ExtAuthz, refusal: Option<Refusal>) -> Outcome {
    if filter.fail_open {
        if filter.marks_failures {
            let fields = &mut exchange.request.fields;
            fields.push("x-envoy-auth-failure-mode-allowed", b"true");
        }
        return Outcome::Passes;
    }
    // What cannot be said is not said at all.
    let mut refusal = refusal.filter(permit::is_valid).unwrap_or_default();
    shorten(filter, &mut refusal);
    let status = refusal.status.unwrap_or(filter.status_on_error);
    refused(exchange, status, refusal, ERROR)
}

fn invalid(exchange: &mut Exchange<'_>) -> Outcome {
    refused(exchange, 500, Refusal::default(), INVALID)
}

fn refused(exchange: &mut Exchange<'_>, status: u16, refusal: Refusal, details: &'static str) -> Outcome {
    exchange.record.flag(Flag::UnauthorizedExternalService);
    exchange.record.details = Cow::Borrowed(details);
    // Others are none that end a request.
    let is_final = (200..1000).contains(&status);
    let status = if is_final {
        status
    } else {
        snapshot::ext_authz::FORBIDDEN
    };
    let without_body = refusal.body.is_empty();
    let mut reply = reply::with_body(status, Bytes::from(refusal.body), &exchange.request);
    let fields = &mut reply.response.fields;
    let names = refusal.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let names: Vec<_> = names.collect();
    for name in names.iter().filter(|name| permit::may_be_said(name)) {
        // A call of gRPC keeps what makes it one.
        if !(fields.contains("grpc-status") && name == "content-type") {
            fields.remove(name);
        }
    }
    for (name, (_, value)) in names.iter().zip(&refusal.headers) {
        let taken = name == "content-type" && (without_body || fields.contains("grpc-status"));
        if permit::is_field(name, value) && !taken && permit::has_room(fields, name, value) {
            fields.push(name, value);
        }
    }
    Outcome::Answered(reply)
}

fn shorten(filter: &ExtAuthz, refusal: &mut Refusal) {
    let most = usize::try_from(filter.longest_body).unwrap_or(usize::MAX);
    if most > 0 {
        refusal.body.truncate(most);
    }
}
