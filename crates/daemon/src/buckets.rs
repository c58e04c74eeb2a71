//! Token buckets that many threads take from without a lock: one, or one for each caller in bounded memory.
//!
//! A bucket is one number, the time at which it was, or would have been, empty; it only grows. Tokens trickle in, as in
//! Envoy. Time is passed in.
//!
//! Invariant: no caller ever gets more than its bucket has. Where there are more callers at once than places, a new
//! one continues the bucket that was used least among those of its set. What it takes over is at least what its own
//! bucket would be, if it had been there before: so forgetting somebody never gives anything away, and a crowd of
//! callers that nobody has seen before can only be refused too early. (When several threads meet a new caller in the
//! same instant, each may let one request of that caller pass too many.)
//!
//! Nothing overflows, whatever the rate: where all tokens together would be more nanoseconds than fit, time is counted
//! in longer units.

use std::hash::{BuildHasher, DefaultHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Instant;

/// Places that a caller may have.
const WAYS: usize = 8;

/// Most units of time that all tokens of a bucket take. Half of the numbers are left for the time that passes; and even
/// of 2^32 tokens, each still has 2^30 units, so that rounding is no matter.
const MOST: u64 = 1 << 62;

/// How fast tokens come, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    made: Instant,
    /// Nanoseconds of one unit of time: 1, unless it takes more than a century to fill the bucket.
    unit: u64,
    /// Units of one token, and of all; those are at most [`MOST`].
    token: u64,
    all: u64,
}

/// What a bucket was like after somebody asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whether the tokens were there, and were taken.
    pub taken: bool,
    /// Whole tokens that are left.
    pub remaining: u64,
    /// Time until all tokens are there again.
    pub full_in: Duration,
    /// Time until as many are there as were asked for.
    pub enough_in: Duration,
    /// Time until there is one more.
    pub next_in: Duration,
}

impl Rate {
    /// `tokens` come per `interval`; at most `most` wait, and they wait already.
    pub fn new(tokens: u32, interval: Duration, most: u32, now: Instant) -> Self {
        let nanoseconds = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let token = (nanoseconds / u64::from(tokens.max(1))).max(1);
        let all = u128::from(token) * u128::from(most);
        let unit = u64::try_from(all.div_ceil(MOST.into()))
            .unwrap_or(u64::MAX)
            .max(1);
        let token = (token / unit).max(1);
        Self {
            made: now,
            unit,
            token,
            all: token.saturating_mul(most.into()).min(MOST),
        }
    }

    /// Time of one token.
    pub fn token(&self) -> Duration {
        self.time(self.token)
    }

    fn time(&self, units: u64) -> Duration {
        Duration::from_nanos(units.saturating_mul(self.unit))
    }

    fn take(&self, empty_at: &AtomicU64, now: Instant, cost: u32) -> Left {
        let now = self.at(now);
        let cost = self.token.saturating_mul(cost.into());
        let floor = now.saturating_sub(self.all);
        let update = |empty_at: u64| {
            let next = empty_at.max(floor).saturating_add(cost);
            (next <= now).then_some(next)
        };
        let (taken, empty_at) = match empty_at.try_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            Ok(before) => (true, before.max(floor).saturating_add(cost)),
            Err(before) => (false, before.max(floor)),
        };
        let available = now.saturating_sub(empty_at);
        Left {
            taken,
            remaining: available / self.token,
            full_in: self.time(self.all.saturating_sub(available)),
            enough_in: self.time(cost.saturating_sub(available)),
            next_in: self.time(self.token - available % self.token),
        }
    }

    /// Time since the bucket was filled first; at least that of all tokens.
    fn at(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.made).as_nanos() / u128::from(self.unit);
        self.all.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// One bucket.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    /// Nanoseconds from a full bucket before `made`.
    empty_at: AtomicU64,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            empty_at: AtomicU64::new(0),
        }
    }

    /// Takes tokens, if they are there.
    pub fn take(&self, now: Instant, cost: u32) -> Left {
        self.rate.take(&self.empty_at, now, cost)
    }

    /// How fast its tokens come.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }
}

