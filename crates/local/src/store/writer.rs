//! The one thread that writes. It takes what has queued up, decides each write against the state that the ones
//! before it leave behind, commits them together, and only then shows and answers them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::file::File;
use super::history::Record;
use super::memory::{Applied, Memory};
use super::{Key, Refused, Write, revision_of};

/// Writes that may wait, and that go into one transaction.
const QUEUE: usize = 256;

pub(super) struct Job {
    pub(super) write: Write,
    pub(super) reply: oneshot::Sender<Outcome>,
}

type Outcome = Result<Arc<Value>, Refused>;

/// Starts the thread; it ends when the last sender is gone.
pub(super) fn start(file: File, memory: Arc<Memory>) -> io::Result<mpsc::Sender<Job>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || run(file, &memory, receiver))?;
    Ok(sender)
}

fn run(mut file: File, memory: &Memory, mut jobs: mpsc::Receiver<Job>) {
    let mut queued = Vec::with_capacity(QUEUE);
    while jobs.blocking_recv_many(&mut queued, QUEUE) > 0 {
        commit(&mut file, memory, queued.drain(..));
    }
}

/// What is decided for a batch, before it is in the file.
struct Batch<'a> {
    memory: &'a Memory,
    revision: u64,
    changes: Vec<Change>,
    /// The state that the changes leave behind; `None` for what they remove.
    after: HashMap<Key, Option<Arc<Value>>>,
}

struct Change {
    key: Key,
    record: Arc<Record>,
    body: String,
}

pub(super) fn commit(file: &mut File, memory: &Memory, jobs: impl Iterator<Item = Job>) {
    let mut batch = Batch {
        memory,
        revision: memory.revision(),
        changes: Vec::new(),
        after: HashMap::new(),
    };
    let mut answers: Vec<(oneshot::Sender<Outcome>, Outcome)> =
        jobs.map(|job| (job.reply, batch.decide(job.write))).collect();
    let Batch {
        revision, changes, ..
    } = batch;
    let written = if changes.is_empty() {
        Ok(())
    } else {
        file.transaction(|transaction| {
            for change in &changes {
                if change.record.removed {
                    transaction.remove(&change.key)?;
                } else {
                    transaction.put(&change.key, change.record.revision, &change.body)?;
                }
            }
            transaction.newest(revision)
        })
    };
    match written {
        Ok(()) => memory.apply(
            changes
                .into_iter()
                .map(|Change { key, record, .. }| Applied { key, record })
                .collect(),
        ),
        Err(error) => {
            tracing::error!(%error, "the cluster's state could not be written");
            for (_, outcome) in answers.iter_mut().filter(|(_, outcome)| outcome.is_ok()) {
                *outcome = Err(Refused::Storage(error.to_string()));
            }
        }
    }
    for (reply, outcome) in answers {
        // A caller that has gone does not undo its write.
        let _ = reply.send(outcome);
    }
}

impl Batch<'_> {
    fn decide(&mut self, write: Write) -> Outcome {
        let current = self.current(&write.key);
        match (&current, write.expected) {
            (Some(_), None) => return Err(Refused::Exists),
            (None, Some(_)) => return Err(Refused::Missing),
            (Some(object), Some(expected)) if revision_of(object) != expected => {
                return Err(Refused::Changed);
            }
            _ => {}
        }
        if let Some(key) = &write.requires {
            let required = self.current(key).ok_or(Refused::RequiredMissing)?;
            if !required["metadata"]["deletionTimestamp"].is_null() {
                return Err(Refused::RequiredEnding);
            }
        }
        let removed = write.object.is_none();
        let mut object = match (write.object, &current) {
            (Some(object), _) => object,
            (None, Some(current)) => Value::clone(current),
            (None, None) => return Err(Refused::Missing),
        };
        if let (false, Some(current)) = (removed, &current) {
            set_revision(&mut object, revision_of(current));
            if object == **current {
                return Ok(current.clone());
            }
        }
        self.revision += 1;
        set_revision(&mut object, self.revision);
        Ok(self.record(write.key, object, current, removed))
    }

    fn record(&mut self, key: Key, object: Value, previous: Option<Arc<Value>>, removed: bool) -> Arc<Value> {
        let body = object.to_string();
        let object = Arc::new(object);
        self.after.insert(key.clone(), (!removed).then(|| object.clone()));
        let record = Record {
            revision: self.revision,
            object: object.clone(),
            previous,
            removed,
            bytes: body.len(),
        };
        self.changes.push(Change {
            key,
            record: Arc::new(record),
            body,
        });
        object
    }

    fn current(&self, key: &Key) -> Option<Arc<Value>> {
        match self.after.get(key) {
            Some(pending) => pending.clone(),
            None => self.memory.get(key),
        }
    }
}

fn set_revision(object: &mut Value, revision: u64) {
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
}
