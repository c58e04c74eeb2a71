//! The only place that spawns: every task has a name and an owner.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the place that the other crates are sent to"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Owner of tasks. Clones share ownership; dropping the last clone does not stop them, [`Tasks::stop`] does.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// An owner without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` on the current runtime until it ends or the owner stops.
    /// A panic is logged with the name and ends this task only.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.inner.cancel.clone();
        self.inner.tracker.spawn(guard(name, cancel, future));
    }

    /// The same for a future that stays on this thread; needs a `LocalSet`.
    pub fn spawn_local(&self, name: &'static str, future: impl Future<Output = ()> + 'static) {
        let cancel = self.inner.cancel.clone();
        self.inner.tracker.spawn_local(guard(name, cancel, future));
    }

    /// Runs blocking work off the event loop and waits for its result; `None` when it panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self.inner.tracker.spawn_blocking(work).await {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::error!(task = name, %error, "blocking task panicked");
                None
            }
        }
    }

    /// Runs blocking work to its end on a thread of its own. [`Tasks::stop`] waits for it, and does not end it: it
    /// must end by itself once others have stopped.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let token = self.inner.tracker.token();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if outcome.is_err() {
                tracing::error!(task = name, "thread panicked");
            }
            drop(token);
        })?;
        Ok(())
    }

    /// Becomes ready when the owner is told to stop.
    pub async fn stopping(&self) {
        self.inner.cancel.cancelled().await;
    }

    /// Drops every task at its next await and waits for the end of all, at most `limit`.
    /// Whether all ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.inner.cancel.cancel();
        self.inner.tracker.close();
        crate::clock::timeout(limit, self.inner.tracker.wait())
            .await
            .is_ok()
    }

    /// Tasks that have not ended.
    pub fn count(&self) -> usize {
        self.inner.tracker.len()
    }
}

fn guard(
    name: &'static str,
    cancel: CancellationToken,
    future: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    let work =
        std::panic::AssertUnwindSafe(future.instrument(tracing::debug_span!(parent: None, "task", name)));
    // Boxed at once: what is moved into a future and awaited there takes its size twice.
    let work = Box::pin(work.catch_unwind());
    async move {
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            outcome = work => if outcome.is_err() {
                tracing::error!(task = name, "task panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_takes_the_size_of_its_future_once() {
        let large = async {
            let room = [1_u8; 10_000];
            tokio::task::yield_now().await;
            assert_eq!(room.len(), 10_000);
        };
        let size = std::mem::size_of_val(&guard("large", CancellationToken::new(), large));
        assert!(size < 1_000, "{size} bytes beside the box");
    }
}
