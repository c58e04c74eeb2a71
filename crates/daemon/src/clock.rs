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

/// Runs `future` for at most `limit`.
///
/// # Errors
/// [`Elapsed`] when the limit passes first; the future is dropped.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await
}