/// A bucket for each caller.
#[derive(Debug)]
pub struct Callers {
    rate: Rate,
    places: usize,
    hasher: RandomState,
    /// Made for the first caller: many a limit never sees one.
    slots: OnceLock<Box<[Slot]>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// 0 is nobody.
    caller: AtomicU64,
    empty_at: AtomicU64,
}

impl Callers {
    /// Buckets for that many callers at once; each begins full. 16 bytes for each, once there is one.
    pub fn new(rate: Rate, places: usize) -> Self {
        Self {
            rate,
            places: places.next_power_of_two().max(WAYS),
            hasher: RandomState::new(),
            slots: OnceLock::new(),
        }
    }

    /// What the number of a caller is made with: all that tells it from others goes in. Nobody outside can tell which
    /// callers meet in a set.
    pub fn hasher(&self) -> DefaultHasher {
        self.hasher.build_hasher()
    }

    /// Takes tokens of a caller, if they are there.
    pub fn take(&self, caller: u64, now: Instant, cost: u32) -> Left {
        let slots = self
            .slots
            .get_or_init(|| (0..self.places).map(|_| Slot::default()).collect());
        let caller = caller.max(1);
        // The upper half chooses the set; the whole number tells callers of a set apart.
        let sets = slots.len() / WAYS;
        let set = usize::try_from(caller >> 32).unwrap_or_default() & (sets - 1);
        let slot = place(&slots[set * WAYS..][..WAYS], caller);
        self.rate.take(&slot.empty_at, now, cost)
    }

    /// How fast tokens of each come.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }
}

/// The place of a caller in its set.
fn place(set: &[Slot], caller: u64) -> &Slot {
    loop {
        if let Some(known) = find(set, caller) {
            return known;
        }
        let used = |slot: &&Slot| slot.empty_at.load(Ordering::Relaxed);
        let least = set.iter().min_by_key(used).expect("a set has places");
        let before = least.caller.load(Ordering::Relaxed);
        let exchanged = least
            .caller
            .compare_exchange(before, caller, Ordering::Relaxed, Ordering::Relaxed);
        if exchanged.is_ok() {
            // Two threads may have found it a place each; the first in the set counts.
            return find(set, caller).unwrap_or(least);
        }
    }
}

