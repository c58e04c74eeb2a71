//! Opaque bytes to one cluster: both directions until each has ended (half-close), or both are silent.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use daemon::clock::{self, Instant};
use futures_util::poll;
use snapshot::Direction;
use snapshot::cluster::ServiceRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authorization::Caller;
use super::{first, tunnel};
use crate::active::compile::{Retired, TcpChain};
use crate::error::{ProxyError, RouteError, UpstreamError};
use crate::http::exchange::special_name;
use crate::http::{hash, watch};
use crate::listen::accept::Ends;
use crate::telemetry::flags::Flag;
use crate::telemetry::format::{Facts, occasion};
use crate::telemetry::metrics::{Destination, Label, Parties};
use crate::telemetry::record::Record;
use crate::tls::peer;
use crate::transport::{DRAIN, ReadHalf, SILENCE, Transport, WriteHalf};
use crate::upstream::circuit_breaker::Resource;
use crate::upstream::load_balancing::Wish;
use crate::upstream::outlier_detection::Outcome;
use crate::upstream::purpose::Purpose;
use crate::upstream::{Cluster, Endpoint, Lease, pool};
use crate::worker::Worker;

/// Piece in which bytes are moved.
pub(super) const PIECE: usize = 16 * 1024;
/// Tries to connect, unless the handler has a number (Envoy: `max_connect_attempts`).
const CONNECTS: u32 = 1;
/// Longer than any connection.
const AGES: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Why a connection is closed that is no request by its beginning, and then one.
const REQUEST: &str = "request_outside_of_http_policies";
/// How often a connection looks whether its chain was retired.
const LOOK: Duration = Duration::from_secs(5);

/// Serves one connection to its end, and writes it down.
pub(crate) async fn serve(worker: &Rc<Worker>, chain: &TcpChain, ends: Ends, client: Transport) {
    let mut record = Record {
        peer: client.peer().cloned(),
        ..Record::new()
    };
    let server_name: Rc<str> = client.server_name().unwrap_or_default().into();
    let peer = peer::of(&client);
    let caller = Caller {
        peer: peer.as_deref(),
        server_name: &server_name,
    };
    if !chain.network.pass(worker, ends, caller, &mut record).await {
        tracing::debug!(server_name = &*server_name, destination = %ends.destination, "connection refused");
        drop(client);
    } else if let Err(error) = carry(worker, chain, ends, client, &mut record).await {
        tracing::debug!(%error, server_name = &*server_name, destination = %ends.destination, "connection closed");
        record.flags = record.flags.union(error.flags());
        record.transport_failure = error.transport_failure();
        if matches!(
            error,
            ProxyError::Upstream(UpstreamError::Connect(_) | UpstreamError::ConnectTimeout)
        ) {
            record.flag(Flag::UpstreamRetryLimitExceeded);
        }
    }
    record.server_name = Some(server_name);
    let facts = Facts {
        worker,
        ends,
        occasion: occasion::TCP_END,
        version: None,
        request: None,
        response: None,
        route: "",
        record: &record,
    };
    worker.lines.write(&chain.handler.access_log, &facts);
}

