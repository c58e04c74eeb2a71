//! HTTP/2: few connections, each shared by many streams.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ::h2::client::SendRequest;
use ::h2::{Ping, PingPong};
use bytes::Bytes;
use daemon::clock::{self, Instant};
use snapshot::{CircuitBreaker, Http2Keepalive, Http2Options};

use super::{Handed, Pool, Slot, has_aged, idle_limit, open};
use crate::error::UpstreamError;
use crate::http::codec::{Version, h2};
use crate::tls::peer::Peer;
use crate::upstream::circuit_breaker::Resource;
use crate::upstream::{Cluster, Endpoint};
use crate::worker::Worker;

/// An HTTP/2 connection to an endpoint. Its socket closes when the pool has let go of it and its last stream ended.
#[derive(Debug)]
pub(super) struct Shared {
    send: SendRequest<Bytes>,
    streams: Cell<u32>,
    served: Cell<u32>,
    /// Streams that were given up before both messages were complete.
    unfinished: Cell<u32>,
    closed: Cell<bool>,
    idle_since: Cell<Instant>,
    born: Instant,
    local: Option<SocketAddr>,
    peer: Option<Arc<Peer>>,
}

impl Shared {
    /// Whether the pool should hold on to it.
    pub(super) fn is_good(&self, now: Instant, breaker: &CircuitBreaker) -> bool {
        let limit = breaker.max_requests_per_connection.filter(|limit| *limit > 0);
        let worn_out = limit.is_some_and(|limit| self.served.get() >= limit)
            || self.unfinished.get() >= h2::MAX_UNFINISHED;
        let idle = idle_limit(breaker)
            .is_none_or(|limit| self.streams.get() > 0 || now - self.idle_since.get() < limit);
        !self.closed.get() && !worn_out && idle && !has_aged(self.born, now, breaker)
    }

    fn has_room(&self, options: Http2Options) -> bool {
        let most = options
            .max_concurrent_streams
            .map_or(usize::MAX, |most| most as usize);
        (self.streams.get() as usize) < self.send.current_max_send_streams().min(most)
    }
}

/// One stream's share of an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct StreamOf {
    shared: Rc<Shared>,
    pool: Rc<Pool>,
    /// The right to open the stream; taken when it is used.
    ready: Option<SendRequest<Bytes>>,
    finished: bool,
}

impl StreamOf {
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.shared.local
    }

    pub(super) fn peer(&self) -> Option<&Arc<Peer>> {
        self.shared.peer.as_ref()
    }

    /// The right to open the stream, once.
    pub(super) fn open(&mut self) -> Option<SendRequest<Bytes>> {
        self.ready.take()
    }

    /// Both messages are complete.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for StreamOf {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.streams.set(shared.streams.get() - 1);
        if !self.finished && self.ready.is_none() {
            shared.unfinished.set(shared.unfinished.get().saturating_add(1));
        }
        self.shared.idle_since.set(clock::now());
        let _ = self.pool.queue.hand(Handed::LookAgain);
    }
}

/// Says that a connection is being opened, until it is dropped.
struct Opening<'p>(&'p Pool);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        // Each looks whether there is room for it; who came first looks first.
        self.0.queue.hand_all(|| Handed::LookAgain);
    }
}

