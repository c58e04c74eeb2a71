//! Earliest deadline first: hosts have turns in proportion to their weights, spread out and not bunched.
//!
//! Each has a deadline; the earliest is picked and gets its next one a step later that is the longer, the lighter it
//! is. Weights may change from turn to turn. Envoy's `EdfScheduler`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::random::Random;

/// Whose turn is when.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    turns: BinaryHeap<Reverse<Turn>>,
    made: u64,
}

#[derive(Debug)]
struct Turn {
    deadline: f64,
    /// Of equal deadlines the older one comes first.
    number: u64,
    member: u32,
}

impl Schedule {
    /// A schedule of that many members, begun at a random point, so that proxies do not move in step.
    pub(super) fn new(members: u32, weight: impl Fn(u32) -> f64, random: &Random) -> Self {
        let turns = (0..members).map(|member| {
            let begun = fraction(random.next());
            Reverse(Turn {
                deadline: begun / weight(member).max(f64::MIN_POSITIVE),
                number: u64::from(member),
                member,
            })
        });
        Self {
            turns: turns.collect(),
            made: u64::from(members),
        }
    }

    /// The member whose turn it is.
    pub(super) fn next(&mut self, weight: impl Fn(u32) -> f64) -> Option<u32> {
        let mut first = self.turns.peek_mut()?;
        let turn = &mut first.0;
        turn.deadline += 1.0 / weight(turn.member).max(f64::MIN_POSITIVE);
        turn.number = self.made;
        self.made += 1;
        Some(turn.member)
    }
}

/// A number from 0 to 1.
fn fraction(number: u64) -> f64 {
    f64::from(u32::try_from(number >> 32).expect("32 bits")) / f64::from(u32::MAX)
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deadline
            .total_cmp(&other.deadline)
            .then(self.number.cmp(&other.number))
    }
}
impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Turn {}
