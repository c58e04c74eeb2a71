//! From bytes to body: by length, by chunks, or until the connection closes. Sans-IO.
//!
//! Data is handed on as it arrives: a chunk need not be complete. Everything that is not data is bounded. Trailers
//! are checked and left out, as by Envoy (`enable_trailers: false`): next to nobody expects fields behind a body, and
//! what nobody expects nobody checks.

use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_FIELDS, Refusal};

/// Longest line with a chunk's size: 16 digits, and extensions.
const MAX_SIZE_LINE: usize = 256;
/// Most bytes of chunk extensions in one body (CVE-2023-39326 and its kin).
const MAX_EXTENSIONS: usize = 4096;
/// Largest trailer section.
const MAX_TRAILERS: usize = 16 * 1024;

/// How far the body of one message has been read.
#[derive(Debug)]
pub(crate) enum Body {
    /// The message is complete.
    Done,
    /// So many bytes are missing.
    Exact(u64),
    /// In chunks.
    Chunked {
        next: Next,
        extensions: usize,
        trailers: Trailers,
    },
    /// Everything until the peer closes.
    UntilClose,
    /// After a switch of protocols: not HTTP any more.
    Opaque,
}

/// What a chunked body expects next.
#[derive(Debug)]
pub(crate) enum Next {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

/// How much has been read of what follows the last chunk.
#[derive(Debug, Default)]
pub(crate) struct Trailers {
    bytes: usize,
    fields: usize,
}

/// A step through a body.
#[derive(Debug)]
pub(crate) enum BodyEvent {
    Data(Bytes),
    End,
}

impl Body {
    pub(crate) fn exact(length: u64) -> Self {
        if length == 0 {
            Body::Done
        } else {
            Body::Exact(length)
        }
    }

    pub(crate) fn chunked() -> Self {
        Body::Chunked {
            next: Next::Size,
            extensions: 0,
            trailers: Trailers::default(),
        }
    }

    /// Whether the message is complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Body::Done)
    }

    /// The next event at the front of `buffer`; `None` until more has arrived.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<BodyEvent>, Refusal> {
        match self {
            Body::Done => Ok(Some(BodyEvent::End)),
            Body::UntilClose | Body::Opaque => {
                Ok((!buffer.is_empty()).then(|| BodyEvent::Data(buffer.split().freeze())))
            }
            Body::Exact(missing) => {
                let data = take(buffer, missing);
                if *missing == 0 {
                    *self = Body::Done;
                }
                Ok(data.map(BodyEvent::Data))
            }
            Body::Chunked { .. } => self.next_of_chunks(buffer),
        }
    }

    /// The peer closed. Whether that is how this message ends.
    pub(crate) fn close(&mut self) -> bool {
        let ends = matches!(self, Body::Done | Body::UntilClose | Body::Opaque);
        *self = Body::Done;
        ends
    }

    fn next_of_chunks(&mut self, buffer: &mut BytesMut) -> Result<Option<BodyEvent>, Refusal> {
        loop {
            let Body::Chunked {
                next,
                extensions,
                trailers,
            } = self
            else {
                return Ok(Some(BodyEvent::End));
            };
            match next {
                Next::Size => {
                    let Some(line) = size_line(buffer)? else {
                        return Ok(None);
                    };
                    *extensions += line.extension;
                    if *extensions > MAX_EXTENSIONS {
                        return Err(Refusal::ChunkExtensions);
                    }
                    *next = if line.size == 0 {
                        Next::Trailers
                    } else {
                        Next::Data(line.size)
                    };
                }
                Next::Data(missing) => {
                    let data = take(buffer, missing);
                    if *missing == 0 {
                        *next = Next::DataEnd;
                    }
                    return Ok(data.map(BodyEvent::Data));
                }
                Next::DataEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        *next = Next::Size;
                    }
                    None if buffer.is_empty() || buffer[0] == b'\r' => return Ok(None),
                    _ => return Err(Refusal::ChunkEnd),
                },
                Next::Trailers => match trailers.line(buffer)? {
                    Some(true) => *self = Body::Done,
                    Some(false) => {}
                    None => return Ok(None),
                },
            }
        }
    }
}

/// Takes what is there, at most `missing`.
fn take(buffer: &mut BytesMut, missing: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*missing).unwrap_or(usize::MAX).min(buffer.len());
    if length == 0 {
        return None;
    }
    *missing -= length as u64;
    Some(buffer.split_to(length).freeze())
}

struct SizeLine {
    size: u64,
    extension: usize,
}

fn size_line(buffer: &mut BytesMut) -> Result<Option<SizeLine>, Refusal> {
    let Some(feed) = buffer.iter().take(MAX_SIZE_LINE).position(|byte| *byte == b'\n') else {
        return if buffer.len() >= MAX_SIZE_LINE {
            Err(Refusal::ChunkExtensions)
        } else {
            Ok(None)
        };
    };
    let line = buffer[..feed].strip_suffix(b"\r").ok_or(Refusal::ChunkSize)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !(1..=16).contains(&digits) {
        return Err(Refusal::ChunkSize);
    }
    let (number, extension) = line.split_at(digits);
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let first = extension.iter().find(|byte| !blank(byte));
    let clean = extension
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if !clean || first.is_some_and(|byte| *byte != b';') || (first.is_none() && !extension.is_empty()) {
        return Err(Refusal::ChunkSize);
    }
    let size = number.iter().fold(0, |size, digit| {
        (size << 4)
            | u64::from(
                char::from(*digit)
                    .to_digit(16)
                    .expect("counted as hexadecimal above"),
            )
    });
    let extension = extension.len();
    buffer.advance(feed + 1);
    Ok(Some(SizeLine { size, extension }))
}

impl Trailers {
    /// Reads one line. Whether it was the last, empty one; `None` until more has arrived.
    fn line(&mut self, buffer: &mut BytesMut) -> Result<Option<bool>, Refusal> {
        let Some(feed) = buffer.iter().position(|byte| *byte == b'\n') else {
            return if self.bytes + buffer.len() > MAX_TRAILERS {
                Err(Refusal::HeadTooLarge)
            } else {
                Ok(None)
            };
        };
        self.bytes += feed + 1;
        if self.bytes > MAX_TRAILERS {
            return Err(Refusal::HeadTooLarge);
        }
        let line = buffer.split_to(feed + 1);
        let field = line.strip_suffix(b"\r\n").ok_or(Refusal::BareLineFeed)?;
        if field.is_empty() {
            return Ok(Some(true));
        }
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Refusal::TooManyFields);
        }
        if is_field(field) {
            Ok(Some(false))
        } else {
            Err(Refusal::Trailers)
        }
    }
}

/// Whether a line is `name: value`, and not a fold of the one before.
fn is_field(line: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    match line.iter().position(|byte| *byte == b':') {
        Some(colon) => colon > 0 && line[..colon].iter().all(token) && line[colon..].iter().all(text),
        None => false,
    }
}
