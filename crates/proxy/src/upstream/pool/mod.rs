//! Connections of one endpoint, kept by one worker.
//!
//! HTTP/1.1: idle connections are a stack, so that few stay warm and the rest time out. HTTP/2: few connections are
//! shared by many streams. A connection that turns out closed when it is taken is dropped; one that closes under
//! a request is that request's concern ([`UpstreamError::Closed`], [`Lease::unread`]).
//!
//! Limits are Envoy's: a request that needs a connection is pending until it has one, also while that is opened; a
//! request on a connection counts as one. Where the cluster has as many connections as it may, requests wait for one
//! of their own endpoint; a pool without any opens its first one nevertheless, or they would wait for ever.

mod http1;
mod http2;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use daemon::clock::{self, Instant};
use snapshot::CircuitBreaker;

use super::circuit_breaker::{Permit, Resource};
use super::connect::{self, Way};
use super::purpose::Purpose;
use super::queue::Queue;
use super::{Cluster, Endpoint, cluster};
use crate::error::UpstreamError;
use crate::http::codec::{Answer, CodecError, Request, Sink, Version, h1, h2};
use crate::tls::peer::Peer;
use crate::worker::Worker;
use http1::Http1;
use http2::{Shared, StreamOf};

/// Most purposes of one endpoint with a pool of their own.
const MAX_PURPOSES: usize = 256;

/// Connections of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    /// An HTTP/2 connection is being opened: a burst opens one and not many.
    opening: Cell<bool>,
    /// Requests that have to wait for a connection.
    queue: Rc<Queue<Handed>>,
    /// Connections of all kinds, also those that are being opened.
    connections: Cell<u32>,
    in_flight: Cell<u32>,
    retired: Cell<bool>,
    pub(crate) purpose: Purpose,
    /// Pools for requests that do not share connections with others; empty for most clusters.
    special: RefCell<foldhash::HashMap<Purpose, Rc<Pool>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    since: Instant,
}

/// What a request that waits may be given.
#[derive(Debug)]
enum Handed {
    Connection(Box<Http1>),
    /// There may be room on a connection, or for another one.
    LookAgain,
    /// A connection could not be opened: Envoy lets all who wait hear of it.
    Failed(UpstreamError),
}

/// The place of one connection in its pool.
#[derive(Debug)]
struct Slot {
    /// Idle connections belong to their pool, and must not keep it.
    pool: Weak<Pool>,
    _permit: Permit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        pool.connections.set(pool.connections.get() - 1);
        let _ = pool.queue.hand(Handed::LookAgain);
    }
}

