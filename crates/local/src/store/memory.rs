//! The objects in memory. One short lock; nothing is computed or awaited under it, only pointers are cloned.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::Key;
use super::history::{History, Limits, Record, TooOld};

/// Records that a feed takes at once.
const BATCH: usize = 256;

pub(super) struct Memory {
    state: Mutex<State>,
    /// The newest version; every feed wakes when it moves.
    revision: watch::Sender<u64>,
    /// The version with which the file was opened: nothing is known of changes before.
    opened_at: u64,
    limits: Limits,
}

#[derive(Default)]
struct State {
    collections: HashMap<String, Collection>,
    revision: u64,
}

struct Collection {
    objects: BTreeMap<(String, String), Arc<Value>>,
    history: History,
    /// Moves when this collection changes.
    changed: watch::Sender<u64>,
}

/// What the file held.
pub(super) struct Loaded {
    pub(super) revision: u64,
    pub(super) objects: Vec<(Key, Value)>,
}

/// A change that is in the file already.
pub(super) struct Applied {
    pub(super) key: Key,
    pub(super) record: Arc<Record>,
}

impl Memory {
    pub(super) fn new(loaded: Loaded, limits: Limits) -> Self {
        let memory = Self {
            state: Mutex::default(),
            revision: watch::Sender::new(loaded.revision),
            opened_at: loaded.revision,
            limits,
        };
        let mut state = memory.lock();
        state.revision = loaded.revision;
        for (key, object) in loaded.objects {
            memory
                .collection(&mut state, &key.collection)
                .objects
                .insert((key.namespace, key.name), Arc::new(object));
        }
        drop(state);
        memory
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        let name = (key.namespace.clone(), key.name.clone());
        self.lock()
            .collections
            .get(&key.collection)?
            .objects
            .get(&name)
            .cloned()
    }

    pub(super) fn list(&self, collection: &str, namespace: &str) -> (Vec<Arc<Value>>, u64) {
        let state = self.lock();
        let Some(found) = state.collections.get(collection) else {
            return (Vec::new(), state.revision);
        };
        let objects = if namespace.is_empty() {
            found.objects.values().cloned().collect()
        } else {
            found
                .objects
                .range((namespace.to_owned(), String::new())..)
                .take_while(|((of, _), _)| of == namespace)
                .map(|(_, object)| object.clone())
                .collect()
        };
        (objects, state.revision)
    }

    pub(super) fn feed(memory: &Arc<Self>, collection: &str, from: u64) -> Result<Feed, TooOld> {
        let mut state = memory.lock();
        let found = memory.collection(&mut state, collection);
        found.history.after(from, 0)?;
        Ok(Feed {
            changed: found.changed.subscribe(),
            collection: collection.to_owned(),
            position: from,
            memory: memory.clone(),
        })
    }

    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(super) fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Shows what the writer has written.
    pub(super) fn apply(&self, changes: Vec<Applied>) {
        let Some(last) = changes.last().map(|change| change.record.revision) else {
            return;
        };
        let mut state = self.lock();
        state.revision = last;
        for Applied { key, record } in changes {
            let collection = self.collection(&mut state, &key.collection);
            let name = (key.namespace, key.name);
            if record.removed {
                collection.objects.remove(&name);
            } else {
                collection.objects.insert(name, record.object.clone());
            }
            collection.changed.send_replace(record.revision);
            collection.history.push(record);
        }
        drop(state);
        self.revision.send_replace(last);
    }

    fn collection<'a>(&self, state: &'a mut State, name: &str) -> &'a mut Collection {
        state
            .collections
            .entry(name.to_owned())
            .or_insert_with(|| Collection {
                objects: BTreeMap::new(),
                history: History::new(self.opened_at, self.limits),
                changed: watch::Sender::new(self.opened_at),
            })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of one collection's history.
pub struct Feed {
    memory: Arc<Memory>,
    collection: String,
    position: u64,
    changed: watch::Receiver<u64>,
}

impl Feed {
    /// The next changes, oldest first; waits until there are some.
    ///
    /// # Errors
    /// When this reader was slower than the history is long.
    pub async fn next(&mut self) -> Result<Vec<Arc<Record>>, TooOld> {
        loop {
            self.changed.borrow_and_update();
            let records = self.take()?;
            if !records.is_empty() {
                return Ok(records);
            }
            // The sender lives in the memory that this feed holds.
            let _ = self.changed.changed().await;
        }
    }

    /// Everything up to this version has been handed out.
    pub fn position(&mut self) -> u64 {
        let state = self.memory.lock();
        let pending = state.collections.get(&self.collection).is_none_or(
            |found| !matches!(found.history.after(self.position, 1), Ok(records) if records.is_empty()),
        );
        if !pending {
            self.position = self.position.max(state.revision);
        }
        self.position
    }

    fn take(&mut self) -> Result<Vec<Arc<Record>>, TooOld> {
        let state = self.memory.lock();
        let Some(found) = state.collections.get(&self.collection) else {
            return Ok(Vec::new());
        };
        let records = found.history.after(self.position, BATCH)?;
        // With nothing pending the reader is as new as the store: quiet collections do not expire.
        self.position = match records.last() {
            Some(last) => last.revision,
            None => self.position.max(state.revision),
        };
        Ok(records)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Feed")
            .field("collection", &self.collection)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
