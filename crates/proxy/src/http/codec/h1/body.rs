//! From bytes to body: by length, by chunks with trailers, or until the connection closes. Sans-IO.
//!
//! Data is handed on as it arrives: a chunk need not be complete. Everything that is not data is bounded.

use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_FIELDS, Refusal};
use crate::http::codec::Fields;

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
    Chunked { next: Next, extensions: usize },
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

/// A step through a body.
#[derive(Debug)]
pub(crate) enum BodyEvent {
    Data(Bytes),
    Trailers(Fields),
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
            let Body::Chunked { next, extensions } = self else {
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
                Next::Trailers => {
                    let Some(fields) = trailers(buffer)? else {
                        return Ok(None);
                    };
                    *self = Body::Done;
                    if !fields.is_empty() {
                        return Ok(Some(BodyEvent::Trailers(fields)));
                    }
                }
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

/// The trailer section up to and with its empty line.
fn trailers(buffer: &mut BytesMut) -> Result<Option<Fields>, Refusal> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(Fields::default()));
    }
    let Some(end) = buffer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|start| start + 4)
    else {
        return if buffer.len() > MAX_TRAILERS {
            Err(Refusal::HeadTooLarge)
        } else {
            Ok(None)
        };
    };
    let section = &buffer[..end];
    let bare =
        |(position, byte): (usize, &u8)| *byte == b'\n' && (position == 0 || section[position - 1] != b'\r');
    if end > MAX_TRAILERS {
        return Err(Refusal::HeadTooLarge);
    }
    if section.iter().enumerate().any(bare) {
        return Err(Refusal::BareLineFeed);
    }
    let mut space = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let headers = match httparse::parse_headers(section, &mut space) {
        Ok(httparse::Status::Complete((_, headers))) => headers,
        _ => return Err(Refusal::Trailers),
    };
    let mut fields = Fields::with_capacity(section.len());
    // RFC 9110, 6.5.1: a trailer must not change how a message is framed or routed.
    let forbidden = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "te",
        "upgrade",
        "trailer",
    ];
    for header in headers.iter() {
        if !forbidden
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name))
        {
            fields.push(header.name, header.value);
        }
    }
    buffer.advance(end);
    Ok(Some(fields))
}
