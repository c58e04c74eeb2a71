//! What clients may use up at once. Beyond these bounds somebody is refused or has to go: never the whole server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::super::Status;
use super::connections::Connections;

/// The bounds; tests make them small.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    /// Connections at once, over all listeners. Beyond them the one that has been idle longest goes.
    pub(in super::super) connections: usize,
    /// Requests that are being answered at once, but for streams.
    pub(in super::super) requests: usize,
    /// Watches and logs at once.
    pub(in super::super) streams: usize,
    /// Bodies that arrive at once, in number and bytes. Beyond them the one that has been arriving longest goes.
    pub(in super::super) bodies: usize,
    pub(in super::super) body_bytes: usize,
    pub(in super::super) handshake: Duration,
    /// For the head of a request; also how long an idle connection stays open.
    pub(in super::super) head: Duration,
    /// For a body.
    pub(in super::super) body: Duration,
    /// A peer that takes nothing for so long is gone.
    pub(in super::super) stuck: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            requests: 1024,
            streams: 16_384,
            bodies: 512,
            body_bytes: 64 << 20,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(90),
            body: Duration::from_secs(60),
            stuck: Duration::from_secs(60),
        }
    }
}

/// What is in use.
#[derive(Debug)]
pub(in super::super) struct Bounds {
    pub(super) limits: Limits,
    pub(super) connections: Arc<Connections>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    bodies: Mutex<Bodies>,
}

#[derive(Debug, Default)]
struct Bodies {
    next: u64,
    bytes: usize,
    /// Oldest first.
    arriving: BTreeMap<u64, Arriving>,
}

#[derive(Debug)]
struct Arriving {
    bytes: usize,
    cut: Arc<Notify>,
}

impl Bounds {
    pub(in super::super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            connections: Connections::new(limits.connections),
            requests: Arc::new(Semaphore::new(limits.requests)),
            streams: Arc::new(Semaphore::new(limits.streams)),
            bodies: Mutex::default(),
        })
    }

    /// Room for a request, held until it is answered.
    pub(super) fn request(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.requests.clone().try_acquire_owned().map_err(|_| too_many())
    }

    /// Room for a stream, held until it ends.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.streams.clone().try_acquire_owned().map_err(|_| too_many())
    }

    /// Room for a body.
    pub(super) fn body(self: &Arc<Self>) -> Arrival {
        let mut bodies = self.lock();
        let id = bodies.next;
        bodies.next += 1;
        let cut = Arc::new(Notify::new());
        let arriving = Arriving {
            bytes: 0,
            cut: cut.clone(),
        };
        bodies.arriving.insert(id, arriving);
        bodies.make_room(&self.limits);
        drop(bodies);
        Arrival {
            bounds: self.clone(),
            id,
            cut,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bodies {
    fn make_room(&mut self, limits: &Limits) {
        while self.arriving.len() > limits.bodies || self.bytes > limits.body_bytes {
            let Some((_, oldest)) = self.arriving.pop_first() else {
                return;
            };
            self.bytes -= oldest.bytes;
            oldest.cut.notify_one();
        }
    }
}

/// A body on its way, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    bounds: Arc<Bounds>,
    id: u64,
    cut: Arc<Notify>,
}

impl Arrival {
    /// So many bytes more.
    pub(super) fn grow(&self, bytes: usize) {
        let mut bodies = self.bounds.lock();
        if let Some(this) = bodies.arriving.get_mut(&self.id) {
            this.bytes += bytes;
            bodies.bytes += bytes;
            bodies.make_room(&self.bounds.limits);
        }
    }

    /// Becomes ready when this body has to make room for others.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut bodies = self.bounds.lock();
        if let Some(this) = bodies.arriving.remove(&self.id) {
            bodies.bytes -= this.bytes;
        }
    }
}

/// 429; clients wait a second and ask again.
pub(super) fn too_many() -> Status {
    Status {
        details: json!({"retryAfterSeconds": 1}),
        ..Status::new(
            429,
            "TooManyRequests",
            "Too many requests, please try again later.",
        )
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_body_that_has_been_arriving_longest_makes_room() {
        let bounds = Bounds::new(Limits {
            bodies: 3,
            body_bytes: 100,
            ..Limits::default()
        });
        let is_cut = |arrival: &Arrival| arrival.cut().now_or_never().is_some();
        let [first, second, third] = [bounds.body(), bounds.body(), bounds.body()];
        first.grow(60);
        second.grow(40);
        assert!(![&first, &second, &third].into_iter().any(is_cut));
        third.grow(1);
        assert!(is_cut(&first), "one byte too many");
        assert!(!is_cut(&second) && !is_cut(&third));
        let [fourth, fifth] = [bounds.body(), bounds.body()];
        assert!(is_cut(&second), "one too many");
        drop((first, second, third, fourth, fifth));
        assert_eq!(bounds.lock().bytes, 0);
        let alone = bounds.body();
        alone.grow(101);
        assert!(is_cut(&alone));
    }
}
