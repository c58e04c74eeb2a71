//! The one writer of access logs: takes batches of all workers and appends them to their files, on a thread of its own.
//!
//! A file is opened anew when somebody moved it away (looked at once a second while lines come) and when the process
//! is told so (SIGUSR1, as Envoy is). A file that cannot be opened or written loses its lines; that is said once a
//! minute, and tried again with every batch.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use daemon::Tasks;
use daemon::clock::{self, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::access_log::{Batch, QUEUE};

/// How often it is looked whether a file is still where it was.
const LOOK: Duration = Duration::from_secs(1);
/// How often trouble is reported.
const REPORT: Duration = Duration::from_secs(60);

/// What others know of the writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    reopen: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. It ends when the last sender of batches is gone and everything is written.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(tasks: &Tasks) -> std::io::Result<(Self, mpsc::Sender<Batch>)> {
        let (queue, mut batches) = mpsc::channel(QUEUE);
        let writer = Self::default();
        let told = writer.clone();
        tasks.thread("access-log", move || {
            let mut files = Files::new(told);
            while let Some(batch) = batches.blocking_recv() {
                files.append(&batch);
            }
        })?;
        let told = writer.clone();
        tasks.spawn("reopen access logs", async move {
            let Ok(mut signals) = signal(SignalKind::user_defined1()) else {
                return;
            };
            while signals.recv().await.is_some() {
                told.reopen();
            }
        });
        Ok((writer, queue))
    }

    /// Opens every file anew before its next line.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Bytes that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The open files.
struct Files {
    told: Writer,
    open: HashMap<Arc<str>, Open>,
    reported: Option<Instant>,
}

struct Open {
    file: File,
    looked: Instant,
}

impl Files {
    fn new(told: Writer) -> Self {
        Self {
            told,
            open: HashMap::new(),
            reported: None,
        }
    }

    fn append(&mut self, batch: &Batch) {
        if self.told.reopen.swap(false, Ordering::Relaxed) {
            self.open.clear();
        }
        if let Err(error) = self.write(batch, clock::now()) {
            self.open.remove(&batch.path);
            self.told
                .lost
                .fetch_add(batch.lines.len() as u64, Ordering::Relaxed);
            self.report(&batch.path, &error);
        }
    }

    fn write(&mut self, batch: &Batch, now: Instant) -> std::io::Result<()> {
        match &*batch.path {
            // Opening these by name fails where they are sockets.
            "/dev/stdout" => {
                let mut out = std::io::stdout().lock();
                out.write_all(&batch.lines)?;
                out.flush()
            }
            "/dev/stderr" => std::io::stderr().lock().write_all(&batch.lines),
            path => self.file(batch, path, now)?.write_all(&batch.lines),
        }
    }

    fn file(&mut self, batch: &Batch, path: &str, now: Instant) -> std::io::Result<&mut File> {
        if let Some(open) = self.open.get_mut(&batch.path)
            && now - open.looked >= LOOK
        {
            open.looked = now;
            if !is_at(&open.file, path) {
                self.open.remove(&batch.path);
            }
        }
        if !self.open.contains_key(&batch.path) {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            self.open.insert(batch.path.clone(), Open { file, looked: now });
        }
        let open = self.open.get_mut(&batch.path).expect("inserted above");
        Ok(&mut open.file)
    }

    fn report(&mut self, path: &str, error: &std::io::Error) {
        let now = clock::now();
        if self.reported.is_none_or(|last| now - last >= REPORT) {
            self.reported = Some(now);
            tracing::warn!(path, %error, lost = self.told.lost(), "the access log cannot be written");
        }
    }
}

/// Whether that name still leads to that file.
fn is_at(file: &File, path: &str) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(path: &std::path::Path, lines: &str) -> Batch {
        Batch {
            path: path.to_str().unwrap().into(),
            lines: lines.into(),
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut files = Files::new(Writer::default());
        files.append(&batch(&path, "one\n"));
        std::fs::rename(&path, &moved).unwrap();
        files.append(&batch(&path, "two\n"));
        files.told.reopen();
        files.append(&batch(&path, "three\n"));
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");

        std::fs::remove_file(&path).unwrap();
        let later = clock::now() + LOOK;
        files.write(&batch(&path, "four\n"), later).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/log");
        let mut files = Files::new(Writer::default());
        files.append(&batch(&path, "lost\n"));
        assert_eq!(files.told.lost(), 5);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        files.append(&batch(&path, "kept\n"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
    }
}
