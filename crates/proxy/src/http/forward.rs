//! Sends a request to one of a route's clusters and its response back: the loop over tries, and one try.
//!
//! During a try the request's body goes up while the response is awaited and comes down; neither waits for the
//! other, and each waits for its receiver.

use std::borrow::Cow;
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use daemon::clock::{self, Instant};
use futures_util::poll;
use snapshot::route::{Forward, Found};
use snapshot::{Direction, Route, Weighted};

use super::body::{Replay, RequestBody};
use super::codec::h1::Refusal;
use super::codec::{Answer, CodecError, Frame, Length, Reply, Request, Response, Version};
use super::exchange::{Exchange, grpc_status};
use super::filters::ext_authz;
use super::grpc_web::{self, GrpcWeb};
use super::hash::Key;
use super::headers::Changes;
use super::life::{Life, Over};
use super::retry::{Attempts, Next};
use super::timeout::{Limits, Patience};
use super::watch::{self, Watch};
use super::{forwarded, hash, mirror, rewrite, upgrade};
use crate::active::Active;
use crate::error::{ProxyError, RequestError, RouteError, StreamError, UpstreamError};
use crate::http::connection::Connection;
use crate::telemetry::flags::Flag;
use crate::telemetry::format::{Facts, occasion};
use crate::telemetry::record::Record;
use crate::upstream::circuit_breaker::{Permit, Resource};
use crate::upstream::load_balancing::Wish;
use crate::upstream::purpose::Purpose;
use crate::upstream::{Cluster, Endpoint, Lease, cluster};

/// What does not change from try to try.
#[derive(Clone, Copy)]
struct Plan<'p> {
    active: &'p Active,
    route: &'p Route,
    forward: &'p Forward,
    target: &'p Weighted,
    cluster: &'p Rc<Cluster>,
    limits: Limits,
    /// The upstream is told which try it gets.
    counts_attempts: bool,
    key: &'p Key,
}

/// Forwards, within the route's timeout.
pub(crate) async fn forward(
    exchange: &mut Exchange<'_>,
    active: &Rc<Active>,
    found: &Found<'_>,
    forward: &Forward,
) -> Result<(), ProxyError> {
    let worker = &exchange.connection.worker;
    let target =
        snapshot::route::pick(&forward.clusters, worker.random.next()).ok_or(RouteError::NoCluster)?;
    let cluster = active
        .cluster(&target.cluster)
        .ok_or(RouteError::NoCluster)?
        .clone();
    exchange.goes_to(&cluster, None);
    exchange.record.upstream.cluster = Some(cluster.clone());
    rewrite::request(exchange, found, forward, target);
    // Of the request as it is sent, as in Envoy.
    let key = match cluster.facts.load_balancing.is_consistent() {
        true => hash::key(&forward.hash, &exchange.request, &exchange.connection.ends),
        false => Key::default(),
    };
    let plan = Plan {
        active,
        route: found.route,
        forward,
        target,
        cluster: &cluster,
        limits: Limits::of(forward, &exchange.request),
        counts_attempts: !found.host.without_attempt_count,
        key: &key,
    };
    plan.announce(&mut exchange.request, 1, Duration::ZERO);
    let patience = exchange.body.patience.clone();
    // What was done with the request before is not the upstream's doing.
    patience.resume();
    let begun = clock::now();
    // A filter may have read all of it.
    let received = match exchange.request.length.is_empty() {
        true => Some(exchange.record.begun),
        false => exchange.body.completed(),
    };
    let replay = Replay::new(forward.retry.is_some(), received);
    let life = Life::of(&exchange.connection.chain.handler, forward, &exchange.request);
    let since = exchange.record.begun;
    let outcome = tokio::select! {
        biased;
        outcome = tries(exchange, plan, &replay) => outcome,
        () = patience.exceeded(begun, plan.limits.whole) => Err(UpstreamError::Timeout.into()),
        over = life.over(since, &patience) => {
            let complete = replay.received.get().is_some();
            Err(ProxyError::Stream(match over {
                Over::Silent => StreamError::Silent { complete },
                Over::TooLong => StreamError::TooLong { complete },
            }))
        }
    };
    exchange.record.times.received = replay.received.get();
    exchange.record.times.forwarded = replay.forwarded.get();
    outcome
}

