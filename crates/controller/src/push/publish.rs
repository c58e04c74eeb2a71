//! From changes to pictures: the one task that makes the next mesh and publishes it.

use std::sync::Arc;

use daemon::clock::{self, Instant};
use daemon::ready::Ready;
use resources::{Key, Kind, Resource};
use tokio::sync::{mpsc, watch};
use translate::{Change, MeshSettings};

use super::halves::Halves;
use super::{Metrics, World};
use crate::debounce::{self, Debounce};
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
        let mut halves = Halves::default();
        let mut settings = self.settings.clone();
        loop {
            let known = store.synced() && settings.borrow().is_some();
            let due = [debounce.due().filter(|_| known), halves.due()];
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => if self.apply(&mut store, event) { debounce.change(clock::now()) },
                    None => return,
                },
                Ok(()) = settings.changed() => debounce.change(clock::now()),
                () = until(due.into_iter().flatten().min()) => {
                    let since = debounce.pushed().unwrap_or_else(clock::now);
                    self.publish(&mut store, &mut halves, since);
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

    fn publish(&self, store: &mut Store, halves: &mut Halves, since: Instant) {
        let begun = clock::now();
        self.metrics
            .set_objects(store.count(Kind::Service), store.count(Kind::VirtualService));
        let changes: Vec<_> = store.take_changes().into_iter().map(change).collect();
        let problems: Vec<_> = store.problems().cloned().collect();
        let before = self.worlds.borrow().clone();
        let (changes, waiting) = match &before {
            Some(before) => halves.part(&before.mesh, changes, begun),
            None => (changes, Vec::new()),
        };
        store.put_back(waiting.into_iter().map(|change| change.key));
        let settings = self.settings.borrow().clone().unwrap_or_default();
        let same = |before: &World| *before.problems == problems && *before.mesh.settings() == *settings;
        if changes.is_empty() && before.as_ref().is_some_and(same) {
            return;
        }
        let number = before.as_ref().map_or(1, |world| world.number + 1);
        let mesh = before.map_or_else(Arc::default, |world| world.mesh);
        let mesh = Arc::new(mesh.next(&changes).with_settings(settings));
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
