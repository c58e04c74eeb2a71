//! Who is connected, and who has what: the source of `/debug/syncz` and of `amime status`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use daemon::clock;
use xds::{Encoded, Kind, Rejected};

use super::Peer;

/// Resources that a proxy refuses are remembered up to this many.
const REMEMBERED: usize = 32;

/// All connected proxies. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Connection>>,
}

/// One proxy.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who it is.
    pub peer: Peer,
    /// Seconds since 1970.
    pub connected: u64,
    /// The number of the picture that it follows.
    pub world: u64,
    /// What it should have.
    pub target: Option<Arc<Encoded>>,
    /// By kind, in the order of [`Kind::ALL`].
    pub kinds: [Exchange; 4],
    /// What it refuses.
    pub rejected: Vec<Rejected>,
    /// By its token: its pod, or its account where a token is bound to no pod.
    pub name: String,
    /// The version of the bundle of roots that it has acknowledged last; empty before the first, `None` when it never
    /// asked.
    pub roots: Option<Arc<str>>,
}

/// How far the pushes of one kind are.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Nonce of the last push.
    pub sent: String,
    /// Nonce of the last answer that accepted.
    pub acked: String,
    /// The proxy asked for this kind.
    pub served: bool,
    /// It has all that it should.
    pub in_sync: bool,
}

impl Connection {
    /// How far the pushes of a kind are.
    pub fn exchange(&self, kind: Kind) -> &Exchange {
        &self.kinds[position(kind)]
    }

    pub(super) fn exchange_mut(&mut self, kind: Kind) -> &mut Exchange {
        &mut self.kinds[position(kind)]
    }

    pub(super) fn answered(&mut self, kind: Kind, nonce: &str, rejected: &[Rejected]) {
        self.rejected.retain(|old| old.kind != kind);
        self.rejected.extend(rejected.iter().take(REMEMBERED).cloned());
        if rejected.is_empty() {
            nonce.clone_into(&mut self.exchange_mut(kind).acked);
        }
    }
}

fn position(kind: Kind) -> usize {
    Kind::ALL
        .iter()
        .position(|known| *known == kind)
        .expect("all kinds are listed")
}

/// Removes its proxy when dropped, however the stream ends.
#[derive(Debug)]
pub struct Registered {
    connections: Connections,
    id: u64,
}

impl Connections {
    /// Adds a proxy, whose caller is called so.
    pub fn add(&self, peer: Peer, name: String) -> Registered {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let connection = Connection {
            peer,
            connected: clock::unix_seconds(),
            world: 0,
            target: None,
            kinds: Default::default(),
            rejected: Vec::new(),
            name,
            roots: None,
        };
        self.lock().insert(id, connection);
        Registered {
            connections: self.clone(),
            id,
        }
    }

    /// Everybody, as of now.
    pub fn all(&self) -> Vec<Connection> {
        self.lock().values().cloned().collect()
    }

    /// The newest connection of a proxy, by its id or by `pod.namespace`.
    pub fn find(&self, name: &str) -> Option<Connection> {
        let named = |peer: &Peer| peer.id == name || peer.name() == name;
        self.lock()
            .values()
            .rev()
            .find(|connection| named(&connection.peer))
            .cloned()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.inner.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    pub(super) fn update(&self, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.lock().get_mut(&self.id) {
            change(connection);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}
