//! Retries of a route. Istio: `HTTPRetry`; the default policy is in Istio's "Traffic management" concepts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When and how often a request is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first one.
    pub attempts: u32,
    /// Envoy's conditions: `connect-failure`, `refused-stream`, `unavailable`, `cancelled`,
    /// `retriable-status-codes` …
    pub on: Vec<String>,
    /// Statuses for `retriable-status-codes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status_codes: Vec<u16>,
    /// Limit of each try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Duration>,
    /// Prefer hosts that this request has not tried (Envoy: `previous_hosts`).
    #[serde(default)]
    pub avoid_previous_hosts: bool,
    /// From every second retry on, prefer localities whose priority this request has not tried (Envoy:
    /// `previous_priorities`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote_localities: bool,
    /// Waits between tries.
    #[serde(default, skip_serializing_if = "BackOff::is_default")]
    pub back_off: BackOff,
}

/// Waits between tries: a random part of an interval that doubles with each retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOff {
    /// The interval before the first retry.
    pub base: Duration,
    /// The longest interval.
    pub longest: Duration,
}

impl BackOff {
    /// The longest interval, where none is stated, as a multiple of the first one (Envoy).
    const LONGEST: u32 = 10;

    /// Envoy's, from that interval on; it counts whole milliseconds, at least one.
    pub fn from(base: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self {
            base,
            longest: base.saturating_mul(Self::LONGEST),
        }
    }

    /// The interval before that retry (from 1 on). The wait is a random part of it.
    pub fn interval(self, retry: u32) -> Duration {
        let doubled = (1..retry.min(32)).try_fold(self.base, |interval, _| {
            (interval < self.longest / 2).then(|| interval * 2)
        });
        doubled.unwrap_or(self.longest)
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for BackOff {
    /// Envoy's: 25 ms, at most a quarter of a second.
    fn default() -> Self {
        Self::from(Duration::from_millis(25))
    }
}

impl Default for Retry {
    /// Istio's default for every HTTP route: 2 more tries, on failures that provably reached nobody.
    fn default() -> Self {
        Self {
            attempts: 2,
            on: ["connect-failure", "refused-stream", "unavailable", "cancelled"]
                .map(String::from)
                .to_vec(),
            status_codes: Vec::new(),
            per_try_timeout: None,
            avoid_previous_hosts: true,
            remote_localities: false,
            back_off: BackOff::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_longest() {
        let intervals =
            |back_off: BackOff| [1, 2, 3, 4, 5, 40].map(|retry| back_off.interval(retry).as_millis());
        assert_eq!(intervals(BackOff::default()), [25, 50, 100, 200, 250, 250]);
        let fixed = BackOff {
            longest: Duration::from_secs(1),
            ..BackOff::from(Duration::from_secs(1))
        };
        assert_eq!(intervals(fixed), [1000; 6]);
        assert_eq!(BackOff::from(Duration::ZERO).base, Duration::from_millis(1));
    }
}
