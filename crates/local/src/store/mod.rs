//! Where the cluster's objects live: SQLite for keeps, memory for reading, a bounded history for watching.
//!
//! Invariants: one global version (`resourceVersion`) that only grows, across restarts too; a write is in the
//! file before anybody sees it; a write that changes nothing has no version and no event; a slow watcher holds
//! up nobody, because it reads the history at its own pace and is told when it has fallen off the end.
//!
//! The store knows of Kubernetes only what it must: `metadata.resourceVersion` and `metadata.deletionTimestamp`.

mod file;
mod history;
mod memory;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

pub use file::OpenError;
pub use history::{Record, TooOld};
pub use memory::Feed;

use memory::Memory;
use writer::Job;

/// An object's text may have so many bytes, as with etcd.
const LARGEST: usize = 3 << 19;

/// An object may have so many levels: serde_json reads no more, and what is in the file must be read again.
const DEEPEST: usize = 127;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// `deployments.apps`: all served versions of a resource are one collection.
    pub collection: String,
    /// Empty when the object is cluster-scoped.
    pub namespace: String,
    pub name: String,
}

/// One change, compared with what is there and then made, or refused.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: Key,
    /// The version that the caller has seen; `None`: the object must not exist.
    pub expected: Option<u64>,
    /// The object to be stored; `None` removes it.
    pub object: Option<Value>,
    /// An object that must exist and not be on its way out: the namespace of a new object.
    pub requires: Option<Key>,
}

/// Why a write was not made. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("already exists")]
    Exists,
    #[error("does not exist")]
    Missing,
    #[error("has changed")]
    Changed,
    #[error("what it requires does not exist")]
    RequiredMissing,
    #[error("what it requires is being deleted")]
    RequiredEnding,
    /// In etcd's words, which clients know.
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("exceeded max depth")]
    TooDeep,
    /// Says where, why and what to do.
    #[error("{0}")]
    Storage(String),
}

/// The store. Cloning is cheap; the file is closed when the last clone is gone.
#[derive(Clone)]
pub struct Store {
    memory: Arc<Memory>,
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens or makes the file and reads it.
    ///
    /// # Errors
    /// When the file cannot be made or read, is in use, or was written by something else.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (file, loaded) = file::File::open(path)?;
        let memory = Arc::new(Memory::new(loaded, history::Limits::default()));
        let jobs = writer::start(file, memory.clone()).map_err(OpenError::Thread)?;
        Ok(Self { memory, jobs })
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.memory.get(key)
    }

    /// All objects of a collection (of one namespace, unless it is empty), by namespace and name, and the
    /// version at which they were so.
    pub fn list(&self, collection: &str, namespace: &str) -> (Vec<Arc<Value>>, u64) {
        self.memory.list(collection, namespace)
    }

    /// The list as it was at version `revision`, which must not be newer than the newest.
    ///
    /// # Errors
    /// When the history no longer reaches back to it.
    pub fn list_at(
        &self,
        collection: &str,
        namespace: &str,
        revision: u64,
    ) -> Result<Vec<Arc<Value>>, TooOld> {
        self.memory.list_at(collection, namespace, revision)
    }

    /// Changes of a collection after version `from`.
    ///
    /// # Errors
    /// When the history no longer reaches back to `from`.
    pub fn feed(&self, collection: &str, from: u64) -> Result<Feed, TooOld> {
        Memory::feed(&self.memory, collection, from)
    }

    /// Follows the newest version.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.memory.revisions()
    }

    /// Makes a change. The object as it is now in the store; a removed one in its last state, with the version
    /// of its removal.
    ///
    /// # Errors
    /// When something else happened in between, or the file cannot be written.
    pub async fn write(&self, write: Write) -> Result<Arc<Value>, Refused> {
        let stopped = || Refused::Storage("the store has stopped".to_owned());
        if write.object.as_ref().is_some_and(is_too_deep) {
            return Err(Refused::TooDeep);
        }
        // Here and not in the one thread that writes: this is most of a write's work.
        let body = write.object.as_ref().map(Value::to_string).unwrap_or_default();
        if body.len() > LARGEST {
            return Err(Refused::TooLarge);
        }
        let (reply, answer) = oneshot::channel();
        self.jobs
            .send(Job { write, body, reply })
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Whether a value has more levels of lists and objects than can be read from a text; looks no deeper than that.
pub fn is_too_deep(value: &Value) -> bool {
    fn exceeds(value: &Value, levels: usize) -> bool {
        let below = |inner: &Value| exceeds(inner, levels - 1);
        match value {
            Value::Array(_) | Value::Object(_) if levels == 0 => true,
            Value::Array(items) => items.iter().any(below),
            Value::Object(fields) => fields.values().any(below),
            _ => false,
        }
    }
    exceeds(value, DEEPEST)
}

/// The version of an object; 0 when it has none.
pub fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
