//! Connections of one endpoint, kept by one worker.
//!
//! HTTP/1.1: idle connections are a stack, so that few stay warm and the rest time out. HTTP/2: few connections are
//! shared by many streams. A connection that turns out closed when it is taken is dropped; one that closes under
//! a request is that request's concern ([`UpstreamError::Closed`], [`Lease::unread`]).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ::h2::client::SendRequest;
use bytes::Bytes;
use daemon::clock::{self, Instant};

use super::circuit_breaker::{Permit, Resource, share};
use super::connect::{self, Way};
use super::{Cluster, Endpoint, cluster};
use crate::error::UpstreamError;
use crate::http::codec::{Answer, CodecError, Request, Sink, h1, h2};
use crate::worker::Worker;

/// Connections of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    /// Held while an HTTP/2 connection is being opened, so that a burst opens one and not many.
    opening: tokio::sync::Mutex<()>,
    in_flight: Cell<u32>,
    retired: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    since: Instant,
}

/// An HTTP/1.1 connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Http1 {
    reader: h1::Reader,
    writer: h1::Writer,
    served: u32,
    local: Option<SocketAddr>,
    _permit: Permit,
}

/// An HTTP/2 connection to an endpoint.
#[derive(Debug)]
struct Shared {
    send: SendRequest<Bytes>,
    local: Option<SocketAddr>,
    streams: Cell<u32>,
    served: Cell<u32>,
    closed: Cell<bool>,
    idle_since: Cell<Instant>,
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
        self.in_flight.get() > 0 || !self.idle.borrow().is_empty() || !self.shared.borrow().is_empty()
    }

    /// The endpoint is wanted again.
    pub(crate) fn revive(&self) {
        self.retired.set(false);
    }

    /// The endpoint is gone, or going: nothing is kept any more.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Drops what has been idle for longer than `limit`, or was closed by the other side.
    pub(crate) fn sweep(&self, now: Instant, limit: Duration) {
        self.idle
            .borrow_mut()
            .retain(|idle| now - idle.since < limit && idle.connection.reader.is_quiet());
        self.shared.borrow_mut().retain(|shared| {
            !shared.closed.get() && (shared.streams.get() > 0 || now - shared.idle_since.get() < limit)
        });
    }

    /// The idle connection that was used last and is still open.
    fn take_idle(&self) -> Option<Http1> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.reader.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Gives up one idle connection. Whether there was one.
    fn evict_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return false;
        }
        idle.remove(0);
        true
    }

    fn put_back(&self, connection: Http1) {
        if !self.retired.get() {
            self.idle.borrow_mut().push(Idle {
                connection,
                since: clock::now(),
            });
        }
    }

    fn take_shared(&self, limit: Option<u32>) -> Option<Rc<Shared>> {
        let mut all = self.shared.borrow_mut();
        all.retain(|shared| !shared.closed.get());
        let has_room = |shared: &&Rc<Shared>| {
            (shared.streams.get() as usize) < shared.send.current_max_send_streams()
                && limit.is_none_or(|limit| shared.served.get() < limit)
        };
        all.iter().find(has_room).cloned()
    }
}

/// A connection for one request. Dropped early, an HTTP/1.1 connection closes and an HTTP/2 stream is cancelled.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Connection,
    pool: Rc<Pool>,
    cluster: Rc<Cluster>,
}

#[derive(Debug)]
enum Connection {
    Http1(Box<Http1>),
    Http2(StreamOf),
}

/// One stream's share of an HTTP/2 connection.
#[derive(Debug)]
struct StreamOf {
    shared: Rc<Shared>,
    /// The right to open the stream; taken when it is used.
    ready: Option<SendRequest<Bytes>>,
}

impl Drop for StreamOf {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
        self.shared.idle_since.set(clock::now());
    }
}

