//! When to push: soon after a lone change, but once for a burst. Pure; time is passed in.
//!
//! A change after silence waits a moment only, for the others that the same `apply` writes. While changes keep
//! coming, a push waits for a quiet period, and never longer than the maximum (Istio: 100 ms and 10 s).

use std::time::Duration;

use daemon::clock::Instant;

/// The periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// After a change that follows silence.
    pub moment: Duration,
    /// Without changes, in a burst; and how long silence must have lasted to count as such.
    pub quiet: Duration,
    /// The longest that a change waits.
    pub longest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            moment: Duration::from_millis(10),
            quiet: Duration::from_millis(100),
            longest: Duration::from_secs(10),
        }
    }
}

/// Changes that wait for a push.
#[derive(Clone, Debug)]
pub struct Debounce {
    settings: Settings,
    waiting: Option<Waiting>,
    last_change: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    first: Instant,
    last: Instant,
    after_silence: bool,
}

impl Debounce {
    /// Nothing waits.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            waiting: None,
            last_change: None,
        }
    }

    /// Something changed.
    pub fn change(&mut self, now: Instant) {
        let quiet = self.settings.quiet;
        let after_silence = self
            .last_change
            .is_none_or(|last| now.saturating_duration_since(last) >= quiet);
        let waiting = self.waiting.get_or_insert(Waiting {
            first: now,
            last: now,
            after_silence,
        });
        waiting.last = now;
        self.last_change = Some(now);
    }

    /// When to push; `None` while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let Settings {
            moment,
            quiet,
            longest,
        } = self.settings;
        let Waiting {
            first,
            last,
            after_silence,
        } = self.waiting?;
        Some(match after_silence {
            true => (last + moment).min(first + quiet),
            false => (last + quiet).min(first + longest),
        })
    }

    /// The push is made; since when its oldest change waited.
    pub fn pushed(&mut self) -> Option<Instant> {
        self.waiting.take().map(|waiting| waiting.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// When pushes happen, given when changes do; all in milliseconds from the start.
    fn pushes(changes: &[u64]) -> Vec<u64> {
        let start = daemon::clock::now();
        let mut debounce = Debounce::new(Settings::default());
        let mut pushes = Vec::new();
        let mut push_until = |debounce: &mut Debounce, now: Option<Instant>| {
            while let Some(due) = debounce.due().filter(|due| now.is_none_or(|now| *due <= now)) {
                debounce.pushed();
                pushes.push(u64::try_from((due - start).as_millis()).unwrap());
            }
        };
        for change in changes {
            let now = start + ms(*change);
            push_until(&mut debounce, Some(now));
            debounce.change(now);
        }
        push_until(&mut debounce, None);
        pushes
    }

    #[test]
    fn a_lone_change_waits_a_moment() {
        assert_eq!(pushes(&[1000, 2000]), [1010, 2010]);
    }

    #[test]
    fn an_apply_of_several_objects_is_one_push() {
        assert_eq!(pushes(&[0, 4, 9, 15]), [25]);
    }

    #[test]
    fn changes_that_keep_coming_are_pushed_early_once_and_then_after_quiet() {
        let burst: Vec<_> = (0..100).map(|step| step * 5).collect();
        assert_eq!(pushes(&burst), [100, 595]);
    }

    #[test]
    fn a_burst_without_end_is_pushed_at_the_longest_wait() {
        let burst: Vec<_> = (0..4000).map(|step| step * 5).collect();
        assert_eq!(pushes(&burst), [100, 10_100, 20_095]);
    }
}
