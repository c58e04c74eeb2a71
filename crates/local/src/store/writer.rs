//! The one thread that writes. It takes what has queued up, decides each write against the state that the ones
//! before it leave behind, commits them together, and only then shows and answers them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::file::File;
use super::history::Record;
use super::memory::Memory;
use super::{Key, Refused, Write, revision_of};

/// Writes that may wait, and that go into one transaction.
const QUEUE: usize = 256;

pub(super) struct Job {
    pub(super) write: Write,
    /// The object's text. The version in it does not count: the file has it beside.
    pub(super) body: String,
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
    let mut answers: Vec<(oneshot::Sender<Outcome>, Outcome)> = jobs
        .map(|job| (job.reply, batch.decide(job.write, job.body)))
        .collect();
    let Batch {
        revision, changes, ..
    } = batch;
    let written = if changes.is_empty() {
        Ok(())
    } else {
        file.transaction(|transaction| {
            for Change { record, body } in &changes {
                if record.removed {
                    transaction.remove(&record.key)?;
                } else {
                    transaction.put(&record.key, record.revision, body)?;
                }
            }
            transaction.newest(revision)
        })
    };
    match written {
        Ok(()) => memory.apply(changes.into_iter().map(|change| change.record).collect()),
        Err(error) => {
            let why = file.explain(&error);
            tracing::error!("{why}");
            // Refusals too: they were decided against changes that are not there now.
            for (_, outcome) in &mut answers {
                *outcome = Err(Refused::Storage(why.clone()));
            }
        }
    }
    for (reply, outcome) in answers {
        // A caller that has gone does not undo its write.
        let _ = reply.send(outcome);
    }
}

impl Batch<'_> {
    fn decide(&mut self, write: Write, body: String) -> Outcome {
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
        match (write.object, current) {
            (None, None) => Err(Refused::Missing),
            (None, Some(current)) => Ok(self.change(write.key, Value::clone(&current), Some(current), None)),
            (Some(object), None) => Ok(self.change(write.key, object, None, Some(body))),
            (Some(mut object), Some(current)) => {
                set_revision(&mut object, revision_of(&current));
                if object == *current {
                    return Ok(current);
                }
                Ok(self.change(write.key, object, Some(current), Some(body)))
            }
        }
    }

    /// Gives a change its version; without a body it is a removal.
    fn change(
        &mut self,
        key: Key,
        mut object: Value,
        previous: Option<Arc<Value>>,
        body: Option<String>,
    ) -> Arc<Value> {
        self.revision += 1;
        set_revision(&mut object, self.revision);
        let object = Arc::new(object);
        let removed = body.is_none();
        self.after.insert(key.clone(), (!removed).then(|| object.clone()));
        let record = Record {
            key,
            revision: self.revision,
            object: object.clone(),
            previous,
            removed,
            bytes: body
                .as_ref()
                .map_or_else(|| object.to_string().len(), String::len),
        };
        self.changes.push(Change {
            record: Arc::new(record),
            body: body.unwrap_or_default(),
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

pub(super) fn set_revision(object: &mut Value, revision: u64) {
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
}
