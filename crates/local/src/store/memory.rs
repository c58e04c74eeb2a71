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

/// Namespace and name.
type Name = (String, String);

struct Collection {
    objects: BTreeMap<Name, Arc<Value>>,
    history: History,
    /// Moves when this collection changes.
    changed: watch::Sender<u64>,
}

impl State {
    /// Takes from the longest histories until all together are no longer than `limit`.
    fn forget(&mut self, limit: usize) {
        loop {
            let histories = self.collections.values_mut().map(|one| &mut one.history);
            let mut bytes = 0;
            let longest = histories
                .inspect(|history| bytes += history.bytes())
                .max_by_key(|history| history.bytes());
            match longest {
                Some(history) if bytes > limit => history.forget_oldest(),
                _ => return,
            }
        }
    }
}

impl Collection {
    /// The objects of a namespace, or all.
    fn of(&self, namespace: &str) -> impl Iterator<Item = (&Name, &Arc<Value>)> {
        self.objects
            .range((namespace.to_owned(), String::new())..)
            .take_while(move |((of, _), _)| namespace.is_empty() || of == namespace)
    }
}

/// What the file held.
pub(super) struct Loaded {
    pub(super) revision: u64,
    pub(super) objects: Vec<(Key, Value)>,
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
        let objects = match state.collections.get(collection) {
            Some(found) => found.of(namespace).map(|(_, object)| object.clone()).collect(),
            None => Vec::new(),
        };
        (objects, state.revision)
    }

    /// The list as it was: what has happened since is undone, newest first.
    pub(super) fn list_at(
        &self,
        collection: &str,
        namespace: &str,
        revision: u64,
    ) -> Result<Vec<Arc<Value>>, TooOld> {
        let mut state = self.lock();
        let found = self.collection(&mut state, collection);
        let since = found.history.after(revision, usize::MAX)?;
        if since.is_empty() {
            return Ok(found.of(namespace).map(|(_, object)| object.clone()).collect());
        }
        let mut objects: BTreeMap<Name, Arc<Value>> = found
            .of(namespace)
            .map(|(name, object)| (name.clone(), object.clone()))
            .collect();
        drop(state);
        for record in since.iter().rev() {
            let key = &record.key;
            if !namespace.is_empty() && key.namespace != namespace {
                continue;
            }
            let name = (key.namespace.clone(), key.name.clone());
            match &record.previous {
                Some(previous) => objects.insert(name, previous.clone()),
                None => objects.remove(&name),
            };
        }
        Ok(objects.into_values().collect())
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
    pub(super) fn apply(&self, changes: Vec<Arc<Record>>) {
        let Some(last) = changes.last().map(|change| change.revision) else {
            return;
        };
        let mut state = self.lock();
        state.revision = last;
        for record in changes {
            let collection = self.collection(&mut state, &record.key.collection);
            let name = (record.key.namespace.clone(), record.key.name.clone());
            if record.removed {
                collection.objects.remove(&name);
            } else {
                collection.objects.insert(name, record.object.clone());
            }
            collection.changed.send_replace(record.revision);
            collection.history.push(record);
        }
        state.forget(self.limits.bytes_in_all);
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
