//! Encodings by view: proxies whose scopes are equal share one snapshot and one encoding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use translate::Scope;
use xds::{Dialect, Encoded};

use super::{Peer, World};

/// The memo. Entries that no picture of late used are dropped.
#[derive(Debug, Default)]
pub struct Cache {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_view: HashMap<View, Entry>,
    latest: u64,
}

/// The hash of a scope, and who reads.
type View = (u64, Dialect);

#[derive(Debug)]
struct Entry {
    encoded: Arc<OnceLock<Arc<Encoded>>>,
    used: u64,
}

impl Cache {
    /// What a proxy should have. `before`, what it had until now, saves the work for what is the same.
    pub fn encoded(&self, world: &World, peer: &Peer, before: Option<&Encoded>) -> Arc<Encoded> {
        let scope = Scope::of(&world.mesh, &peer.node);
        let cell = self.cell((scope.hash(), peer.dialect), world.number);
        // Outside of the lock: others with the same view wait for this one, and nobody else does.
        let make = || {
            tell_of_keys_without_room(&scope, peer);
            let snapshot = Arc::new(translate::snapshot(&scope));
            Arc::new(Encoded::new(snapshot, peer.dialect, before))
        };
        cell.get_or_init(make).clone()
    }

    /// How many encodings are kept.
    pub fn len(&self) -> usize {
        self.lock().by_view.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn cell(&self, view: View, number: u64) -> Arc<OnceLock<Arc<Encoded>>> {
        let mut entries = self.lock();
        if number > entries.latest {
            let before = entries.latest;
            entries.latest = number;
            entries.by_view.retain(|_, entry| entry.used >= before);
        }
        let entry = entries.by_view.entry(view).or_insert_with(|| Entry {
            encoded: Arc::default(),
            used: number,
        });
        entry.used = entry.used.max(number);
        entry.encoded.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says which rules about tokens let none in, because all keys together are too large.
fn tell_of_keys_without_room(scope: &Scope, peer: &Peer) {
    let rules = translate::jwt::without_room(scope);
    let Some(first) = rules.first() else {
        return;
    };
    let (proxy, resource, field) = (peer.name(), &first.resource, &first.field);
    tracing::warn!(
        target: "ads", %proxy, rules = rules.len(), %resource, %field,
        "there is no room for the keys of some rules about tokens: theirs are refused"
    );
}
