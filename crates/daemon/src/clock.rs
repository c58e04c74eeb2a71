//! Time, in one place, so that tests can control it (`tokio::time::pause`).
#![allow(
    clippy::disallowed_methods,
    reason = "this is the place that the other crates are sent to"
)]

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// The monotonic clock; stands still and jumps under `tokio::time::pause`.
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Whole seconds since 1970.
pub fn unix_seconds() -> u64 {
    unix().as_secs()
}

/// Since 1970.
pub fn unix() -> Duration {
    wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Waits.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
}

/// A moment to come, by both clocks: the monotonic one stands still while a machine sleeps, and the wall clock may be
/// set. It has come when either says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    at: Instant,
    wall: SystemTime,
}

impl Due {
    /// How often the wall clock is looked at.
    const LOOK: Duration = Duration::from_secs(60);

    /// After so long.
    pub fn after(wait: Duration) -> Self {
        Self {
            at: now() + wait,
            wall: wall() + wait,
        }
    }

    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        self.at <= now() || self.wall <= wall()
    }

    /// Waits for it.
    pub async fn come(self) {
        while !self.has_come() {
            sleep_until(self.at.min(now() + Self::LOOK)).await;
        }
    }
}

/// Runs `future` for at most `limit`.
///
/// # Errors
/// [`Elapsed`] when the limit passes first; the future is dropped.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_moment_comes_by_whichever_clock_is_first() {
        let begun = now();
        Due::after(HOUR).come().await;
        assert_eq!(now() - begun, HOUR);
        // The machine slept: the wall clock has gone on alone.
        let slept = Due {
            wall: wall(),
            ..Due::after(HOUR)
        };
        assert!(slept.has_come());
        slept.come().await;
        assert_eq!(now() - begun, HOUR);
        assert!(!Due::after(HOUR).has_come());
    }
}