fn find(set: &[Slot], caller: u64) -> Option<&Slot> {
    set.iter()
        .find(|slot| slot.caller.load(Ordering::Relaxed) == caller)
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::clock;

    fn rate(tokens: u32, seconds: u64, most: u32) -> (Rate, impl Fn(u64) -> Instant) {
        let made = clock::now();
        let rate = Rate::new(tokens, Duration::from_secs(seconds), most, made);
        (rate, move |milliseconds| {
            made + Duration::from_millis(milliseconds)
        })
    }

    /// Takes tokens from somewhere.
    type Take<'a> = dyn Fn(Instant, u32) -> Left + 'a;

    #[test]
    fn a_bucket_gives_what_it_has_and_what_trickles_in() {
        let (rate, after) = rate(1, 10, 2);
        let bucket = Bucket::new(rate);
        assert!(bucket.take(after(0), 1).taken && bucket.take(after(1000), 1).taken);
        let left = bucket.take(after(2000), 1);
        assert!(!left.taken, "empty");
        assert_eq!(left.enough_in, Duration::from_secs(8));
        assert_eq!(left.full_in, Duration::from_secs(18));
        assert_eq!(left.next_in, Duration::from_secs(8));
        assert!(bucket.take(after(11_000), 1).taken, "one came");
        assert!(!bucket.take(after(12_000), 1).taken);
        let left = bucket.take(after(1_000_000), 1);
        assert_eq!(left.remaining, 1, "never more than fit in");
    }

    #[test]
    fn a_request_that_costs_more_takes_all_or_nothing() {
        let (rate, after) = rate(10, 1, 10);
        let bucket = Bucket::new(rate);
        assert!(bucket.take(after(0), 8).taken);
        let left = bucket.take(after(0), 8);
        assert_eq!((left.taken, left.remaining), (false, 2));
        assert!(bucket.take(after(0), 2).taken);
        assert!(!bucket.take(after(0), u32::MAX).taken);
    }

    #[test]
    fn a_bucket_that_takes_centuries_to_fill_still_is_a_limit() {
        const DAY: u64 = 86_400;
        for (tokens, seconds, most) in [
            (1, DAY, 300_000),
            (1, DAY, u32::MAX),
            (1, u64::MAX, u32::MAX),
            (1, u64::MAX, 1),
            (u32::MAX, DAY, u32::MAX),
        ] {
            let (rate, after) = rate(tokens, seconds, most);
            let (bucket, callers) = (Bucket::new(rate), Callers::new(rate, 8));
            let takes: [&Take; 2] = [&|now, cost| bucket.take(now, cost), &|now, cost| {
                callers.take(7 << 32, now, cost)
            }];
            for take in takes {
                let shown = format!("{tokens} in {seconds} s, at most {most}");
                assert!(take(after(0), most - 1).taken, "{shown}");
                let last = take(after(0), 1);
                assert_eq!((last.taken, last.remaining), (true, 0), "{shown}");
                assert!(!take(after(0), 1).taken, "{shown}: empty");
                assert!(!take(after(0), most).taken, "{shown}: empty");
            }
        }
        let (rate, after) = rate(1, DAY, u32::MAX);
        assert!(rate.token().abs_diff(Duration::from_secs(DAY)) < Duration::from_secs(1));
        let bucket = Bucket::new(rate);
        bucket.take(after(0), u32::MAX);
        assert!(
            !bucket.take(after(DAY * 1000 - 1000), 1).taken,
            "a second before it comes"
        );
        assert!(bucket.take(after(DAY * 1000), 1).taken, "one token a day");
        assert!(!bucket.take(after(DAY * 1000), 1).taken);
    }

    #[test]
    fn callers_do_not_know_of_each_other() {
        let (rate, after) = rate(1, 1, 2);
        let callers = Callers::new(rate, 64);
        let number = |name: &str| {
            let mut hasher = callers.hasher();
            hasher.write(name.as_bytes());
            hasher.finish()
        };
        for name in ["a", "b", "c"] {
            let taken = (0..3).filter(|_| callers.take(number(name), after(0), 1).taken);
            assert_eq!(taken.count(), 2, "{name}");
        }
    }

    /// A linear congruence is random enough for tests, and the same every time.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.0 >> 16
        }
    }

    #[test]
    fn no_caller_gets_more_than_its_bucket_however_many_crowd_in() {
        for seed in 0..20 {
            let (rate, after) = rate(10, 1, 5);
            let callers = Callers::new(rate, 32);
            let mut numbers = Numbers(seed);
            let mut passed = std::collections::HashMap::<u64, Vec<u64>>::new();
            let mut now = 0;
            for _ in 0..20_000 {
                now += numbers.next() % 4;
                // 200 callers for 32 places; the first ones come often.
                let caller = (numbers.next() % 200).min(numbers.next() % 200);
                let spread = (caller + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                if callers.take(spread, after(now), 1).taken {
                    passed.entry(caller).or_default().push(now);
                }
            }
            for (caller, times) in passed {
                for (first, begun) in times.iter().enumerate() {
                    for (later, ended) in times.iter().enumerate().skip(first) {
                        let most = 5 + (ended - begun) / 100;
                        let count = u64::try_from(later - first).unwrap();
                        assert!(
                            count < most,
                            "seed {seed}, caller {caller}: {count} in {begun}..{ended}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let (rate, after) = rate(1, 3600, 1000);
        let (bucket, callers) = (Bucket::new(rate), Callers::new(rate, 64));
        let (one, each) = (AtomicU32::new(0), AtomicU32::new(0));
        // The place is there before they come.
        callers.take(7 << 32, after(0), 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        one.fetch_add(bucket.take(after(0), 1).taken.into(), Ordering::Relaxed);
                        each.fetch_add(callers.take(7 << 32, after(0), 1).taken.into(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((one.into_inner(), each.into_inner()), (1000, 1000));
    }
}
