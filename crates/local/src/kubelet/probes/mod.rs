//! Probes: when to ask, and what the answers mean. Asking is [`ask`]'s business; this is pure, with time passed in.

pub(crate) mod ask;

use std::time::Duration;

use k8s_openapi::api::core::v1;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Startup,
    Readiness,
    Liveness,
}

impl Purpose {
    /// As in events: `Readiness probe failed: …`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// When a probe asks, and how many answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    successes: i32,
    failures: i32,
}

impl Schedule {
    /// With Kubernetes' defaults.
    pub(crate) fn of(probe: &v1::Probe) -> Self {
        let seconds = |stated: Option<i32>, default: u64, least: u64| {
            let stated = stated
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0);
            Duration::from_secs(stated.unwrap_or(default).max(least))
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 10, 1),
            timeout: seconds(probe.timeout_seconds, 1, 1),
            successes: probe.success_threshold.unwrap_or(1).max(1),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
        }
    }
}

/// Counts answers until enough agree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counter {
    last: Option<bool>,
    run: i32,
    verdict: Option<bool>,
}

impl Counter {
    /// One more answer; the verdict if this answer changed it.
    /// A failure that goes on is a verdict again each time, so that a container is not forgotten.
    pub(crate) fn count(&mut self, good: bool, schedule: &Schedule) -> Option<bool> {
        self.run = if self.last == Some(good) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(good);
        let enough = if good {
            schedule.successes
        } else {
            schedule.failures
        };
        if self.run < enough || (good && self.verdict == Some(true)) {
            return None;
        }
        self.verdict = Some(good);
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(success: i32, failure: i32) -> Schedule {
        let probe = v1::Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..v1::Probe::default()
        };
        Schedule::of(&probe)
    }

    fn verdicts(answers: &[bool], schedule: &Schedule) -> Vec<Option<bool>> {
        let mut counter = Counter::default();
        answers
            .iter()
            .map(|answer| counter.count(*answer, schedule))
            .collect()
    }

    #[test]
    fn defaults_are_kubernetes_s() {
        let schedule = Schedule::of(&v1::Probe::default());
        assert_eq!(schedule.period, Duration::from_secs(10));
        assert_eq!(schedule.timeout, Duration::from_secs(1));
        assert_eq!((schedule.successes, schedule.failures), (1, 3));
    }

    #[test]
    fn one_success_is_enough_and_said_once() {
        assert_eq!(verdicts(&[true, true], &schedule(1, 3)), [Some(true), None]);
    }

    #[test]
    fn three_failures_in_a_row_are_needed() {
        let answers = [true, false, false, true, false, false, false, false];
        let found = verdicts(&answers, &schedule(1, 3));
        assert_eq!(
            found,
            [Some(true), None, None, None, None, None, Some(false), Some(false)]
        );
    }

    #[test]
    fn several_successes_may_be_asked_for() {
        assert_eq!(
            verdicts(&[true, false, true, true, true], &schedule(2, 1)),
            [None, Some(false), None, Some(true), None]
        );
    }
}
