//! How much a cluster is asked to do at once: counts of the whole process, and permits that give back when they are
//! dropped. Istio: `connectionPool`, `retryBudget`.
//!
//! Each count is one atomic number that all workers share, so a limit is exact and nobody waits for it. What has no
//! limit is not counted.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use daemon::clock::{self, Instant};
use snapshot::{CircuitBreaker, RetryBudget};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests that have one.
    Requests,
    Retries,
}

/// How much of each resource of one cluster is in use, in all workers.
#[derive(Debug)]
pub(crate) struct Counts {
    at_once: [AtomicU32; 4],
    begun: Instant,
    recent: [AtomicU64; SLOTS],
}

/// Parts of the interval of a retry budget that are counted on their own.
const SLOTS: usize = 16;

impl Default for Counts {
    fn default() -> Self {
        Self {
            at_once: Default::default(),
            begun: clock::now(),
            recent: Default::default(),
        }
    }
}

/// The counts of a cluster, as one worker finds them. Lives as long as the cluster, whatever Snapshots come.
#[derive(Debug, Default)]
pub(crate) struct Usage(OnceCell<Arc<Counts>>);

impl Usage {
    /// Counts together with other workers from now on; the first word counts.
    pub(crate) fn share(&self, counts: &Arc<Counts>) {
        self.0.get_or_init(|| counts.clone());
    }

    /// Takes one, unless the limit is reached.
    pub(crate) fn take(self: &Rc<Self>, resource: Resource, breaker: &CircuitBreaker) -> Option<Permit> {
        let counts = self.0.get_or_init(Arc::default);
        let Some(limit) = counts.limit(resource, breaker) else {
            return Some(Permit(None));
        };
        let below = |count: u32| (count < limit).then_some(count + 1);
        let count = &counts.at_once[resource as usize];
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .ok()?;
        if let (Resource::Requests, Some(interval)) = (resource, budget_interval(breaker)) {
            counts.remember(clock::now(), interval);
        }
        Some(Permit(Some((counts.clone(), resource))))
    }

    /// Takes one even beyond the limit.
    pub(crate) fn take_anyway(self: &Rc<Self>, resource: Resource) -> Permit {
        let counts = self.0.get_or_init(Arc::default);
        counts.at_once[resource as usize].fetch_add(1, Ordering::Relaxed);
        Permit(Some((counts.clone(), resource)))
    }
}

/// The right to one of a resource.
#[derive(Debug)]
pub(crate) struct Permit(Option<(Arc<Counts>, Resource)>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((counts, resource)) = &self.0 {
            counts.at_once[*resource as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Counts {
    /// `None` when nobody needs to know how many there are.
    fn limit(&self, resource: Resource, breaker: &CircuitBreaker) -> Option<u32> {
        let stated = match resource {
            Resource::Connections => breaker.max_connections,
            Resource::Pending => breaker.max_pending_requests,
            Resource::Requests => breaker.max_requests,
            Resource::Retries => match &breaker.retry_budget {
                Some(budget) => return Some(self.retries(budget, clock::now())),
                None => breaker.max_retries,
            },
        };
        let asked_for = breaker.retry_budget.is_some() && resource != Resource::Connections;
        stated.or(asked_for.then_some(u32::MAX))
    }

    /// How many retries a budget allows at this moment.
    fn retries(&self, budget: &RetryBudget, now: Instant) -> u32 {
        let at_once = |resource: Resource| self.at_once[resource as usize].load(Ordering::Relaxed);
        let mut requests = at_once(Resource::Requests).saturating_add(at_once(Resource::Pending));
        if let Some(interval) = budget.interval {
            requests = requests.max(self.recent(now, interval));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count of requests, rounded down as Envoy does; the cast saturates"
        )]
        let share = (budget.percent / 100.0 * f64::from(requests)) as u32;
        share.max(budget.min_retry_concurrency)
    }

    /// Remembers that a request began. A slot holds which turn of the clock it counts, and how many.
    fn remember(&self, now: Instant, interval: Duration) {
        let turn = self.turn(now, interval);
        let slot = &self.recent[turn as usize % SLOTS];
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
            let (of, count) = split(value);
            let count = if of == turn { count.saturating_add(1) } else { 1 };
            Some(u64::from(turn) << 32 | u64::from(count))
        });
    }

    /// How many requests began within the interval.
    fn recent(&self, now: Instant, interval: Duration) -> u32 {
        let turn = self.turn(now, interval);
        let counted = |slot: &AtomicU64| {
            let (of, count) = split(slot.load(Ordering::Relaxed));
            let age = turn.wrapping_sub(of) as usize;
            if age < SLOTS { count } else { 0 }
        };
        self.recent.iter().map(counted).fold(0, u32::saturating_add)
    }

    /// Which part of an interval, counted from the beginning, is now. Wraps around in time.
    fn turn(&self, now: Instant, interval: Duration) -> u32 {
        let width = (interval.as_micros() / SLOTS as u128).max(1);
        let turns = (now - self.begun).as_micros() / width;
        u32::try_from(turns & u128::from(u32::MAX)).expect("masked")
    }
}

