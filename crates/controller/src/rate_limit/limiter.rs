//! Counts, without sockets and without a clock: rules in, questions in, verdicts out.
//!
//! Each rule has a table of buckets by caller, in bounded memory and without a lock ([`daemon::buckets`]): no key ever
//! gets more than its limit, however many keys there are. Rates that callers state where no rule is for them are
//! counted for each namespace by itself ([`super::stated`]).

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use daemon::buckets::{Callers, Rate};
use daemon::clock::Instant;
use snapshot::rate_limit::LIMIT_ENTRY;
use translate::rate_limit::Rule;
use xds::rate_limit::{Descriptor, Question, Status, Verdict};

use super::stated::{NoRoom, Stated};

/// Callers of one limit that are known at once; 256 KiB for each limit in use.
const CALLERS: usize = 16 << 10;

/// By domain and name of the limit.
type Rules = HashMap<(String, String), Arc<Counted>>;

/// The counts of all limits.
#[derive(Default)]
pub(crate) struct Limiter {
    /// None before the mesh is known.
    rules: ArcSwapOption<Rules>,
    stated: Mutex<Stated>,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Whatever is asked about may have a rule.
    #[error("the limits of the mesh are not known yet")]
    Unknown,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// A rule with its counts.
struct Counted {
    rule: Rule,
    callers: Callers,
}

/// What counts a descriptor.
enum Counter {
    Rule(Arc<Counted>),
    Stated((u32, Duration), Arc<Callers>),
    /// What no rule is for and states no rate passes, as with other servers.
    Nobody,
}

impl Limiter {
    /// From now on these rules hold. What was counted under a rule that stays is kept.
    pub(crate) fn follow(&self, rules: &[Rule], now: Instant) {
        let before = self.rules.load();
        let counted = rules.iter().map(|rule| {
            let key = (rule.domain.clone(), rule.limit.clone());
            let known = before.as_deref().and_then(|before| before.get(&key));
            let same = known.filter(|known| known.rule == *rule);
            let counted = same.cloned().unwrap_or_else(|| {
                let rate = Rate::new(rule.requests, rule.interval, rule.burst, now);
                Arc::new(Counted {
                    rule: rule.clone(),
                    callers: Callers::new(rate, CALLERS),
                })
            });
            (key, counted)
        });
        self.rules.store(Some(Arc::new(counted.collect())));
    }

    /// Takes what a question from that namespace asks for, of every limit that it is about; or of none.
    ///
    /// # Errors
    /// Before rules are known; and when it states rates, and there is no room to count them.
    pub(crate) fn judge(
        &self,
        namespace: &str,
        question: &Question,
        now: Instant,
    ) -> Result<Verdict, Unanswered> {
        let domain = &question.domain;
        let rules = self.rules.load();
        let rules = rules.as_deref().ok_or(Unanswered::Unknown)?;
        let counters = question.descriptors.iter().map(|descriptor| {
            let counter = self.counter(rules, (namespace, domain), descriptor, now);
            counter.map(|counter| (descriptor, counter))
        });
        let counters: Vec<_> = counters.collect::<Result<_, NoRoom>>()?;
        let statuses = counters.into_iter().map(|(descriptor, counter)| match counter {
            Counter::Rule(counted) => counted.take(domain, descriptor, now),
            Counter::Stated(rate, callers) => {
                status(&callers, rate, (domain, descriptor), (asked(descriptor), now))
            }
            Counter::Nobody => Status::default(),
        });
        let statuses: Vec<_> = statuses.collect();
        Ok(Verdict {
            over: statuses.iter().any(|status| status.over),
            statuses,
            ..Verdict::default()
        })
    }

    fn counter(
        &self,
        rules: &Rules,
        (namespace, domain): (&str, &str),
        descriptor: &Descriptor,
        now: Instant,
    ) -> Result<Counter, NoRoom> {
        let named = descriptor.entries.first().filter(|(key, _)| key == LIMIT_ENTRY);
        let counted = named.and_then(|(_, limit)| rules.get(&(domain.to_owned(), limit.clone())));
        if let Some(counted) = counted {
            return Ok(Counter::Rule(counted.clone()));
        }
        let Some(rate) = descriptor.stated.filter(|(requests, _)| *requests > 0) else {
            return Ok(Counter::Nobody);
        };
        let mut stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Counter::Stated(rate, stated.callers(namespace, rate, now)?))
    }
}

impl Counted {
    /// A question may take less than the rule says, and never more: else whoever may ask could use up in one question
    /// what is there for all.
    fn take(&self, domain: &str, descriptor: &Descriptor, now: Instant) -> Status {
        let rule = &self.rule;
        let cost = asked(descriptor).min(rule.cost);
        status(
            &self.callers,
            (rule.requests, rule.interval),
            (domain, descriptor),
            (cost, now),
        )
    }
}

/// The cost that a question states.
fn asked(descriptor: &Descriptor) -> u32 {
    u32::try_from(descriptor.cost.unwrap_or(1)).unwrap_or(u32::MAX)
}

fn status(
    callers: &Callers,
    rate: (u32, Duration),
    (domain, descriptor): (&str, &Descriptor),
    (cost, now): (u32, Instant),
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
    let left = callers.take(hasher.finish(), now, cost);
    Status {
        over: !left.taken,
        rate: Some(rate),
        remaining: u32::try_from(left.remaining).unwrap_or(u32::MAX),
        reset: left.full_in,
    }
}
