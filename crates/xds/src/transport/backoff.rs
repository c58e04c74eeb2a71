//! How long to wait before connecting again: doubling, with full jitter, so that a thousand proxies that lost
//! one controller do not come back in one moment.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
/// Whoever lost its controller is back within this time, if it can be.
pub const LONGEST: Duration = Duration::from_secs(10);

/// The waits between attempts.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection worked: start over.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait; `share`, from 0 to 1, is where it falls between a quarter and the whole of it.
    pub(super) fn next(&mut self, share: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.25 + 0.75 * share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(1.0), FIRST);
        assert_eq!(backoff.next(1.0), FIRST * 2);
        assert_eq!((0..100).map(|_| backoff.next(1.0)).max(), Some(LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(0.0), FIRST / 4);
    }
}