fn split(value: u64) -> (u32, u32) {
    let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).expect("masked");
    (half(value >> 32), half(value))
}

fn budget_interval(breaker: &CircuitBreaker) -> Option<Duration> {
    breaker.retry_budget.and_then(|budget| budget.interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(requests: Option<u32>, retries: Option<u32>) -> CircuitBreaker {
        CircuitBreaker {
            max_requests: requests,
            max_retries: retries,
            ..CircuitBreaker::default()
        }
    }

    #[test]
    fn a_permit_gives_back_when_it_is_dropped_and_workers_count_together() {
        let (one, other) = (Rc::new(Usage::default()), Rc::new(Usage::default()));
        let counts = Arc::new(Counts::default());
        one.share(&counts);
        other.share(&counts);
        let breaker = limited(Some(1), Some(1));
        let first = one.take(Resource::Requests, &breaker);
        assert!(first.is_some());
        assert!(
            other.take(Resource::Requests, &breaker).is_none(),
            "the limit is reached"
        );
        assert!(
            other.take(Resource::Retries, &breaker).is_some(),
            "resources are counted apart"
        );
        drop(first);
        assert!(other.take(Resource::Requests, &breaker).is_some());
    }

    #[test]
    fn a_budget_allows_retries_by_the_number_of_requests_and_never_less_than_its_minimum() {
        let usage = Rc::new(Usage::default());
        let breaker = CircuitBreaker {
            retry_budget: Some(RetryBudget {
                percent: 25.0,
                min_retry_concurrency: 1,
                interval: None,
            }),
            max_retries: Some(0),
            ..CircuitBreaker::default()
        };
        let at_once = |requests: usize| {
            let _requests: Vec<_> = (0..requests)
                .map(|_| usage.take(Resource::Requests, &breaker).unwrap())
                .collect();
            let mut retries = Vec::new();
            while let Some(retry) = usage.take(Resource::Retries, &breaker) {
                retries.push(retry);
            }
            retries.len()
        };
        assert_eq!((at_once(0), at_once(7), at_once(12)), (1, 1, 3));
    }

    #[test]
    fn with_an_interval_requests_count_for_a_while_after_they_ended() {
        let counts = Counts::default();
        let (interval, begun) = (Duration::from_secs(1), counts.begun);
        let budget = RetryBudget {
            percent: 50.0,
            min_retry_concurrency: 0,
            interval: Some(interval),
        };
        (0..2).for_each(|_| counts.remember(begun, interval));
        let after = |milliseconds| counts.retries(&budget, begun + Duration::from_millis(milliseconds));
        assert_eq!((after(0), after(900), after(1100)), (1, 1, 0));
    }
}