impl Plan<'_> {
    /// Tells the upstream which try it gets, and how long it has.
    fn announce(&self, request: &mut Request, number: u32, elapsed: Duration) {
        if self.counts_attempts {
            forwarded::attempt(request, number);
        }
        self.limits.announce(&mut request.fields, elapsed);
    }

    /// Whether there may be one more try. The permit of the one before, if there was one, is given back first.
    fn may_retry(&self, replay: &Replay) -> bool {
        replay.permit.take();
        let breaker = &self.cluster.facts.circuit_breaker;
        let permit = self.cluster.live.usage.take(Resource::Retries, breaker);
        let may = permit.is_some();
        replay.permit.replace(permit);
        may
    }
}

/// The loop over tries.
async fn tries(exchange: &mut Exchange<'_>, plan: Plan<'_>, replay: &Replay) -> Result<(), ProxyError> {
    let Plan { cluster, forward, .. } = plan;
    let worker = exchange.connection.worker.clone();
    exchange.record.attempts = 1;
    let mut attempts = Attempts::new(forward.retry.as_ref());
    loop {
        cluster::count(&cluster.live.counters.requests);
        exchange.record.attempts = attempts.number();
        let next = match one_try(exchange, plan, &mut attempts, replay).await {
            Ok(Done::Answered) => return Ok(()),
            Ok(Done::Again) => attempts.another(worker.random.next()),
            Ok(Done::Unprocessed) => {
                attempts.after_error(&UpstreamError::StreamRefused, worker.random.next())
            }
            Err(Failure::Client(error)) => return Err(error.into()),
            Err(Failure::Upstream(error)) => {
                let next = match replay.is_possible() && exchange.record.status.is_none() {
                    true => attempts.after_error(&error, worker.random.next()),
                    false => Next::Final,
                };
                if next == Next::Exhausted {
                    exchange.record.flag(Flag::UpstreamRetryLimitExceeded);
                }
                if !matches!(next, Next::Again(_)) {
                    return Err(error.into());
                }
                if !plan.may_retry(replay) {
                    exchange.record.flags = exchange.record.flags.with(Flag::UpstreamOverflow);
                    return Err(error.into());
                }
                next
            }
        };
        if let Next::Again(wait) = next
            && wait > Duration::ZERO
        {
            clock::sleep(wait).await;
        }
        cluster::count(&cluster.live.counters.retries);
        exchange.record.retried = true;
        exchange.body.rewind();
        let elapsed = exchange.body.patience.elapsed();
        plan.announce(&mut exchange.request, attempts.number(), elapsed);
    }
}

/// How a try ended without failing.
enum Done {
    /// The client has its response.
    Answered,
    /// The response is one that the policy wants to try again; nothing of it was sent.
    Again,
    /// The other side's proxy found nobody who would process the request; nothing of its response was sent.
    Unprocessed,
}

/// Whose fault ended a try.
enum Failure {
    Client(RequestError),
    Upstream(UpstreamError),
}

/// One try: endpoint, connection, conversation.
async fn one_try(
    exchange: &mut Exchange<'_>,
    plan: Plan<'_>,
    attempts: &mut Attempts<'_>,
    replay: &Replay,
) -> Result<Done, Failure> {
    let cluster = plan.cluster;
    let connection = exchange.connection;
    let worker = &connection.worker;
    let endpoint = choose(exchange, plan, attempts)?;
    if attempts.number() == 1 {
        mirror::send(exchange, plan.active, &plan.forward.mirrors, plan.limits.whole);
    }
    exchange.goes_to(cluster, Some(&endpoint));
    let _in_flight = endpoint.pool.begin_request();
    let mut lease = connect(exchange, cluster, &endpoint).await?;
    if let Some(peer) = lease.peer() {
        exchange.met(cluster, &endpoint, peer);
    }
    let Exchange {
        request,
        body,
        reply,
        record,
        ..
    } = exchange;
    let watch = Watch::new(worker, cluster, &endpoint, record.grpc);
    let permit = Cell::new(lease.take_permit());
    let conversation = Conversation {
        connection,
        plan,
        permit: &permit,
        watch: &watch,
        request,
        attempts,
        replay,
        begun: clock::now(),
    };
    let end = match conversation.hold(&mut lease, body, reply, record).await {
        Ok(end) => end,
        Err(Broken::Failed(failure)) => {
            match &failure {
                Failure::Upstream(error) => watch.failed(error),
                Failure::Client(_) => watch.given_up(),
            }
            return Err(failure);
        }
        Err(Broken::Ended(error)) => {
            let unread = lease.unread(&error, request);
            let error = before_response(&error, unread);
            watch.failed(&error);
            return Err(Failure::Upstream(error));
        }
    };
    match end {
        End::Complete => lease.give_back(),
        End::Incomplete => {}
        End::Again => return Ok(Done::Again),
        End::Unprocessed => return Ok(Done::Unprocessed),
        End::Switched => {
            body.patience.rest();
            if let Some(halves) = lease.halves() {
                let passed = upgrade::tunnel(body.source(), reply, halves).await;
                body.received += passed.up.get();
                record.sent += passed.down.get();
                record.response_bytes += passed.down.get();
                if passed.client_left.get() {
                    record.flag(Flag::DownstreamConnectionTermination);
                    record.details = Cow::Borrowed("downstream_remote_disconnect");
                }
            }
        }
    }
    Ok(Done::Answered)
}

