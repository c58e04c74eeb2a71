//! What is known of one endpoint: how it failed lately, and whether it is set aside. Envoy's rules of what counts as
//! what (`DetectorHostMonitorImpl`).

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

use daemon::clock::Instant;
use snapshot::OutlierDetection;

/// How something with an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered with that status.
    Answered(u16),
    /// It took a connection that a protocol will be spoken on.
    Connected,
    /// It took a connection, and more is not known of the protocol on it.
    Served,
    /// It did not take a connection, or broke it off.
    Broken,
    /// It did not answer in time.
    Late,
}

/// What an endpoint did too often in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Status5xx,
    Gateway,
    LocalOrigin,
}

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    /// Failures in a row, by kind.
    rows: [AtomicU32; 3],
    ejected: AtomicBool,
    /// Only the keeper looks here.
    history: Mutex<History>,
}

/// When an endpoint was set aside.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// How many base times it is set aside for, next time.
    pub(super) times: u32,
    pub(super) ejected_at: Option<Instant>,
    pub(super) returned_at: Option<Instant>,
}

impl Monitor {
    /// Counts an outcome, and calls `completed` with each row that it completes.
    pub(crate) fn count(
        &self,
        detection: &OutlierDetection,
        outcome: Outcome,
        mut completed: impl FnMut(Failure),
    ) {
        let split = detection.split_local_origin_failures;
        match outcome {
            Outcome::Answered(status) => {
                let status = judged(detection, status);
                self.status(detection, status, &mut completed);
            }
            Outcome::Connected if split => self.reset(Failure::LocalOrigin),
            Outcome::Connected => {}
            Outcome::Served if split => self.reset(Failure::LocalOrigin),
            Outcome::Served => self.status(detection, 200, &mut completed),
            Outcome::Broken | Outcome::Late if split => {
                self.failed(
                    Failure::LocalOrigin,
                    detection.consecutive_local_origin_failures,
                    &mut completed,
                );
            }
            Outcome::Broken => self.status(detection, 503, &mut completed),
            Outcome::Late => self.status(detection, 504, &mut completed),
        }
    }

    fn status(&self, detection: &OutlierDetection, status: u16, completed: &mut impl FnMut(Failure)) {
        if matches!(status, 502..=504) {
            self.failed(
                Failure::Gateway,
                detection.consecutive_gateway_failures,
                completed,
            );
        } else {
            self.reset(Failure::Gateway);
        }
        if matches!(status, 500..=599) {
            self.failed(Failure::Status5xx, detection.consecutive_5xx, completed);
        } else {
            self.reset(Failure::Status5xx);
        }
    }

    fn failed(&self, failure: Failure, limit: u32, completed: &mut impl FnMut(Failure)) {
        let row = self.rows[failure as usize].fetch_add(1, Relaxed).wrapping_add(1);
        if row == limit {
            completed(failure);
        }
    }

    /// The row of that failure begins anew.
    pub(crate) fn reset(&self, failure: Failure) {
        let row = &self.rows[failure as usize];
        // Looking costs less than writing what all workers read.
        if row.load(Relaxed) != 0 {
            row.store(0, Relaxed);
        }
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    pub(super) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Relaxed);
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A status as the detection sees it, when it was told which ones are errors.
fn judged(detection: &OutlierDetection, status: u16) -> u16 {
    let errors = &detection.error_statuses;
    match (errors.is_empty(), errors.contains(&status)) {
        (true, _) => status,
        (false, true) => 500,
        (false, false) => 200,
    }
}

/// Envoy's numbers of a cluster (`outlier_detection.*`).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By failure.
    pub(super) detected: [AtomicU64; 3],
    /// By failure.
    pub(super) enforced: [AtomicU64; 3],
    /// Failures that had no effect, because enough endpoints are set aside already.
    pub(super) overflow: AtomicU64,
}

impl Counters {
    /// Name and value of each.
    pub(crate) fn all(&self) -> [(&'static str, u64); 8] {
        let [detected_5xx, detected_gateway, detected_local] = &self.detected;
        let [enforced_5xx, enforced_gateway, enforced_local] = &self.enforced;
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        [
            ("ejections_detected_consecutive_5xx", read(detected_5xx)),
            (
                "ejections_detected_consecutive_gateway_failure",
                read(detected_gateway),
            ),
            (
                "ejections_detected_consecutive_local_origin_failure",
                read(detected_local),
            ),
            ("ejections_enforced_consecutive_5xx", read(enforced_5xx)),
            (
                "ejections_enforced_consecutive_gateway_failure",
                read(enforced_gateway),
            ),
            (
                "ejections_enforced_consecutive_local_origin_failure",
                read(enforced_local),
            ),
            ("ejections_enforced_total", self.enforced.iter().map(read).sum()),
            ("ejections_overflow", read(&self.overflow)),
        ]
    }
}