async fn carry(
    worker: &Rc<Worker>,
    chain: &TcpChain,
    ends: Ends,
    client: Transport,
    record: &mut Record,
) -> Result<(), ProxyError> {
    let Some(active) = worker.active() else {
        return Ok(());
    };
    let handler = &chain.handler;
    let picked = handler.target.pick(worker.random.next());
    let cluster = picked.and_then(|name| active.cluster(name)).cloned();
    let cluster = cluster.ok_or(RouteError::NoCluster)?;
    drop(active);
    record.upstream.cluster = Some(cluster.clone());
    let (usage, breaker) = (&cluster.live.usage, &cluster.facts.circuit_breaker);
    let permit = usage.take(Resource::Connections, breaker);
    let _permit = permit.ok_or(UpstreamError::Overflow)?;
    let pending = usage.take(Resource::Pending, breaker);
    let pending = pending.ok_or(UpstreamError::Overflow)?;
    let key = handler
        .hash_source_address
        .then(|| hash::of_address(ends.peer.ip()));
    let attempts = handler.max_connect_attempts.unwrap_or(CONNECTS);
    let way = (ends, key, attempts);
    let (label, moved) = if let Some(tunnel) = &handler.tunnel {
        let over_http2 = tunnel::over_http2(&cluster);
        let open = async |endpoint: &Endpoint| Lease::acquire(worker, &cluster, endpoint, over_http2).await;
        let (endpoint, mut lease) = connect(worker, &cluster, way, record, open).await?;
        drop(pending);
        record.upstream.local = lease.local_address();
        record.upstream.peer = lease.peer().cloned();
        let _in_flight = endpoint.pool.begin_request();
        let label = opened(worker, &cluster, &endpoint, (ends, record));
        let idle = handler.idle_timeout.unwrap_or(SILENCE);
        (label, tunnel::carry(&mut lease, tunnel, client, idle).await?)
    } else {
        let open = async |endpoint: &Endpoint| pool::open(worker, &cluster, endpoint, None).await;
        let (endpoint, upstream) = connect(worker, &cluster, way, record, open).await?;
        drop(pending);
        record.upstream.local = upstream.local_address();
        record.upstream.peer = upstream.peer().cloned();
        let _in_flight = endpoint.pool.begin_request();
        let label = opened(worker, &cluster, &endpoint, (ends, record));
        let (moved, refused) = relay(client, upstream, chain).await;
        if refused {
            tracing::debug!(peer = %ends.peer, destination = %ends.destination, "connection closed: {REQUEST}");
            record.termination = Some(REQUEST.to_owned());
        }
        (label, moved)
    };
    worker.metrics.tcp(label, |series| {
        series.closed += 1;
        series.received += moved.up;
        series.sent += moved.down;
    });
    (record.received, record.sent) = (moved.up, moved.down);
    if moved.reset {
        record.flag(Flag::UpstreamRemoteReset);
    }
    Ok(())
}

/// Counts a connection that came about.
fn opened(worker: &Worker, cluster: &Cluster, endpoint: &Endpoint, (ends, record): (Ends, &Record)) -> Label {
    let peer = match ends.direction {
        Direction::Inbound => record.peer.as_ref(),
        Direction::Outbound => record.upstream.peer.as_ref(),
    };
    let label = label(
        worker,
        cluster,
        endpoint,
        Parties::of(ends.direction, peer),
        ends.direction,
    );
    worker.metrics.tcp(label, |series| series.opened += 1);
    label
}

async fn connect<T>(
    worker: &Rc<Worker>,
    cluster: &Rc<Cluster>,
    (ends, key, attempts): (Ends, Option<u64>, u32),
    record: &mut Record,
    open: impl AsyncFn(&Endpoint) -> Result<T, UpstreamError>,
) -> Result<(Rc<Endpoint>, T), UpstreamError> {
    let mut tried = Vec::new();
    loop {
        let wish = Wish {
            key,
            tried: &tried,
            left: &[],
            random: &worker.random,
        };
        let endpoint = cluster.pick(ends.destination, wish)?;
        record.trying(endpoint.address);
        record.attempts += 1;
        let purpose = Purpose::of_connection(&cluster.facts, ends);
        match open(&endpoint.toward(&purpose)).await {
            Ok(opened) => {
                cluster.ended(&endpoint, Outcome::Served, &worker.settings.suspicions);
                return Ok((endpoint, opened));
            }
            Err(error) => {
                watch::not_connected(worker, cluster, &endpoint, &error);
                if tried.len() + 1 >= attempts as usize {
                    return Err(error);
                }
                tried.push(endpoint.address);
            }
        }
    }
}

fn label(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
    parties: Option<Parties>,
    direction: Direction,
) -> Label {
    if let (Some(label), None) = (endpoint.label.get(), &parties) {
        return label;
    }
    let workload = match direction {
        Direction::Inbound => worker.settings.workload.clone(),
        Direction::Outbound => Arc::clone(&endpoint.workload),
    };
    let service = cluster.facts.service.clone().unwrap_or_else(|| ServiceRef {
        host: String::new(),
        name: special_name(&cluster.facts.name).to_owned(),
        namespace: String::new(),
    });
    let destination = Destination::new(direction, &workload, &service);
    worker.metrics.label(destination.between(parties))
}

