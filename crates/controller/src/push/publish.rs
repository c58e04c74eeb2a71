//! From changes to pictures: the one task that makes the next mesh and publishes it.

use std::sync::Arc;

use daemon::clock::{self, Instant};
use daemon::ready::Ready;
use resources::{Key, Kind, Resource};
use tokio::sync::{mpsc, watch};
use translate::{Change, KeySets, MeshSettings};

use super::halves::Halves;
use super::tokens::{self, Waiting};
use super::{Metrics, World};
use crate::debounce::{self, Debounce};
use crate::jwks::Keys;
use crate::store::Store;
use crate::watch::Event;

/// The readiness condition that is met once every kind has been listed.
pub const SYNCED: &str = "resources";

/// Makes pictures of what watches tell.
#[derive(Debug)]
pub struct Publisher {
    /// Where pictures go.
    pub worlds: watch::Sender<Option<World>>,
    /// When to make one.
    pub debounce: debounce::Settings,
    /// Settings of the mesh; none before they were read.
    pub settings: watch::Receiver<Option<Arc<MeshSettings>>>,
    /// Keys of issuers.
    pub keys: Keys,
    /// What is counted.
    pub metrics: Metrics,
    /// Learns when the first picture is out.
    pub ready: Ready,
}

impl Publisher {
    /// Runs until no watch is left.
    pub async fn run(self, mut events: mpsc::Receiver<Event>) {
        let mut store = Store::new();
        let mut debounce = Debounce::new(self.debounce);
        let mut held = Held::default();
        let (mut settings, mut keys) = (self.settings.clone(), self.keys.fetched.clone());
        loop {
            let known = store.synced() && settings.borrow().is_some();
            let due = [
                debounce.due().filter(|_| known),
                held.halves.due(),
                held.tokens.due(),
            ];
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => if self.apply(&mut store, event) { debounce.change(clock::now()) },
                    None => return,
                },
                Ok(()) = settings.changed() => debounce.change(clock::now()),
                Ok(()) = keys.changed() => debounce.change(clock::now()),
                () = until(due.into_iter().flatten().min()) => {
                    let since = debounce.pushed().unwrap_or_else(clock::now);
                    self.publish(&mut store, &mut held, since);
                }
            }
        }
    }

    fn apply(&self, store: &mut Store, event: Event) -> bool {
        let kind = match &event {
            Event::Present { key, .. } | Event::Gone(key) => key.kind,
            Event::Listed(kind, _) => *kind,
        };
        let changed = store.apply(event);
        if changed {
            self.metrics.updated(kind);
        }
        changed
    }

    fn publish(&self, store: &mut Store, held: &mut Held, since: Instant) {
        // Before they are known, nobody is told anything.
        let Some(settings) = self.settings.borrow().clone() else {
            return;
        };
        let begun = clock::now();
        self.metrics
            .set_objects(store.count(Kind::Service), store.count(Kind::VirtualService));
        let changes: Vec<_> = store.take_changes().into_iter().map(change).collect();
        let problems: Vec<_> = store.problems().cloned().collect();
        let before = self.worlds.borrow().clone();
        let keys = self.keys.fetched.borrow().clone();
        let (changes, waiting) = self.part(before.as_ref(), changes, &keys, (held, begun));
        let waits = !waiting.is_empty();
        store.put_back(waiting.into_iter().map(|change| change.key));
        if before.is_none() && waits {
            return;
        }
        let same = |before: &World| {
            let mesh = &before.mesh;
            *before.problems == problems && *mesh.settings() == *settings && *mesh.key_sets() == *keys
        };
        if changes.is_empty() && before.as_ref().is_some_and(same) {
            return;
        }
        let number = before.as_ref().map_or(1, |world| world.number + 1);
        let mesh = before.map_or_else(Arc::default, |world| world.mesh);
        let mesh = mesh.next(&changes).with_settings(settings);
        let mesh = Arc::new(mesh.with_key_sets(keys));
        let made = clock::now();
        self.metrics.published(begun - since, made - begun);
        tracing::info!(target: "ads", number, changes = changes.len(), "pushing");
        self.worlds.send_replace(Some(World {
            mesh,
            problems: Arc::new(problems),
            number,
            changed: since,
        }));
        self.ready.set(SYNCED);
    }

    /// What goes now, and what waits for its other half, or for keys. Asks for the keys.
    fn part(
        &self,
        before: Option<&World>,
        changes: Vec<Change>,
        keys: &KeySets,
        (held, now): (&mut Held, Instant),
    ) -> (Vec<Change>, Vec<Change>) {
        let before = before.map(|world| &*world.mesh);
        let (changes, mut waiting) = held.tokens.part(before, changes, keys, now);
        if let Some(wanted) = tokens::wanted(before, &changes, &waiting) {
            self.keys.wanted.send_if_modified(|known| {
                let new = *known != wanted;
                *known = wanted;
                new
            });
        }
        let Some(before) = before else {
            return (changes, waiting);
        };
        let (changes, halves) = held.halves.part(before, changes, now);
        waiting.extend(halves);
        (changes, waiting)
    }
}

/// What waits.
#[derive(Debug, Default)]
struct Held {
    halves: Halves,
    tokens: Waiting,
}

fn change((key, resource): (Key, Option<Resource>)) -> Change {
    Change { key, resource }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