/// The endpoint of a try, on the record.
fn choose(
    exchange: &mut Exchange<'_>,
    plan: Plan<'_>,
    attempts: &mut Attempts<'_>,
) -> Result<Rc<Endpoint>, Failure> {
    let connection = exchange.connection;
    let wish = Wish {
        key: plan.key.value,
        tried: attempts.avoided(),
        left: attempts.left(),
        random: &connection.worker.random,
    };
    let picked = plan.cluster.pick(connection.ends.destination, wish);
    exchange.record.upstream.endpoint = None;
    let endpoint = picked.map_err(Failure::Upstream)?;
    attempts.trying(endpoint.address);
    exchange.record.trying(endpoint.address);
    Ok(endpoint)
}

/// A connection to it that nobody else has, or a stream of one, on the record.
async fn connect(
    exchange: &mut Exchange<'_>,
    cluster: &Rc<Cluster>,
    endpoint: &Rc<Endpoint>,
) -> Result<Lease, Failure> {
    let connection = exchange.connection;
    let worker = &connection.worker;
    let http2 = cluster.speaks_http2(exchange.request.version) && exchange.request.upgrade.is_none();
    let purpose = Purpose::of_request(&cluster.facts, &exchange.request.authority, connection.ends);
    let member = endpoint.toward(&purpose);
    let lease = tokio::select! {
        biased;
        lease = Lease::acquire(worker, cluster, &member, http2) => lease,
        () = exchange.client_gone() => return Err(Failure::Client(RequestError::ClientGone)),
    };
    let upstream = &mut exchange.record.upstream;
    match &lease {
        Ok(lease) => {
            upstream.local = lease.local_address();
            upstream.version = Some(if http2 { Version::Http2 } else { Version::Http1 });
        }
        Err(error) => {
            watch::not_connected(worker, cluster, endpoint, error);
            if matches!(error, UpstreamError::Overflow) {
                upstream.endpoint = None;
            }
        }
    }
    lease.map_err(Failure::Upstream)
}

/// How a conversation ended.
enum End {
    /// Both messages are complete.
    Complete,
    /// The response is complete, the request is not: its connection is of no further use.
    Incomplete,
    /// The response is to be tried again.
    Again,
    /// Nobody processed the request, and it can be sent again.
    Unprocessed,
    /// 101: the connection is no longer HTTP.
    Switched,
}

/// How a conversation broke off.
enum Broken {
    Failed(Failure),
    /// The connection ended before a response; what that proves is asked of the lease.
    Ended(CodecError),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What does not change while one request goes up and its response comes down.
struct Conversation<'a> {
    connection: &'a Connection,
    plan: Plan<'a>,
    permit: &'a Cell<Option<Permit>>,
    watch: &'a Watch<'a>,
    request: &'a Request,
    attempts: &'a Attempts<'a>,
    replay: &'a Replay,
    begun: Instant,
}

