//! Access logs of one worker: lines gather in a buffer for each file and leave in batches for the one writer.
//!
//! A request never waits for a log: what does not fit is dropped and counted. The writer is a thread of its own
//! ([`super::log_writer`]), because a full disk or a stalled pipe must stop nothing else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use daemon::clock;
use snapshot::{AccessLog, LogFormat};
use tokio::sync::{Notify, mpsc};

use super::format::{self, Facts};
use super::json;

/// A batch leaves when it is this large …
const BATCH: usize = 32 * 1024;
/// … or this old.
const AGE: Duration = Duration::from_millis(50);
/// Batches that may wait for the writer. (Of each worker's buffers at most one more.)
pub(crate) const QUEUE: usize = 256;
/// Files that one worker writes at a time; a controller that names more is not believed.
const FILES: usize = 64;

/// Lines for one file.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) path: Arc<str>,
    pub(crate) lines: Vec<u8>,
}

/// The buffers of one worker.
#[derive(Debug)]
pub(crate) struct Lines {
    buffers: RefCell<BTreeMap<String, Buffer>>,
    queue: mpsc::Sender<Batch>,
    gathering: Notify,
    dropped: Cell<u64>,
}

#[derive(Debug)]
struct Buffer {
    path: Arc<str>,
    lines: Vec<u8>,
    count: u64,
}

impl Lines {
    /// Empty buffers in front of that queue.
    pub(crate) fn new(queue: mpsc::Sender<Batch>) -> Self {
        Self {
            buffers: RefCell::default(),
            queue,
            gathering: Notify::new(),
            dropped: Cell::new(0),
        }
    }

    /// Lines that were lost, because they came faster than they could be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Writes one finished exchange or connection down.
    pub(crate) fn write(&self, logs: &[Arc<AccessLog>], facts: &Facts<'_>) {
        for log in logs {
            let flags = facts.record.flags;
            if log.only_flags.is_empty() || log.only_flags.iter().any(|name| flags.has_short(name)) {
                self.line(log, facts);
            }
        }
    }

    fn line(&self, log: &AccessLog, facts: &Facts<'_>) {
        let mut buffers = self.buffers.borrow_mut();
        if !buffers.contains_key(&log.path) {
            if buffers.len() >= FILES {
                self.dropped.set(self.dropped.get() + 1);
                return;
            }
            let buffer = Buffer {
                path: log.path.as_str().into(),
                lines: Vec::new(),
                count: 0,
            };
            buffers.insert(log.path.clone(), buffer);
        }
        let buffer = buffers.get_mut(&log.path).expect("inserted above");
        if buffer.lines.is_empty() {
            self.gathering.notify_one();
        }
        match &log.format {
            LogFormat::Text(format) => format::write(format, facts, &mut buffer.lines, "-"),
            LogFormat::Json(template) => {
                json::object(template, facts, &mut buffer.lines);
                buffer.lines.push(b'\n');
            }
        }
        buffer.count += 1;
        if buffer.lines.len() >= BATCH {
            self.hand_over(buffer);
        }
    }

    /// Gives what has gathered to the writer, or drops it when the writer is far behind.
    fn hand_over(&self, buffer: &mut Buffer) {
        let batch = Batch {
            path: buffer.path.clone(),
            lines: std::mem::take(&mut buffer.lines),
        };
        let count = std::mem::take(&mut buffer.count);
        if !batch.lines.is_empty() && self.queue.try_send(batch).is_err() {
            self.dropped.set(self.dropped.get() + count);
        }
    }

    /// Hands everything over.
    pub(crate) fn flush(&self) {
        for buffer in self.buffers.borrow_mut().values_mut() {
            self.hand_over(buffer);
        }
    }

    /// Hands batches over that get old.
    pub(crate) async fn age(self: Rc<Self>) {
        loop {
            self.gathering.notified().await;
            clock::sleep(AGE).await;
            self.flush();
        }
    }
}
