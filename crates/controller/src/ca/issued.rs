//! The newest certificate of each caller, as far as it came from here: what a rotation of the root waits for, and
//! what `amime ca status` counts. Bounded: what has expired is forgotten first, then whoever comes too late.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// More workloads than one controller should serve.
const MOST: usize = 50_000;

/// By caller: the root that the certificate leads to, and until when it is valid.
pub(super) type Newest = BTreeMap<String, (String, u64)>;

/// Who has what. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Issued(Arc<Mutex<Newest>>);

impl Issued {
    /// `caller` got a certificate that leads to the root with that fingerprint.
    pub(crate) fn note(&self, caller: String, root: String, until: u64, now: u64) {
        let mut known = self.lock();
        if known.len() >= MOST && !known.contains_key(&caller) {
            known.retain(|_, (_, until)| *until > now);
            if known.len() >= MOST {
                return;
            }
        }
        known.insert(caller, (root, until));
    }

    /// Those that are still valid.
    pub(super) fn valid(&self, now: u64) -> Newest {
        let mut known = self.lock();
        known.retain(|_, (_, until)| *until > now);
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
        let expected = BTreeMap::from([("a".to_owned(), ("new".to_owned(), 200))]);
        assert_eq!(issued.valid(60), expected);
    }

    #[test]
    fn callers_are_bounded() {
        let issued = Issued::default();
        (0..MOST + 10).for_each(|number| issued.note(number.to_string(), "r".into(), 100, 0));
        assert_eq!(issued.valid(0).len(), MOST);
    }
}