/// A stream for one request: on a connection that has room, on a new one, or on one that gets room while no other may
/// be opened.
pub(super) async fn stream(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
) -> Result<StreamOf, UpstreamError> {
    let (pool, breaker) = (&endpoint.pool, &cluster.facts.circuit_breaker);
    if pool.queue.is_empty()
        && let Some(stream) = shared_stream(pool, cluster).await
    {
        return Ok(stream);
    }
    let pending = cluster.live.usage.take(Resource::Pending, breaker);
    let _pending = pending.ok_or(UpstreamError::Overflow)?;
    let number = pool.queue.draw();
    loop {
        if let Some(stream) = shared_stream(pool, cluster).await {
            return Ok(stream);
        }
        if !pool.opening.get()
            && let Some(slot) = pool.slot(cluster)
        {
            pool.opening.set(true);
            let opening = Opening(pool);
            let shared = connect(worker, cluster, endpoint, slot).await;
            let shared = shared.inspect_err(|error| pool.fail(error))?;
            if !pool.retired.get() {
                pool.shared.borrow_mut().push(shared.clone());
            }
            let stream = stream_of(shared, pool).await;
            drop(opening);
            return stream.ok_or(UpstreamError::Reset);
        }
        if let Handed::Failed(error) = pool.wait(number).await {
            return Err(error);
        }
    }
}

/// A stream of a connection that takes one; those that are found closed are given up.
async fn shared_stream(pool: &Rc<Pool>, cluster: &Cluster) -> Option<StreamOf> {
    let now = clock::now();
    loop {
        let shared = {
            let mut all = pool.shared.borrow_mut();
            all.retain(|shared| shared.is_good(now, &cluster.facts.circuit_breaker));
            all.iter()
                .find(|shared| shared.has_room(cluster.facts.http2))
                .cloned()?
        };
        if let Some(stream) = stream_of(shared, pool).await {
            return Some(stream);
        }
    }
}

/// `None` when the connection takes no more streams, because it closed or was told to go away.
async fn stream_of(shared: Rc<Shared>, pool: &Rc<Pool>) -> Option<StreamOf> {
    shared.streams.set(shared.streams.get() + 1);
    let mut stream = StreamOf {
        shared,
        pool: pool.clone(),
        ready: None,
        finished: false,
    };
    match stream.shared.send.clone().ready().await {
        Ok(ready) => {
            stream.shared.served.set(stream.shared.served.get() + 1);
            stream.ready = Some(ready);
            Some(stream)
        }
        Err(_) => {
            stream.shared.closed.set(true);
            None
        }
    }
}

async fn connect(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
    slot: Slot,
) -> Result<Rc<Shared>, UpstreamError> {
    let transport = open(worker, cluster, endpoint, Some(Version::Http2)).await?;
    let (local, peer) = (transport.local_address(), transport.peer().cloned());
    let handshake = clock::timeout(cluster.facts.connect_timeout, h2::connect(transport)).await;
    let (send, mut connection) = handshake
        .map_err(|_| UpstreamError::ConnectTimeout)?
        .map_err(|_| UpstreamError::Reset)?;
    let now = clock::now();
    let shared = Rc::new(Shared {
        send,
        streams: Cell::new(0),
        served: Cell::new(0),
        unfinished: Cell::new(0),
        closed: Cell::new(false),
        idle_since: Cell::new(now),
        born: now,
        local,
        peer,
    });
    let (watched, keepalive) = (Rc::downgrade(&shared), cluster.facts.http2.keepalive);
    worker.tasks.spawn_local("upstream http/2", async move {
        let pings = pings(connection.ping_pong(), keepalive);
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "upstream HTTP/2 connection ended");
            },
            () = pings => tracing::debug!("upstream HTTP/2 connection answers no ping"),
        }
        if let Some(shared) = watched.upgrade() {
            shared.closed.set(true);
        }
        drop(slot);
    });
    Ok(shared)
}

/// Pings from time to time; ends when there is no answer.
async fn pings(pings: Option<PingPong>, keepalive: Option<Http2Keepalive>) {
    let keepalive = keepalive.and_then(|keepalive| Some((keepalive.interval?, keepalive.timeout)));
    let (Some(mut pings), Some((interval, timeout))) = (pings, keepalive) else {
        return std::future::pending().await;
    };
    loop {
        clock::sleep(interval).await;
        if !matches!(
            clock::timeout(timeout, pings.ping(Ping::opaque())).await,
            Ok(Ok(_))
        ) {
            return;
        }
    }
}
