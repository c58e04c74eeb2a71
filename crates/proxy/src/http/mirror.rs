//! Copies of requests, sent to others whose answers nobody reads. As Envoy's request mirroring: fire and forget, one
//! try, nothing of a copy's fate reaches the request that it was made of.
//!
//! A copy gets the body as the client sends it. It never makes the client wait: a copy that falls behind by more than
//! [`BEHIND`], or is one too many, is given up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use daemon::clock;
use snapshot::Mirror;
use tokio::sync::Notify;

use crate::active::Active;
use crate::http::codec::{CodecError, Frame, Request, Sink};
use crate::http::exchange::Exchange;
use crate::transport::SILENCE;
use crate::upstream::load_balancing::Wish;
use crate::upstream::{Cluster, Lease, cluster};
use crate::worker::Worker;

/// Most bytes that a copy's body may lie behind the client's.
const BEHIND: usize = 1 << 20;

/// Sends copies of the request as it is now, to as many of the mirrors as their shares say.
pub(crate) fn send(
    exchange: &mut Exchange<'_>,
    active: &Active,
    mirrors: &[Mirror],
    limit: Option<Duration>,
) {
    let worker = &exchange.connection.worker;
    for mirror in mirrors {
        let cluster = active.cluster(&mirror.cluster);
        let Some(cluster) = cluster.filter(|_| mirror.share.takes(worker.random.next())) else {
            continue;
        };
        if !worker.bounds.begin_copy() {
            tracing::debug!(cluster = %mirror.cluster, "too many copies are under way: this one is not made");
            continue;
        }
        let feed = Feed::default();
        let copy = Copy {
            request: copy_of(&exchange.request, mirror, worker),
            body: feed.queue.clone(),
            cluster: cluster.clone(),
            destination: exchange.connection.ends.destination,
            worker: worker.clone(),
        };
        if exchange.request.length.is_empty() {
            feed.end();
        } else {
            exchange.body.copy_to(feed);
        }
        worker.tasks.spawn_local("mirror", copy.send(limit));
    }
}

/// The head of a copy: it says that it comes from within, and which proxy made it.
fn copy_of(request: &Request, mirror: &Mirror, worker: &Worker) -> Request {
    let mut copy = request.clone();
    if mirror.shadow_suffix {
        copy.authority = match copy.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => format!("{host}-shadow:{port}"),
            _ => format!("{}-shadow", copy.authority),
        };
    }
    copy.fields.set("x-envoy-internal", b"true");
    if let Some(address) = worker.settings.address {
        let before = copy.fields.text("x-forwarded-for").unwrap_or_default();
        let comma = if before.is_empty() { "" } else { "," };
        let chain = format!("{before}{comma}{address}");
        copy.fields.set("x-forwarded-for", chain.as_bytes());
    }
    copy
}

/// Where the client's body is copied to. Dropped before its end, the copy is given up.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    queue: Rc<Queue>,
}

/// The part of a body that a copy has not sent yet.
#[derive(Debug, Default)]
struct Queue {
    frames: RefCell<VecDeque<Frame>>,
    bytes: Cell<usize>,
    ended: Cell<bool>,
    lost: Cell<bool>,
    changed: Notify,
}

impl Feed {
    /// One more frame.
    pub(crate) fn push(&self, frame: &Frame, size: usize) {
        let queue = &self.queue;
        let behind = queue.bytes.get() + size;
        if queue.lost.get() {
            return;
        }
        if behind > BEHIND {
            queue.lose();
            return;
        }
        queue.bytes.set(behind);
        queue.frames.borrow_mut().push_back(frame.clone());
        queue.changed.notify_one();
    }

    /// The body is complete.
    pub(crate) fn end(&self) {
        self.queue.ended.set(true);
        self.queue.changed.notify_one();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !self.queue.ended.get() {
            self.queue.lose();
        }
    }
}

impl Queue {
    fn lose(&self) {
        self.lost.set(true);
        self.frames.borrow_mut().clear();
        self.changed.notify_one();
    }

    /// The next frame, `None` at the end; an error when there is no whole to be had any more.
    async fn next(&self) -> Result<Option<Frame>, CodecError> {
        loop {
            if self.lost.get() {
                return Err(CodecError::Truncated);
            }
            if let Some(frame) = self.frames.borrow_mut().pop_front() {
                if let Frame::Data(data) = &frame {
                    self.bytes.set(self.bytes.get().saturating_sub(data.len()));
                }
                return Ok(Some(frame));
            }
            if self.ended.get() {
                return Ok(None);
            }
            self.changed.notified().await;
        }
    }
}

/// A copy on its way.
struct Copy {
    request: Request,
    body: Rc<Queue>,
    cluster: Rc<Cluster>,
    destination: SocketAddr,
    worker: Rc<Worker>,
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.worker.bounds.end_copy();
    }
}

impl Copy {
    async fn send(self, limit: Option<Duration>) {
        match clock::timeout(limit.unwrap_or(SILENCE), self.exchange()).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => tracing::debug!(cluster = %self.cluster.facts.name, problem, "a copy failed"),
            Err(_) => tracing::debug!(cluster = %self.cluster.facts.name, "a copy took too long"),
        }
    }

    /// One try, to the end of its response.
    async fn exchange(&self) -> Result<(), String> {
        let (cluster, worker) = (&self.cluster, &self.worker);
        let endpoint = cluster.pick(self.destination, Wish::any(&worker.random));
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        cluster::count(&cluster.live.counters.requests);
        let _in_flight = endpoint.pool.begin_request();
        let http2 = cluster.speaks_http2(self.request.version) && self.request.upgrade.is_none();
        let lease = Lease::acquire(worker, cluster, &endpoint, http2).await;
        let mut lease = lease.map_err(|error| error.to_string())?;
        self.converse(&mut lease)
            .await
            .map_err(|error| error.to_string())?;
        lease.give_back();
        Ok(())
    }

    async fn converse(&self, lease: &mut Lease) -> Result<(), CodecError> {
        let (mut sink, mut answer) = lease.send(&self.request)?;
        let upload = self.upload(&mut sink);
        let download = async {
            while answer.head().await?.is_informational() {}
            while answer.frame().await?.is_some() {}
            Ok(())
        };
        futures_util::future::try_join(upload, download).await.map(drop)
    }

    async fn upload(&self, sink: &mut Sink<'_>) -> Result<(), CodecError> {
        loop {
            match self.body.next().await? {
                Some(Frame::Data(data)) => {
                    sink.data(data).await?;
                    sink.flush().await?;
                }
                Some(Frame::Trailers(fields)) => return sink.end(Some(&fields)).await,
                None => return sink.end(None).await,
            }
        }
    }
}
