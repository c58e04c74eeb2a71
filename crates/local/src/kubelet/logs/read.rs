//! Reading a container's log for a client: the last lines, since when, how much, and what comes next.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use daemon::clock;
use tokio::sync::mpsc;

use super::format::parse;
use super::rotated;
use crate::api::node_link::LogOptions;
use crate::api::time;

/// How often a followed log is looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// How much goes to the client at once.
const CHUNK: usize = 32 << 10;

/// Sends what `options` asks for until there is no more, the client leaves, or (when following) `ended` says that
/// nothing will be added.
pub(crate) async fn send(
    path: &Path,
    options: &LogOptions,
    to: &mpsc::Sender<Bytes>,
    ended: impl Fn() -> bool,
) -> io::Result<()> {
    let mut lines = Formatter::new(options);
    let (skip, tail) = match options.tail_lines {
        // The lines are counted first, so that only as much is held as is sent at once.
        Some(wanted) => (count(path, &lines.since)?.saturating_sub(wanted), true),
        None => (0, false),
    };
    lines.skip = if tail { skip } else { 0 };
    let mut log = Followed::open(path)?;
    loop {
        // Asked before reading: what was written until then is read.
        let last = ended();
        while let Some(record) = log.next()? {
            if lines.add(&record) && !flush(&mut lines, to).await {
                return Ok(());
            }
        }
        if !flush(&mut lines, to).await || lines.full() || !options.follow || last {
            return Ok(());
        }
        tokio::select! {
            () = clock::sleep(PERIOD) => {}
            () = to.closed() => return Ok(()),
        }
    }
}

async fn flush(lines: &mut Formatter, to: &mpsc::Sender<Bytes>) -> bool {
    let ready = std::mem::take(&mut lines.ready);
    ready.is_empty() || to.send(ready.into()).await.is_ok()
}

