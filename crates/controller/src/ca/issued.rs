//! The newest certificate of each caller, as far as it came from here: what a rotation of the root waits for, and
//! what `amime ca status` counts. Bounded: what has expired is forgotten first, then whoever comes too late.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// More workloads than one controller should serve.
const MOST: usize = 50_000;

/// A certificate. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The root that it leads to.
    pub(crate) root: String,
    pub(crate) until: u64,
    /// When it was given: of two replicas' words the newer one counts.
    pub(crate) at: u64,
}

/// By caller.
pub(crate) type Newest = BTreeMap<String, Given>;

/// Who has what. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Issued(Arc<Mutex<Newest>>);

impl Issued {
    /// `caller` got a certificate that leads to the root with that fingerprint.
    pub(crate) fn note(&self, caller: String, root: String, until: u64, now: u64) {
        let mut known = self.lock();
        if known.len() >= MOST && !known.contains_key(&caller) {
            known.retain(|_, given| given.until > now);
            if known.len() >= MOST {
                return;
            }
        }
        known.insert(caller, Given { root, until, at: now });
    }

    /// Those that are still valid.
    pub(super) fn valid(&self, now: u64) -> Newest {
        let mut known = self.lock();
        known.retain(|_, given| given.until > now);
        known.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_and_what_has_expired_does_not() {
        let issued = Issued::default();
        issued.note("a".into(), "old".into(), 100, 0);
        issued.note("a".into(), "new".into(), 200, 0);
        issued.note("b".into(), "old".into(), 50, 0);
        let newest = Given {
            root: "new".into(),
            until: 200,
            at: 0,
        };
        let expected = BTreeMap::from([("a".to_owned(), newest)]);
        assert_eq!(issued.valid(60), expected);
    }

    #[test]
    fn callers_are_bounded() {
        let issued = Issued::default();
        (0..MOST + 10).for_each(|number| issued.note(number.to_string(), "r".into(), 100, 0));
        assert_eq!(issued.valid(0).len(), MOST);
    }
}
