//! HTTP/1.1: one request at a time on each connection.

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::clock::{self, Instant};
use snapshot::CircuitBreaker;

use super::{Handed, Idle, Pool, Slot, has_aged, open};
use crate::error::UpstreamError;
use crate::http::codec::{Version, h1};
use crate::tls::peer::Peer;
use crate::upstream::circuit_breaker::Resource;
use crate::upstream::{Cluster, Endpoint};
use crate::worker::Worker;

/// An HTTP/1.1 connection to an endpoint.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) reader: h1::Reader,
    pub(super) writer: h1::Writer,
    pub(super) served: u32,
    pub(super) born: Instant,
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<Arc<Peer>>,
    _slot: Slot,
}

impl Http1 {
    pub(super) fn is_quiet(&self) -> bool {
        self.reader.is_quiet()
    }

    /// Whether, after a complete exchange, another request may follow.
    pub(super) fn may_go_on(&self, breaker: &CircuitBreaker) -> bool {
        let limit = breaker.max_requests_per_connection.filter(|limit| *limit > 0);
        let worn_out = limit.is_some_and(|limit| self.served >= limit);
        self.reader.is_between_messages()
            && self.reader.keep_alive()
            && !worn_out
            && !has_aged(self.born, clock::now(), breaker)
    }
}

impl Pool {
    /// The idle connection that was used last and is still open.
    fn take_idle(&self, breaker: &CircuitBreaker) -> Option<Http1> {
        let now = clock::now();
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            if idle.is_good(now, breaker) && idle.connection.is_quiet() {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection, or gives it to the first who waits for one.
    pub(super) fn put_back(&self, connection: Http1) {
        let connection = match self.queue.hand(Handed::Connection(Box::new(connection))) {
            Err(Handed::Connection(connection)) if !self.retired.get() => *connection,
            _ => return,
        };
        self.idle.borrow_mut().push(Idle {
            connection,
            since: clock::now(),
        });
    }
}

/// A connection for one request: an idle one, a new one, or one that becomes idle while no other may be opened.
pub(super) async fn connection(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
) -> Result<Http1, UpstreamError> {
    let (pool, breaker) = (&endpoint.pool, &cluster.facts.circuit_breaker);
    if pool.queue.is_empty()
        && let Some(connection) = pool.take_idle(breaker)
    {
        return Ok(connection);
    }
    let pending = cluster.live.usage.take(Resource::Pending, breaker);
    let _pending = pending.ok_or(UpstreamError::Overflow)?;
    let number = pool.queue.draw();
    loop {
        if let Some(slot) = pool.slot(cluster) {
            return connect(worker, cluster, endpoint, slot).await;
        }
        match pool.wait(number).await {
            Handed::Connection(connection) => return Ok(*connection),
            Handed::Failed(error) => return Err(error),
            Handed::LookAgain => {
                if let Some(connection) = pool.take_idle(breaker) {
                    return Ok(connection);
                }
            }
        }
    }
}

async fn connect(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
    slot: Slot,
) -> Result<Http1, UpstreamError> {
    let transport = open(worker, cluster, endpoint, Some(Version::Http1)).await;
    let transport = transport.inspect_err(|error| endpoint.pool.fail(error))?;
    let (local, peer) = (transport.local_address(), transport.peer().cloned());
    let (read, write, already_read) = transport.split();
    Ok(Http1 {
        reader: h1::Reader::new(read, already_read),
        writer: h1::Writer::new(write),
        served: 0,
        born: clock::now(),
        local,
        peer,
        _slot: slot,
    })
}
