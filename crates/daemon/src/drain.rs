//! From signal to exit: stop accepting, let work in flight finish, then force.

use std::time::Duration;

use tokio::sync::watch;

/// Told to everyone who serves: keep going, or finish what is in flight. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// The other end of a [`Drain`].
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// A drain that has not begun, and what begins it.
pub fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Drain(receiver))
}

impl Trigger {
    /// Begins the drain.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Begins the drain and waits until every [`Drain`] is dropped, at most `limit`. Whether all finished.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.begin();
        crate::clock::timeout(limit, self.0.closed()).await.is_ok()
    }
}

impl Drain {
    /// Whether draining has begun.
    pub fn began(&self) -> bool {
        *self.0.borrow()
    }

    /// Becomes ready when draining begins (or its trigger is gone).
    pub async fn wait(&mut self) {
        let _ = self.0.wait_for(|draining| *draining).await;
    }
}

/// Becomes ready at SIGTERM or SIGINT.
///
/// # Errors
/// When the process may not install signal handlers.
pub async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
