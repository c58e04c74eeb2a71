//! The CRI's log format: `2026-11-22T20:25:06.123456789Z stdout F text`, `P` for a line that goes on in the next.

use std::time::SystemTime;

use crate::api::node_link::OutputStream;
use crate::api::time::rfc3339_nanos;

/// A longer line is cut into parts.
const LONGEST: usize = 16 << 10;

/// Cuts a stream into lines; keeps the beginning of a line until its end comes.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// What is to be written for the next piece of the stream, which came at `time`.
    pub(crate) fn frame(&mut self, piece: &[u8], stream: OutputStream, time: SystemTime) -> Vec<u8> {
        let prefix = prefix(stream, time);
        let mut framed = Vec::with_capacity(piece.len() + piece.len() / 4 + prefix.len());
        let mut left = piece;
        while !left.is_empty() {
            let room = LONGEST - self.rest.len();
            let end = left.iter().take(room).position(|byte| *byte == b'\n');
            let (taken, full) = match end {
                Some(end) => (&left[..end], true),
                None => (&left[..left.len().min(room)], false),
            };
            left = &left[taken.len() + usize::from(full)..];
            self.rest.extend_from_slice(taken);
            if full || self.rest.len() == LONGEST {
                self.put(&mut framed, &prefix, full);
            }
        }
        framed
    }

    /// What is to be written at the end of the stream.
    pub(crate) fn finish(&mut self, stream: OutputStream, time: SystemTime) -> Vec<u8> {
        let mut framed = Vec::new();
        if !self.rest.is_empty() {
            self.put(&mut framed, &prefix(stream, time), false);
        }
        framed
    }

    fn put(&mut self, framed: &mut Vec<u8>, prefix: &[u8], full: bool) {
        framed.extend_from_slice(prefix);
        framed.extend_from_slice(if full { b"F " } else { b"P " });
        framed.append(&mut self.rest);
        framed.push(b'\n');
    }
}

fn prefix(stream: OutputStream, time: SystemTime) -> Vec<u8> {
    let stream = match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    };
    format!("{} {stream} ", rfc3339_nanos(time)).into_bytes()
}

/// A record of the file: when, whether the line ends here, and the text.
pub(crate) struct Record<'a> {
    pub(crate) time: &'a str,
    pub(crate) full: bool,
    pub(crate) text: &'a [u8],
}

/// Reads a line of the file, without its newline.
pub(crate) fn parse(line: &[u8]) -> Option<Record<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let _stream = parts.next()?;
    let full = parts.next()? == b"F";
    Some(Record {
        time,
        full,
        text: parts.next()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_line_is_written_when_its_end_comes() {
        let mut lines = Lines::default();
        assert!(lines.frame(b"hel", OutputStream::Stdout, at(0)).is_empty());
        let framed = lines.frame(b"lo\n\nx", OutputStream::Stdout, at(1500));
        let text = String::from_utf8(framed).unwrap();
        assert_eq!(
            text,
            "1970-01-01T00:00:01.500000000Z stdout F hello\n1970-01-01T00:00:01.500000000Z stdout F \n"
        );
        let last = String::from_utf8(lines.finish(OutputStream::Stderr, at(0))).unwrap();
        assert_eq!(last, "1970-01-01T00:00:00.000000000Z stderr P x\n");
    }

    #[test]
    fn a_long_line_is_cut_into_parts_that_make_it_up() {
        let mut lines = Lines::default();
        let mut input = vec![b'a'; LONGEST * 2 + 5];
        input.push(b'\n');
        let framed = lines.frame(&input, OutputStream::Stdout, at(0));
        let records: Vec<_> = framed.split(|byte| *byte == b'\n').filter_map(parse).collect();
        assert_eq!(
            records.iter().map(|record| record.full).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(
            records.iter().map(|record| record.text.len()).sum::<usize>(),
            LONGEST * 2 + 5
        );
    }
}