impl Conversation<'_> {
    async fn hold(
        &self,
        lease: &mut Lease,
        body: &mut RequestBody<'_>,
        reply: &mut Reply<'_>,
        record: &mut Record,
    ) -> Result<End, Broken> {
        let sent = lease.send(self.request);
        let (mut sink, mut answer) = sent.map_err(Broken::Ended)?;
        let complete = Cell::new(false);
        let patience = body.patience.clone();
        let mut upload = pin!(body.upload(&mut sink, self.replay, &complete));
        let head = async {
            loop {
                tokio::select! {
                    biased;
                    error = &mut upload => return Err(Broken::from(client_failed(&error))),
                    () = reply.cancelled() => return Err(Failure::Client(RequestError::ClientGone).into()),
                    head = answer.head() => {
                        let head = head.map_err(Broken::Ended)?;
                        if !head.is_informational() {
                            return Ok(head);
                        }
                        reply.head(&head).await.map_err(client_gone)?;
                    }
                }
            }
        };
        let mut response = tokio::select! {
            biased;
            head = head => head?,
            () = patience.exceeded(self.begun, self.plan.limits.each) => {
                return Err(Failure::Upstream(UpstreamError::TryTimeout).into());
            }
        };
        if response.status == 101 && self.request.upgrade.is_none() {
            return Err(Failure::Upstream(UpstreamError::Protocol(Refusal::SwitchUnasked)).into());
        }
        self.watch.answered(&response);
        if let Some(end) = self.another(&response, record) {
            return Ok(end);
        }
        self.replay.stop();
        self.replay.permit.take();
        patience.stir();
        if let Some(web) = &record.web
            && GrpcWeb::is_foreign(&response)
        {
            let told = tokio::select! {
                biased;
                error = &mut upload => return Err(client_failed(&error).into()),
                told = grpc_web::collect(&mut answer) => told,
            };
            let told = told.map_err(|_| Failure::Upstream(UpstreamError::Truncated))?;
            web.explain(&mut response, &told);
        } else if let Some(web) = &record.web {
            web.head(&mut response);
        }
        self.begin(&mut response, reply, record).await?;
        if response.status == 101 {
            reply.flush().await.map_err(client_gone)?;
            return Ok(End::Switched);
        }
        let owed = Owed::by(&response);
        let download = pin!(download(
            &mut answer,
            reply,
            record,
            &patience,
            (self.permit, &owed)
        ));
        tokio::select! {
            biased;
            // A client that has all that it was promised need not wait for the upstream to say so.
            error = &mut upload => match owed.is_settled() {
                true => Ok(End::Incomplete),
                false => Err(client_failed(&error).into()),
            },
            outcome = download => {
                outcome?;
                Ok(if complete.get() { End::Complete } else { End::Incomplete })
            }
        }
    }

    /// Whether that response is not the last word. Where the policy wants another one and cannot have it, the record
    /// says why.
    fn another(&self, response: &Response, record: &mut Record) -> Option<End> {
        if !self.replay.is_possible() {
            return None;
        }
        let by_proxy = self.connection.chain.direction == Direction::Outbound;
        let unprocessed = by_proxy && forwarded::is_unprocessed(response) && self.attempts.may_resend();
        if !unprocessed && !self.attempts.wants_another(response) {
            return None;
        }
        let flag = if !unprocessed && !self.attempts.has_more() {
            Flag::UpstreamRetryLimitExceeded
        } else if self.plan.may_retry(self.replay) {
            return Some(if unprocessed { End::Unprocessed } else { End::Again });
        } else {
            Flag::UpstreamOverflow
        };
        record.flags = record.flags.with(flag);
        None
    }

    /// Changes the response by what target and route say.
    fn change(&self, response: &mut Response, record: &Record) {
        let Plan { route, target, .. } = self.plan;
        let target_first = std::iter::once(&target.response_headers).filter(|own| !own.is_empty());
        for operations in target_first.chain(route.response_changes()) {
            let facts = Facts {
                worker: &self.connection.worker,
                ends: self.connection.ends,
                occasion: occasion::NONE,
                version: Some(self.request.version),
                request: Some(self.request),
                response: Some(&response.fields),
                route: &route.name,
                record,
            };
            let changes = Changes::new(operations, &facts);
            changes.apply(&mut response.fields);
        }
    }

    /// Sends the head of the response down.
    async fn begin(
        &self,
        response: &mut Response,
        reply: &mut Reply<'_>,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let now = clock::now();
        record.status = Some(response.status);
        record.details = Cow::Borrowed("via_upstream");
        record.times.answered = Some(now);
        if response.status != 101 {
            let received = self.replay.received.get();
            forwarded::response(response, received.map(|received| now - received));
            for cookie in &self.plan.key.cookies {
                response.fields.push("set-cookie", cookie.as_bytes());
            }
            self.change(response, record);
            if let Some(allowed) = &record.cors {
                allowed.apply(&mut response.fields);
            }
            if let Some(limits) = &record.limits {
                limits.apply(&mut response.fields);
            }
            ext_authz::apply(&record.permitted, &mut response.fields);
            if let Some(told) = &record.told {
                told.apply(&mut response.fields);
            }
        }
        forwarded::every_response(response, self.connection);
        forwarded::answer_id(response, self.connection, self.request);
        // A client that asked for another protocol, in vain, has no end to its request.
        let in_vain = self.request.upgrade.is_some() && response.status != 101;
        if in_vain || self.connection.is_draining() {
            reply.close_after();
        }
        record.response_bytes += response.fields.size();
        record.grpc_status = record.grpc_status.or(grpc_status(&response.fields));
        let sent = reply.head(response).await;
        record.response = Some(std::mem::take(&mut response.fields));
        sent.map_err(client_gone)
    }
}

