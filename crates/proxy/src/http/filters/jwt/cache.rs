//! Tokens that this worker has verified: a signature costs more than all the rest of a request. Times are checked each
//! time anew. Bounded: two generations, of which the older one goes when the younger one is full.

use std::cell::RefCell;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::compiled::Verified;

/// Tokens of a generation.
const GENERATION: usize = 128;
/// Longer ones are verified each time. (Envoy's cache has the same bound.)
const LONGEST: usize = 4096;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Cache(RefCell<Generations>);

/// By provider and token.
type Generation = HashMap<(u64, Box<str>), Arc<Verified>>;

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

impl Cache {
    /// The token, if it was verified for that provider.
    pub(super) fn get(&self, provider: u64, token: &str) -> Option<Arc<Verified>> {
        if token.len() > LONGEST {
            return None;
        }
        let key = (provider, Box::from(token));
        let mut generations = self.0.borrow_mut();
        if let Some(known) = generations.young.get(&key) {
            return Some(known.clone());
        }
        let known = generations.old.remove(&key)?;
        generations.insert(key, known.clone());
        Some(known)
    }

    /// Remembers it.
    pub(super) fn put(&self, provider: u64, token: &str, verified: &Arc<Verified>) {
        if token.len() <= LONGEST {
            let key = (provider, Box::from(token));
            self.0.borrow_mut().insert(key, verified.clone());
        }
    }
}

impl Generations {
    fn insert(&mut self, key: (u64, Box<str>), verified: Arc<Verified>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::replace(&mut self.young, Generation::with_capacity(GENERATION));
        }
        self.young.insert(key, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::super::compiled::tests::verified;
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let cache = Cache::default();
        let token = verified();
        cache.put(1, "used", &token);
        for number in 0..10 * GENERATION {
            cache.put(1, &number.to_string(), &token);
            assert!(cache.get(1, "used").is_some(), "{number}");
        }
        assert!(cache.get(1, "0").is_none());
        assert!(cache.get(2, "used").is_none(), "another provider");
        let generations = cache.0.borrow();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn long_tokens_are_not_kept() {
        let cache = Cache::default();
        let long = "x".repeat(LONGEST + 1);
        cache.put(1, &long, &verified());
        assert!(cache.get(1, &long).is_none());
    }
}
