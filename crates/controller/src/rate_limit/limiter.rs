//! Counts, without sockets and without a clock: rules in, questions in, verdicts out.
//!
//! Each rule has a table of buckets by caller, in bounded memory and without a lock ([`daemon::buckets`]): no key ever
//! gets more than its limit, however many keys there are.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use daemon::buckets::{Callers, Rate};
use daemon::clock::Instant;
use snapshot::rate_limit::LIMIT_ENTRY;
use translate::rate_limit::Rule;
use xds::rate_limit::{Descriptor, Question, Status, Verdict};

/// Callers of one limit that are known at once; 256 KiB for each limit in use.
const CALLERS: usize = 16 << 10;
/// Different rates that callers may state where no rule is for them.
const STATED: usize = 64;

/// By domain and name of the limit.
type Rules = HashMap<(String, String), Arc<Counted>>;
/// By requests and interval.
type Stated = HashMap<(u32, Duration), Arc<Callers>>;

/// The counts of all limits.
#[derive(Default)]
pub(crate) struct Limiter {
    rules: ArcSwap<Rules>,
    /// Of rates that callers stated.
    stated: Mutex<Stated>,
}

/// A rule with its counts.
struct Counted {
    rule: Rule,
    callers: Callers,
}

impl Limiter {
    /// From now on these rules hold. What was counted under a rule that stays is kept.
    pub(crate) fn follow(&self, rules: &[Rule], now: Instant) {
        let before = self.rules.load();
        let counted = rules.iter().map(|rule| {
            let key = (rule.domain.clone(), rule.limit.clone());
            let same = before.get(&key).filter(|known| known.rule == *rule);
            let counted = same.cloned().unwrap_or_else(|| {
                let rate = Rate::new(rule.requests, rule.interval, rule.burst, now);
                Arc::new(Counted {
                    rule: rule.clone(),
                    callers: Callers::new(rate, CALLERS),
                })
            });
            (key, counted)
        });
        self.rules.store(Arc::new(counted.collect()));
    }

    /// Takes what a question asks for, of every limit that it is about.
    pub(crate) fn judge(&self, question: &Question, now: Instant) -> Verdict {
        let descriptors = question.descriptors.iter();
        let statuses: Vec<_> = descriptors
            .map(|descriptor| self.take(&question.domain, descriptor, now))
            .collect();
        Verdict {
            over: statuses.iter().any(|status| status.over),
            statuses,
            ..Verdict::default()
        }
    }

    /// What no rule is for and states no rate passes, as with other servers.
    fn take(&self, domain: &str, descriptor: &Descriptor, now: Instant) -> Status {
        let named = descriptor.entries.first().filter(|(key, _)| key == LIMIT_ENTRY);
        let rules = self.rules.load();
        let counted = named.and_then(|(_, limit)| rules.get(&(domain.to_owned(), limit.clone())));
        if let Some(Counted { rule, callers }) = counted.map(AsRef::as_ref) {
            return status(callers, (rule.requests, rule.interval), (domain, descriptor), now);
        }
        let stated = descriptor.stated.filter(|(requests, _)| *requests > 0);
        match stated.and_then(|rate| Some((rate, self.stated(rate, now)?))) {
            Some((rate, callers)) => status(&callers, rate, (domain, descriptor), now),
            None => Status::default(),
        }
    }

    fn stated(&self, rate: (u32, Duration), now: Instant) -> Option<Arc<Callers>> {
        let mut stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
        if stated.len() >= STATED && !stated.contains_key(&rate) {
            return None;
        }
        let (requests, interval) = rate;
        let new = || {
            Arc::new(Callers::new(
                Rate::new(requests, interval, requests, now),
                CALLERS,
            ))
        };
        Some(stated.entry(rate).or_insert_with(new).clone())
    }
}

fn status(
    callers: &Callers,
    rate: (u32, Duration),
    (domain, descriptor): (&str, &Descriptor),
    now: Instant,
) -> Status {
    let mut hasher = callers.hasher();
    let mut add = |text: &str| {
        hasher.write(text.as_bytes());
        // No text has this byte: where one ends makes a difference.
        hasher.write_u8(0xff);
    };
    add(domain);
    for (key, value) in &descriptor.entries {
        add(key);
        add(value);
    }
    let cost = u32::try_from(descriptor.cost.unwrap_or(1)).unwrap_or(u32::MAX);
    let left = callers.take(hasher.finish(), now, cost);
    Status {
        over: !left.taken,
        rate: Some(rate),
        remaining: u32::try_from(left.remaining).unwrap_or(u32::MAX),
        reset: left.full_in,
    }
}