/// What of a response's stated length has not left yet: a client that has all of it may go before the upstream has said
/// that this was all.
struct Owed {
    left: Cell<Option<u64>>,
    settled: Cell<bool>,
}

impl Owed {
    fn by(response: &Response) -> Self {
        let left = match response.length {
            Length::Exact(length) => Some(length),
            Length::Empty | Length::Streamed => None,
        };
        Self {
            left: Cell::new(left),
            settled: Cell::new(false),
        }
    }

    fn pay(&self, bytes: u64) {
        self.left
            .set(self.left.get().map(|left| left.saturating_sub(bytes)));
    }

    /// Everything so far has left.
    fn flushed(&self) {
        self.settled.set(self.left.get() == Some(0));
    }

    fn is_settled(&self) -> bool {
        self.settled.get()
    }
}

/// Sends the body of the response down. Small pieces wait for more, or until none is there. The permit is given back
/// before the end is sent: a client that has seen it may ask again at once, and of another worker.
async fn download(
    answer: &mut Answer<'_>,
    reply: &mut Reply<'_>,
    record: &mut Record,
    patience: &Patience,
    (permit, owed): (&Cell<Option<Permit>>, &Owed),
) -> Result<(), Failure> {
    loop {
        let frame = {
            let mut next = pin!(answer.frame());
            match poll!(next.as_mut()) {
                std::task::Poll::Ready(frame) => frame,
                std::task::Poll::Pending => {
                    reply.flush().await.map_err(client_gone)?;
                    owed.flushed();
                    // However long that takes: the limits are the stream's.
                    next.await
                }
            }
        };
        patience.stir();
        match frame {
            Ok(Some(Frame::Data(data))) => {
                let data = match &mut record.web {
                    Some(web) => web.data(data),
                    None => data,
                };
                record.response_bytes += data.len() as u64;
                record.sent += data.len() as u64;
                owed.pay(data.len() as u64);
                reply.data(data).await.map_err(client_gone)?;
            }
            Ok(Some(Frame::Trailers(fields))) => {
                permit.take();
                record.response_bytes += fields.size();
                record.grpc_status = record.grpc_status.or(grpc_status(&fields));
                let ended = match &mut record.web {
                    None => reply.end(Some(&fields)).await,
                    Some(web) => {
                        let last = web.trailers(&fields);
                        record.sent += last.len() as u64;
                        match reply.data(last).await {
                            Ok(()) => reply.end(None).await,
                            failed => failed,
                        }
                    }
                };
                record.trailers = Some(fields);
                return ended.map_err(client_gone);
            }
            Ok(None) => {
                permit.take();
                return reply.end(None).await.map_err(client_gone);
            }
            Err(error) => {
                tracing::debug!(%error, "response ended early");
                return Err(Failure::Upstream(match before_response(&error, false) {
                    reset @ (UpstreamError::Reset | UpstreamError::StreamRefused) => reset,
                    _ => UpstreamError::Truncated,
                }));
            }
        }
    }
}

/// A client that did not finish its request, or left.
fn client_failed(error: &CodecError) -> Failure {
    Failure::Client(request_failed(error))
}

/// Why a request did not come to its end.
pub(super) fn request_failed(error: &CodecError) -> RequestError {
    match error {
        CodecError::Refused(refusal) => RequestError::Refused(*refusal),
        CodecError::Silent => RequestError::Silent,
        _ => RequestError::ClientGone,
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn client_gone(error: CodecError) -> Failure {
    tracing::debug!(%error, "the client does not take the response");
    Failure::Client(RequestError::ClientGone)
}

pub(super) fn before_response(error: &CodecError, unread: bool) -> UpstreamError {
    match error {
        _ if unread => UpstreamError::Unread,
        CodecError::Refused(refusal) => UpstreamError::Protocol(*refusal),
        CodecError::StreamRefused => UpstreamError::StreamRefused,
        CodecError::Closed
        | CodecError::Reset
        | CodecError::Truncated
        | CodecError::Silent
        | CodecError::Io(_) => UpstreamError::Closed,
        CodecError::Http2(_) => UpstreamError::Reset,
    }
}