/// The end of a log's text, at most `longest` bytes of whole records.
pub(crate) fn last(path: &Path, longest: usize) -> io::Result<String> {
    let mut log = Followed::open(path)?;
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    let mut size = 0;
    while let Some(line) = log.next()? {
        let Some(record) = parse(&line) else { continue };
        size += record.text.len() + 1;
        kept.push_back([record.text, b"\n"].concat());
        while size > longest {
            size -= kept.pop_front().map_or(size, |line| line.len());
        }
    }
    let text: Vec<u8> = kept.into_iter().flatten().collect();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Lines that a client would see without `tail`.
fn count(path: &Path, since: &Option<String>) -> io::Result<usize> {
    let mut log = Followed::open(path)?;
    let mut count = 0;
    while let Some(record) = log.next()? {
        let counts = parse(&record).is_some_and(|record| record.full && newer(record.time, since));
        count += usize::from(counts);
    }
    Ok(count)
}

fn newer(time: &str, since: &Option<String>) -> bool {
    since.as_ref().is_none_or(|since| time >= since.as_str())
}

/// From records to what the client sees.
struct Formatter {
    timestamps: bool,
    since: Option<String>,
    /// Whole lines still to be left out.
    skip: usize,
    /// Bytes that may still be sent.
    left: Option<usize>,
    at_start: bool,
    ready: Vec<u8>,
}

impl Formatter {
    fn new(options: &LogOptions) -> Self {
        Self {
            timestamps: options.timestamps,
            // Times in logs all have the same length, so they compare as texts.
            since: options.since.map(|since: SystemTime| time::rfc3339_nanos(since)),
            skip: 0,
            left: options.limit_bytes,
            at_start: true,
            ready: Vec::new(),
        }
    }

    /// Adds a record; whether it is time to send.
    fn add(&mut self, line: &[u8]) -> bool {
        let Some(record) = parse(line).filter(|record| newer(record.time, &self.since)) else {
            return false;
        };
        if self.skip > 0 {
            self.skip -= usize::from(record.full);
            return false;
        }
        if self.timestamps && self.at_start {
            self.put(record.time.as_bytes());
            self.put(b" ");
        }
        self.put(record.text);
        if record.full {
            self.put(b"\n");
        }
        self.at_start = record.full;
        self.ready.len() >= CHUNK || self.full()
    }

    fn put(&mut self, bytes: &[u8]) {
        let size = self.left.map_or(bytes.len(), |left| bytes.len().min(left));
        self.ready.extend_from_slice(&bytes[..size]);
        self.left = self.left.map(|left| left - size);
    }

    fn full(&self) -> bool {
        self.left == Some(0)
    }
}

/// A log file with its older half, read on as it grows and rotates.
struct Followed {
    path: PathBuf,
    file: BufReader<File>,
    inode: u64,
    /// Another file has taken this one's place; what was added before that is still to be read.
    replaced: bool,
    line: Vec<u8>,
}

impl Followed {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(rotated(path)).or_else(|_| File::open(path))?;
        let inode = file.metadata()?.ino();
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(CHUNK, file),
            inode,
            replaced: false,
            line: Vec::new(),
        })
    }

    /// The next whole record, without its newline; `None` when there is none yet.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // A record that is still being written stays in `line` until its end comes.
            let size = self.file.by_ref().read_until(b'\n', &mut self.line)?;
            if self.line.last() == Some(&b'\n') {
                let mut line = std::mem::take(&mut self.line);
                line.pop();
                return Ok(Some(line));
            }
            if size == 0 && !self.turn_over()? {
                return Ok(None);
            }
        }
    }

    /// Goes on with the newer half if this one has become (or was) the older; whether to read again.
    fn turn_over(&mut self) -> io::Result<bool> {
        let Ok(next) = File::open(&self.path) else {
            return Ok(false);
        };
        let inode = next.metadata()?.ino();
        if inode == self.inode {
            return Ok(false);
        }
        if !self.replaced {
            self.replaced = true;
            return Ok(true);
        }
        self.file = BufReader::with_capacity(CHUNK, next);
        self.inode = inode;
        self.replaced = false;
        self.line.clear();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log(lines: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        append(&path, lines);
        (directory, path)
    }

    fn append(path: &Path, lines: &[&str]) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        for (second, line) in lines.iter().enumerate() {
            writeln!(file, "1970-01-01T00:00:{second:02}.000000000Z stdout {line}").unwrap();
        }
    }

    async fn read(path: &Path, options: LogOptions) -> String {
        let (to, mut from) = mpsc::channel(64);
        send(path, &options, &to, || true).await.unwrap();
        drop(to);
        let mut text = String::new();
        while let Some(bytes) = from.recv().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn parts_are_put_together_and_options_are_honoured() {
        let (_directory, path) = log(&["F one", "P tw", "F o", "F three"]);
        assert_eq!(read(&path, LogOptions::default()).await, "one\ntwo\nthree\n");
        let tail = LogOptions {
            tail_lines: Some(2),
            ..LogOptions::default()
        };
        assert_eq!(read(&path, tail).await, "two\nthree\n");
        let stamped = LogOptions {
            tail_lines: Some(2),
            timestamps: true,
            ..LogOptions::default()
        };
        let text = read(&path, stamped).await;
        assert_eq!(
            text,
            "1970-01-01T00:00:01.000000000Z two\n1970-01-01T00:00:03.000000000Z three\n"
        );
        let limit = LogOptions {
            limit_bytes: Some(5),
            ..LogOptions::default()
        };
        assert_eq!(read(&path, limit).await, "one\nt");
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(3);
        let since = LogOptions {
            since: Some(since),
            ..LogOptions::default()
        };
        assert_eq!(read(&path, since).await, "three\n");
        let none = LogOptions {
            tail_lines: Some(0),
            ..LogOptions::default()
        };
        assert_eq!(read(&path, none).await, "");
    }

    #[tokio::test]
    async fn following_goes_on_across_rotation() {
        let (_directory, path) = log(&["F one"]);
        let (to, mut from) = mpsc::channel(64);
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let done = std::cell::Cell::new(false);
        let reading = send(&path, &options, &to, || done.get());
        let writing = async {
            assert_eq!(from.recv().await.unwrap(), "one\n");
            std::fs::rename(&path, rotated(&path)).unwrap();
            append(&rotated(&path), &["F two"]);
            append(&path, &["F three"]);
            let mut text = String::new();
            while !text.ends_with("three\n") {
                text.push_str(std::str::from_utf8(&from.recv().await.unwrap()).unwrap());
            }
            assert_eq!(text, "two\nthree\n");
            done.set(true);
        };
        let (result, ()) = tokio::join!(reading, writing);
        result.unwrap();
    }
}