/// Bytes moved.
pub(super) struct Moved {
    pub(super) up: u64,
    pub(super) down: u64,
    /// The upstream ended the connection without finishing it.
    pub(super) reset: bool,
}

/// Moves bytes until both ends are done; also whether the client was refused for what it began with.
async fn relay(client: Transport, upstream: Transport, chain: &TcpChain) -> (Moved, bool) {
    // Zero is no limit; nothing is silent for longer than this.
    let idle = chain.handler.idle_timeout.unwrap_or(SILENCE);
    let idle = if idle.is_zero() { AGES } else { idle };
    let life = chain.handler.max_connection_duration.unwrap_or(AGES);
    let (mut client_read, client_write, mut read_ahead) = client.split();
    let (upstream_read, upstream_write, _) = upstream.split();
    let (up, down, last) = (Cell::new(0), Cell::new(0), Cell::new(clock::now()));
    let way = |moved| Way {
        moved,
        last: &last,
        idle,
    };
    let refused = Cell::new(false);
    let upward = async {
        if chain.withholds_requests && first::is_refused(&mut client_read, &mut read_ahead, &way(&up)).await?
        {
            refused.set(true);
            return Err(std::io::Error::other(REQUEST));
        }
        pump(client_read, upstream_write, read_ahead, way(&up)).await
    };
    let reset = Cell::new(false);
    let downward = async {
        let ended = pump(upstream_read, client_write, BytesMut::new(), way(&down)).await;
        let by_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        reset.set(ended.as_ref().is_err_and(by_reset));
        ended
    };
    tokio::select! {
        moved = futures_util::future::try_join(upward, downward) => if let Err(error) = moved {
            tracing::debug!(%error, "connection ended");
        },
        () = clock::sleep(life) => tracing::debug!("connection closed: it has lived long enough"),
        () = drained(&chain.retired) => tracing::debug!("connection closed: its listener is gone"),
    }
    let moved = Moved {
        up: up.get(),
        down: down.get(),
        reset: reset.get(),
    };
    (moved, refused.get())
}

/// Becomes ready when the chain was retired and its connections have had their time.
async fn drained(retired: &Retired) {
    while !retired.is_retired() {
        clock::sleep(LOOK).await;
    }
    clock::sleep(DRAIN).await;
}

/// What one direction reports, and what it knows of the other.
pub(super) struct Way<'a> {
    pub(super) moved: &'a Cell<u64>,
    /// When a byte moved last, in either direction.
    pub(super) last: &'a Cell<Instant>,
    pub(super) idle: Duration,
}

/// Moves bytes until the source ends, and then ends the destination.
async fn pump(
    mut from: ReadHalf,
    mut to: WriteHalf,
    mut buffer: BytesMut,
    way: Way<'_>,
) -> std::io::Result<()> {
    loop {
        if !buffer.is_empty() {
            way.moved.set(way.moved.get() + buffer.len() as u64);
            let write = async {
                to.write_all(&buffer).await?;
                to.flush().await
            };
            let written = clock::timeout(way.idle, write).await;
            written.map_err(|_| silent())??;
            way.last.set(clock::now());
            buffer.clear();
        }
        {
            let mut readable = pin!(wait_readable(&from, &way));
            if let Poll::Ready(ready) = poll!(readable.as_mut()) {
                ready?;
            } else {
                // An idle connection owns no buffer.
                buffer = BytesMut::new();
                readable.await?;
            }
        }
        buffer.reserve(PIECE);
        if from.read_buf(&mut buffer).await? == 0 {
            return to.shutdown().await;
        }
    }
}

pub(super) async fn wait_readable(from: &ReadHalf, way: &Way<'_>) -> std::io::Result<()> {
    loop {
        let left = way.idle.saturating_sub(clock::now() - way.last.get());
        if left.is_zero() {
            return Err(silent());
        }
        if let Ok(ready) = clock::timeout(left, from.readable()).await {
            return ready;
        }
    }
}

pub(super) fn silent() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "both sides are silent")
}
