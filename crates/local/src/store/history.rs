//! What happened lately in one collection: the common queue of all its watchers.
//!
//! Invariant: bounded in number and bytes; every change after `floor` is in it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::Key;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Record {
    pub key: Key,
    pub revision: u64,
    /// After the change; a removed object in its last state, with the version of its removal.
    pub object: Arc<Value>,
    /// Before the change; `None` for a new object.
    pub previous: Option<Arc<Value>>,
    pub removed: bool,
    /// Of the object as text.
    pub bytes: usize,
}

/// The history does not reach back that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct TooOld {
    pub asked: u64,
    /// The oldest version from which one can go on.
    pub oldest: u64,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of each collection.
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Of all collections together; the longest history gives way.
    pub(super) bytes_in_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            records: 4096,
            bytes: 32 << 20,
            bytes_in_all: 64 << 20,
        }
    }
}

#[derive(Debug)]
pub(super) struct History {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    floor: u64,
    limits: Limits,
}

impl History {
    /// Nothing is known of what happened up to `floor`.
    pub(super) fn new(floor: u64, limits: Limits) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            floor,
            limits,
        }
    }

    /// Adds the newest change and forgets the oldest ones beyond the limits.
    pub(super) fn push(&mut self, record: Arc<Record>) {
        self.bytes += record.bytes;
        self.records.push_back(record);
        while self.records.len() > self.limits.records || self.bytes > self.limits.bytes {
            self.forget_oldest();
        }
    }

    pub(super) fn forget_oldest(&mut self) {
        if let Some(oldest) = self.records.pop_front() {
            self.bytes -= oldest.bytes;
            self.floor = oldest.revision;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// At most `limit` changes after `revision`, oldest first.
    pub(super) fn after(&self, revision: u64, limit: usize) -> Result<Vec<Arc<Record>>, TooOld> {
        if revision < self.floor {
            return Err(TooOld {
                asked: revision,
                oldest: self.floor,
            });
        }
        let start = self.records.partition_point(|record| record.revision <= revision);
        Ok(self.records.iter().skip(start).take(limit).cloned().collect())
    }
}