/// A request under way to an endpoint; counts until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Pool>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Pool {
    /// The pool for that purpose. Beyond a number of them those that nobody uses are given up.
    pub(crate) fn special(&self, purpose: &Purpose) -> Rc<Self> {
        let mut special = self.special.borrow_mut();
        if special.len() >= MAX_PURPOSES {
            special.retain(|_, pool| Rc::strong_count(pool) > 1);
        }
        let new = || {
            Rc::new(Self {
                purpose: purpose.clone(),
                retired: self.retired.clone(),
                ..Self::default()
            })
        };
        special.entry(purpose.clone()).or_insert_with(new).clone()
    }

    /// Counts a request until the result is dropped.
    pub(crate) fn begin_request(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(self.clone())
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Whether there is any connection or request.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_flight.get() > 0
            || !self.idle.borrow().is_empty()
            || !self.shared.borrow().is_empty()
            || !self.special.borrow().is_empty()
    }

    /// The endpoint is wanted again.
    pub(crate) fn revive(&self) {
        self.retired.set(false);
        self.special.borrow().values().for_each(|pool| pool.revive());
    }

    /// The endpoint is gone, or going: nothing is kept any more.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
        self.special.borrow().values().for_each(|pool| pool.retire());
    }

    /// Drops what has been idle or alive for too long, or was closed by the other side.
    pub(crate) fn sweep(&self, now: Instant, breaker: &CircuitBreaker) {
        let (idle, shared) = (self.idle.take(), self.shared.take());
        let kept = idle
            .into_iter()
            .filter(|idle| idle.is_good(now, breaker) && idle.connection.is_quiet());
        let kept: Vec<_> = kept.collect();
        self.idle.borrow_mut().extend(kept);
        let kept: Vec<_> = shared
            .into_iter()
            .filter(|shared| shared.is_good(now, breaker))
            .collect();
        self.shared.borrow_mut().extend(kept);
        self.special.borrow_mut().retain(|_, pool| {
            pool.sweep(now, breaker);
            pool.is_in_use() || Rc::strong_count(pool) > 1
        });
    }

    /// A place for one more connection.
    fn slot(self: &Rc<Self>, cluster: &Cluster) -> Option<Slot> {
        let (usage, breaker) = (&cluster.live.usage, &cluster.facts.circuit_breaker);
        let first = || (self.connections.get() == 0).then(|| usage.take_anyway(Resource::Connections));
        let permit = usage.take(Resource::Connections, breaker).or_else(first)?;
        self.connections.set(self.connections.get() + 1);
        Some(Slot {
            pool: Rc::downgrade(self),
            _permit: permit,
        })
    }

    /// Waits in turn for whatever comes first.
    async fn wait(self: &Rc<Self>, number: u64) -> Handed {
        let handed = self.queue.wait(number, |handed| self.pass_on(handed)).await;
        handed.unwrap_or(Handed::LookAgain)
    }

    /// Something was meant for a request that has gone.
    fn pass_on(&self, handed: Handed) {
        match handed {
            Handed::Connection(connection) => self.put_back(*connection),
            Handed::LookAgain => drop(self.queue.hand(Handed::LookAgain)),
            Handed::Failed(_) => {}
        }
    }

    /// Tells all who wait that a connection could not be opened.
    fn fail(&self, error: &UpstreamError) {
        self.queue.hand_all(|| Handed::Failed(error.same()));
    }
}

impl Idle {
    fn is_good(&self, now: Instant, breaker: &CircuitBreaker) -> bool {
        let idle = idle_limit(breaker).is_none_or(|limit| now - self.since < limit);
        idle && !has_aged(self.connection.born, now, breaker)
    }
}

/// How long a connection may be idle.
fn idle_limit(breaker: &CircuitBreaker) -> Option<Duration> {
    let limit = breaker.idle_timeout.unwrap_or(crate::transport::SILENCE);
    (!limit.is_zero()).then_some(limit)
}

/// Whether a connection may take no further request because of its age.
fn has_aged(born: Instant, now: Instant, breaker: &CircuitBreaker) -> bool {
    breaker
        .max_connection_duration
        .is_some_and(|limit| now - born >= limit)
}

/// A connection for one request. Dropped early, an HTTP/1.1 connection closes and an HTTP/2 stream is cancelled.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Connection,
    pool: Rc<Pool>,
    cluster: Rc<Cluster>,
    request: Option<Permit>,
}

#[derive(Debug)]
enum Connection {
    Http1(Box<Http1>),
    Http2(StreamOf),
}

impl Lease {
    /// Finds or opens a connection to `endpoint`.
    pub(crate) async fn acquire(
        worker: &Worker,
        cluster: &Rc<Cluster>,
        endpoint: &Endpoint,
        over_http2: bool,
    ) -> Result<Self, UpstreamError> {
        let pool = &endpoint.pool;
        let connection = if over_http2 {
            Connection::Http2(http2::stream(worker, cluster, endpoint).await?)
        } else {
            Connection::Http1(Box::new(http1::connection(worker, cluster, endpoint).await?))
        };
        let (usage, breaker) = (&cluster.live.usage, &cluster.facts.circuit_breaker);
        match (usage.take(Resource::Requests, breaker), connection) {
            (Some(request), connection) => Ok(Self {
                connection,
                pool: pool.clone(),
                cluster: cluster.clone(),
                request: Some(request),
            }),
            (None, Connection::Http1(connection)) => {
                pool.put_back(*connection);
                Err(UpstreamError::Overflow)
            }
            (None, Connection::Http2(_)) => Err(UpstreamError::Overflow),
        }
    }