impl Lease {
    /// Finds or opens a connection to `endpoint`.
    pub(crate) async fn acquire(
        worker: &Worker,
        cluster: &Rc<Cluster>,
        endpoint: &Endpoint,
        over_http2: bool,
    ) -> Result<Self, UpstreamError> {
        let lease = |connection| Self {
            connection,
            pool: endpoint.pool.clone(),
            cluster: cluster.clone(),
        };
        if over_http2 {
            let stream = http2(worker, cluster, endpoint).await?;
            return Ok(lease(Connection::Http2(stream)));
        }
        let connection = match endpoint.pool.take_idle() {
            Some(connection) => connection,
            None => http1(worker, cluster, endpoint).await?,
        };
        Ok(lease(Connection::Http1(Box::new(connection))))
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

    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.connection {
            Connection::Http1(connection) => connection.local,
            Connection::Http2(stream) => stream.shared.local,
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
                let mut send = stream.ready.take().ok_or(CodecError::StreamRefused)?;
                stream.shared.served.set(stream.shared.served.get() + 1);
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
        let Connection::Http1(connection) = self.connection else {
            return;
        };
        let limit = self.cluster.facts.circuit_breaker.max_requests_per_connection;
        let worn_out = limit.is_some_and(|limit| connection.served >= limit);
        if connection.reader.is_between_messages() && connection.reader.keep_alive() && !worn_out {
            self.pool.put_back(*connection);
            self.cluster.live.usage.freed.notify_one();
        }
    }
}

/// A new HTTP/1.1 connection, or one that becomes idle while the limit keeps from opening more.
async fn http1(worker: &Worker, cluster: &Rc<Cluster>, endpoint: &Endpoint) -> Result<Http1, UpstreamError> {
    let permit = match connection_permit(worker, cluster) {
        Some(permit) => permit,
        None => match wait_for_connection(worker, cluster, endpoint).await? {
            Freed::Permit(permit) => permit,
            Freed::Connection(connection) => return Ok(*connection),
        },
    };
    let transport = open(worker, cluster, endpoint).await?;
    let local = transport.local_address();
    let (read, write, already_read) = transport.split();
    let reader = h1::Reader::new(read, already_read);
    Ok(Http1 {
        reader,
        writer: h1::Writer::new(write),
        served: 0,
        local,
        _permit: permit,
    })
}

enum Freed {
    Permit(Permit),
    Connection(Box<Http1>),
}

/// Waits, as one of a limited number, until a connection is free or may be opened.
async fn wait_for_connection(
    worker: &Worker,
    cluster: &Rc<Cluster>,
    endpoint: &Endpoint,
) -> Result<Freed, UpstreamError> {
    let usage = &cluster.live.usage;
    let limit = share(
        cluster.facts.circuit_breaker.max_pending_requests,
        worker.settings.workers,
    );
    let _pending = usage
        .take(Resource::Pending, limit)
        .ok_or(UpstreamError::Overflow)?;
    let wait = async {
        loop {
            usage.freed.notified().await;
            if let Some(connection) = endpoint.pool.take_idle() {
                return Freed::Connection(Box::new(connection));
            }
            if let Some(permit) = connection_permit(worker, cluster) {
                return Freed::Permit(permit);
            }
        }
    };
    let waited = clock::timeout(cluster.facts.connect_timeout, wait).await;
    waited.map_err(|_| UpstreamError::ConnectTimeout)
}

/// The right to one more connection; idle ones of other endpoints make room.
fn connection_permit(worker: &Worker, cluster: &Cluster) -> Option<Permit> {
    let limit = share(
        cluster.facts.circuit_breaker.max_connections,
        worker.settings.workers,
    );
    let usage = &cluster.live.usage;
    usage.take(Resource::Connections, limit).or_else(|| {
        let mut evicted = false;
        cluster.every_endpoint(|endpoint| evicted = evicted || endpoint.pool.evict_idle());
        evicted
            .then(|| usage.take(Resource::Connections, limit))
            .flatten()
    })
}

async fn http2(
    worker: &Worker,
    cluster: &Rc<Cluster>,
    endpoint: &Endpoint,
) -> Result<StreamOf, UpstreamError> {
    let limit = cluster.facts.circuit_breaker.max_requests_per_connection;
    let pool = &endpoint.pool;
    if let Some(stream) = shared_stream(pool, limit).await {
        return Ok(stream);
    }
    let _opening = pool.opening.lock().await;
    if let Some(stream) = shared_stream(pool, limit).await {
        return Ok(stream);
    }
    let permit = connection_permit(worker, cluster).ok_or(UpstreamError::Overflow)?;
    let transport = open(worker, cluster, endpoint).await?;
    let local = transport.local_address();
    let handshake = clock::timeout(cluster.facts.connect_timeout, h2::connect(transport)).await;
    let (send, connection) = handshake
        .map_err(|_| UpstreamError::ConnectTimeout)?
        .map_err(|_| UpstreamError::Reset)?;
    let now = Cell::new(clock::now());
    let shared = Rc::new(Shared {
        send,
        local,
        streams: Cell::new(0),
        served: Cell::new(0),
        closed: Cell::new(false),
        idle_since: now,
    });
    let watched = Rc::downgrade(&shared);
    worker.tasks.spawn_local("upstream http/2", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream HTTP/2 connection ended");
        }
        if let Some(shared) = watched.upgrade() {
            shared.closed.set(true);
        }
        drop(permit);
    });
    if !pool.retired.get() {
        pool.shared.borrow_mut().push(shared.clone());
    }
    stream_of(shared).await.ok_or(UpstreamError::Reset)
}

/// A stream of a connection that takes one; those that are found closed are given up.
async fn shared_stream(pool: &Pool, limit: Option<u32>) -> Option<StreamOf> {
    while let Some(shared) = pool.take_shared(limit) {
        if let Some(stream) = stream_of(shared).await {
            return Some(stream);
        }
    }
    None
}

/// `None` when the connection takes no more streams, because it closed or was told to go away.
async fn stream_of(shared: Rc<Shared>) -> Option<StreamOf> {
    shared.streams.set(shared.streams.get() + 1);
    let mut stream = StreamOf { shared, ready: None };
    match stream.shared.send.clone().ready().await {
        Ok(ready) => stream.ready = Some(ready),
        Err(_) => {
            stream.shared.closed.set(true);
            return None;
        }
    }
    Some(stream)
}

/// A new connection in the cluster's way.
pub(crate) async fn open(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
) -> Result<crate::transport::Transport, UpstreamError> {
    let way = Way {
        source: cluster.facts.source_address,
        mark: worker.settings.mark,
        timeout: cluster.facts.connect_timeout,
    };
    let opened = connect::connect(endpoint.address, way).await;
    let counters = &cluster.live.counters;
    cluster::count(if opened.is_ok() {
        &counters.connections
    } else {
        &counters.connect_failures
    });
    opened
}
