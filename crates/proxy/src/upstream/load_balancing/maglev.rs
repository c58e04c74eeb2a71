//! Maglev: a table whose places hosts take in turn, each in an order of its own. Finding the host of a key costs one
//! look, and a host that comes or goes moves few of the others' places.
//!
//! Orders and turns are Envoy's, so that both choose the same host for the same key. Paper: Eisenbud and others,
//! "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016.

use super::ring::Share;
use super::xxhash;

const FREE: u32 = u32::MAX;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Maglev(Vec<u32>);

/// The order in which a host wants places.
struct Wishes {
    host: u32,
    place: u64,
    skip: u64,
    share: f64,
    /// What its share must have come to for the next turn.
    due: f64,
}

impl Maglev {
    /// `size` is a prime number, or wishes would not reach every place.
    pub(super) fn new(shares: &[Share], size: u64) -> Self {
        let Ok(places) = usize::try_from(size) else {
            return Self::default();
        };
        if shares.is_empty() || places < 2 {
            return Self::default();
        }
        let mut named: Vec<_> = shares
            .iter()
            .map(|share| (share.address.to_string(), share))
            .collect();
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        let wishes = named.iter().map(|(name, share)| Wishes {
            host: share.host,
            place: xxhash::hash(name.as_bytes()) % size,
            skip: xxhash::seeded(name.as_bytes(), 1) % (size - 1) + 1,
            share: share.share,
            due: 0.0,
        });
        let mut wishes: Vec<_> = wishes.collect();
        let heaviest = shares.iter().map(|share| share.share).fold(0.0, f64::max);
        Self(fill(&mut wishes, places, size, heaviest))
    }

    /// The host of the key; a later attempt looks for another one.
    pub(super) fn choose(&self, key: u64, attempt: usize) -> Option<u32> {
        let key = match attempt as u64 {
            0 => key,
            // Most bits differ, so that keys of one host go to different ones.
            attempt => key ^ (u64::MAX - attempt + 1),
        };
        let place = key.checked_rem(self.0.len() as u64)?;
        self.0.get(usize::try_from(place).ok()?).copied()
    }
}

/// Rounds of turns: the heaviest has one in each, one of a third of its share one in every third.
fn fill(wishes: &mut [Wishes], places: usize, size: u64, heaviest: f64) -> Vec<u32> {
    let mut table = vec![FREE; places];
    let (mut taken, mut round) = (0, 0.0);
    while taken < places {
        round += 1.0;
        for wish in wishes.iter_mut() {
            if taken == places {
                break;
            }
            if round * wish.share < wish.due {
                continue;
            }
            wish.due += heaviest;
            let place = loop {
                let place = usize::try_from(wish.place).expect("less than the length of the table");
                wish.place = (wish.place + wish.skip) % size;
                if table[place] == FREE {
                    break place;
                }
            };
            table[place] = wish.host;
            taken += 1;
        }
    }
    table
}