    /// Whether a connection that ended with `error` before any byte of a response proves that nobody has read the
    /// request. Either the peer had closed before its bytes came: its end would have confirmed them. Or the peer's
    /// kernel threw the connection away, which it does when a program ends or closes with bytes unread: of a request
    /// that is its head alone, the program then lacks at least the end. (A program that asks for a reset with
    /// `SO_LINGER` after it has read a request looks the same: docs/decisions/0016.)
    pub(crate) fn unread(&self, error: &CodecError, request: &Request) -> bool {
        match (&self.connection, error) {
            (Connection::Http1(_), CodecError::Reset) => request.length.is_empty(),
            (Connection::Http1(connection), CodecError::Closed) => connection.writer.nothing_arrived(),
            _ => false,
        }
    }

    /// The right to the request, for one who gives it back before the lease ends.
    pub(crate) fn take_permit(&mut self) -> Option<Permit> {
        self.request.take()
    }

    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.connection {
            Connection::Http1(connection) => connection.local,
            Connection::Http2(stream) => stream.local_address(),
        }
    }

    /// Who is at the other end, if it has shown a certificate.
    pub(crate) fn peer(&self) -> Option<&Arc<Peer>> {
        match &self.connection {
            Connection::Http1(connection) => connection.peer.as_ref(),
            Connection::Http2(stream) => stream.peer(),
        }
    }

    /// Sends the head of a request. The body follows into the sink while the answer is awaited.
    pub(crate) fn send<'c>(&'c mut self, request: &'c Request) -> Result<(Sink<'c>, Answer<'c>), CodecError> {
        match &mut self.connection {
            Connection::Http1(connection) => {
                connection.served += 1;
                connection.writer.request(request);
                let answer = Answer::Http1(&mut connection.reader, &request.method);
                Ok((Sink::Http1(&mut connection.writer), answer))
            }
            Connection::Http2(stream) => {
                let mut send = stream.open().ok_or(CodecError::StreamRefused)?;
                let head = h2::request_to(request)?;
                let ended = request.length.is_empty();
                let (response, stream) = send.send_request(head, ended)?;
                let sink = if ended {
                    Sink::Ended
                } else {
                    Sink::Http2(h2::Send::new(stream))
                };
                Ok((sink, Answer::Http2(h2::Answer::new(response))))
            }
        }
    }

    /// The halves of an HTTP/1.1 connection whose protocol was switched.
    pub(crate) fn halves(&mut self) -> Option<(&mut h1::Reader, &mut h1::Writer)> {
        match &mut self.connection {
            Connection::Http1(connection) => Some((&mut connection.reader, &mut connection.writer)),
            Connection::Http2(_) => None,
        }
    }

    /// The exchange is over on both sides: the connection may serve another one.
    pub(crate) fn give_back(self) {
        let connection = match self.connection {
            Connection::Http1(connection) => connection,
            Connection::Http2(stream) => return stream.finish(),
        };
        if connection.may_go_on(&self.cluster.facts.circuit_breaker) {
            self.pool.put_back(*connection);
        }
    }
}

/// A new connection in the cluster's way, for that version of HTTP or for opaque bytes.
pub(crate) async fn open(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
    version: Option<Version>,
) -> Result<crate::transport::Transport, UpstreamError> {
    let way = Way {
        source: cluster.facts.source_address,
        mark: worker.settings.mark,
        timeout: cluster.facts.connect_timeout,
        keepalive: cluster.facts.tcp_keepalive,
    };
    let begun = clock::now();
    let opened = async {
        let transport = connect::connect(endpoint.address, way).await?;
        if connect::tls_to(cluster, endpoint).is_none() && cluster.facts.proxy_protocol.is_none() {
            return Ok(transport);
        }
        let left = way.timeout.saturating_sub(clock::now() - begun);
        // Boxed: every request would have room for a handshake that few need.
        let prepare = Box::pin(connect::prepare(
            transport,
            cluster,
            endpoint,
            (&worker.settings.identity, version),
        ));
        let prepared = clock::timeout(left, prepare).await;
        prepared.unwrap_or(Err(UpstreamError::ConnectTimeout))
    };
    let opened = opened.await;
    let counters = &cluster.live.counters;
    cluster::count(if opened.is_ok() {
        &counters.connections
    } else {
        &counters.connect_failures
    });
    opened
}
