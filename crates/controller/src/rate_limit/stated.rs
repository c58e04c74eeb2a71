//! Tables for rates that callers state, where no rule is for them: Envoys that were configured for another server.
//!
//! Every namespace has its own, so that nobody uses up, or crowds out, what another one counts. Both its share and the
//! whole are bounded. A table gives way to a new one when it was not used for the time of its rate, at most an hour:
//! its buckets are full again by then, so that forgetting them gives nothing away (of rates for days, what was taken
//! before that hour). While none gives way there is no room, and the policy of who asks decides about the request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use daemon::buckets::{Callers, Rate};
use daemon::clock::Instant;

/// Different rates of one namespace, and of all.
const OF_ONE_NAMESPACE: usize = 16;
const OF_ALL: usize = 512;
/// Callers of one rate that are known at once; 64 KiB for each rate in use.
const CALLERS: usize = 4 << 10;
/// What was not used for so long gives way, however slow its rate.
const LONGEST_IDLE: Duration = Duration::from_secs(3600);

/// Requests and interval.
type Stating = (u32, Duration);

/// By namespace and rate.
#[derive(Default)]
pub(super) struct Stated {
    tables: HashMap<(String, Stating), Table>,
}

struct Table {
    callers: Arc<Callers>,
    used: Instant,
}

/// All tables are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many different rates are stated")]
pub(crate) struct NoRoom;

impl Stated {
    /// The table of a rate that somebody of that namespace states.
    pub(super) fn callers(
        &mut self,
        namespace: &str,
        rate: Stating,
        now: Instant,
    ) -> Result<Arc<Callers>, NoRoom> {
        let key = (namespace.to_owned(), rate);
        if !self.tables.contains_key(&key) {
            let own = self.tables.keys().filter(|(owner, _)| owner == namespace);
            if own.count() >= OF_ONE_NAMESPACE {
                self.make_room(|owner| owner == namespace, now)?;
            } else if self.tables.len() >= OF_ALL {
                self.make_room(|_| true, now)?;
            }
        }
        let new = || {
            let (requests, interval) = rate;
            let rate = Rate::new(requests, interval, requests, now);
            Table {
                callers: Arc::new(Callers::new(rate, CALLERS)),
                used: now,
            }
        };
        let table = self.tables.entry(key).or_insert_with(new);
        table.used = table.used.max(now);
        Ok(table.callers.clone())
    }

    /// Forgets the table that was unused longest among those of these namespaces that give way.
    fn make_room(&mut self, of: impl Fn(&str) -> bool, now: Instant) -> Result<(), NoRoom> {
        let gives_way = |((_, (_, interval)), table): &(&(String, Stating), &Table)| {
            now.saturating_duration_since(table.used) >= LONGEST_IDLE.min(*interval)
        };
        let tables = self.tables.iter().filter(|((owner, _), _)| of(owner));
        let idle = tables.filter(gives_way).min_by_key(|(_, table)| table.used);
        let key = idle.map(|(key, _)| key.clone()).ok_or(NoRoom)?;
        self.tables.remove(&key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use daemon::clock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_namespace_that_states_many_rates_crowds_out_neither_what_it_counts_nor_others() {
        let (mut stated, now) = (Stated::default(), clock::now());
        let first = stated.callers("greedy", (1, MINUTE), now).unwrap();
        assert!(first.take(7, now, 1).taken);
        for requests in 2..200 {
            let room = stated.callers("greedy", (requests, MINUTE), now).is_ok();
            assert_eq!(room, usize::try_from(requests).unwrap() <= OF_ONE_NAMESPACE);
        }
        assert!(stated.callers("shop", (1, MINUTE), now).is_ok());
        let same = stated.callers("greedy", (1, MINUTE), now).unwrap();
        assert!(!same.take(7, now, 1).taken, "still counted");
    }

    #[test]
    fn what_was_unused_longest_gives_way_once_its_buckets_are_full_again() {
        let (mut stated, now) = (Stated::default(), clock::now());
        for requests in 1..=u32::try_from(OF_ONE_NAMESPACE).unwrap() {
            stated.callers("shop", (requests, MINUTE), now).unwrap();
        }
        let later = now + MINUTE;
        stated.callers("shop", (1, MINUTE), later).unwrap();
        stated.callers("shop", (100, MINUTE), later).unwrap();
        assert_eq!(stated.tables.len(), OF_ONE_NAMESPACE);
        assert!(stated.tables.contains_key(&("shop".to_owned(), (1, MINUTE))));
    }

    #[test]
    fn all_namespaces_together_have_a_bound() {
        let (mut stated, now) = (Stated::default(), clock::now());
        let rates = |number: usize| (u32::try_from(number % OF_ONE_NAMESPACE).unwrap() + 1, MINUTE);
        for number in 0..OF_ALL {
            let namespace = format!("n{}", number / OF_ONE_NAMESPACE);
            stated.callers(&namespace, rates(number), now).unwrap();
        }
        assert_eq!(stated.callers("shop", (1, MINUTE), now).err(), Some(NoRoom));
        assert!(stated.callers("shop", (1, MINUTE), now + MINUTE).is_ok());
        assert_eq!(stated.tables.len(), OF_ALL);
    }
}
