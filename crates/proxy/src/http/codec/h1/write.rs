//! The writing half of an HTTP/1.1 connection.
//!
//! Heads and small pieces of body gather in one buffer that leaves in one write; large pieces go out beside it
//! without being copied. Nothing is written before [`Writer::flush`], or a full buffer, or the end of a message.

use std::io::Write;

use bytes::{Buf, Bytes};
use http::Method;
use tokio::io::AsyncWriteExt;

use crate::http::codec::{CodecError, Fields, Length, Request, Response, has_body};
use crate::sys::unacknowledged::unacknowledged;
use crate::transport::{SILENCE, WriteHalf};

/// Pieces of body up to this size are copied behind the head.
const COPY: usize = 8 * 1024;
/// A buffer that holds more than this is written out.
const FULL: usize = 32 * 1024;

/// The writing half of an HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Writer {
    half: WriteHalf,
    out: Vec<u8>,
    chunked: bool,
    /// Bytes of the current request that the kernel has taken.
    sent: u64,
}

impl Writer {
    pub(crate) fn new(half: WriteHalf) -> Self {
        Self {
            half,
            out: Vec::new(),
            chunked: false,
            sent: 0,
        }
    }

    /// Whether the peer's kernel has confirmed no byte of the current request.
    pub(crate) fn nothing_arrived(&self) -> bool {
        // Under TLS the kernel counts other bytes than we do.
        let socket = self.half.plain_socket();
        socket.is_some_and(|socket| unacknowledged(socket) >= self.sent)
    }

    /// Begins a request.
    pub(crate) fn request(&mut self, request: &Request) {
        self.sent = 0;
        let out = &mut self.out;
        out.reserve(request.path.len() + request.authority.len() + room_for(&request.fields));
        out.extend_from_slice(request.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(request.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(request.authority.as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Some(protocol) = &request.upgrade {
            out.extend_from_slice(b"connection: Upgrade\r\nupgrade: ");
            out.extend_from_slice(protocol.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let length = match request.length {
            // Where a body is usual, its absence is said, as Envoy says it.
            Length::Empty if !has_no_body(&request.method) => Length::Exact(0),
            length => length,
        };
        self.fields_and_length(&request.fields, length);
    }

    /// Begins a response to a request with that method.
    pub(crate) fn response(&mut self, response: &Response, method: &Method, keep_alive: bool) {
        let out = &mut self.out;
        out.reserve(room_for(&response.fields));
        let status = http::StatusCode::from_u16(response.status).ok();
        let reason = status
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Unknown");
        write!(out, "HTTP/1.1 {} {reason}\r\n", response.status).expect("a Vec takes everything");
        if let Some(protocol) = &response.upgrade {
            out.extend_from_slice(b"connection: Upgrade\r\nupgrade: ");
            out.extend_from_slice(protocol.as_bytes());
            out.extend_from_slice(b"\r\n");
        } else if !keep_alive && !response.is_informational() {
            out.extend_from_slice(b"connection: close\r\n");
        }
        if is_head_without_length(response, method) {
            // What a GET would have had, as far as that is known. Envoy says so, too.
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        let length = match response.length {
            _ if !has_body(method, response.status) => Length::Empty,
            // HTTP/2 may end a message with its head and give no length; here the client would wait for a close.
            Length::Empty => Length::Exact(0),
            length => length,
        };
        self.fields_and_length(&response.fields, length);
    }

    /// A piece of the body.
    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), CodecError> {
        if data.is_empty() {
            return Ok(());
        }
        if self.chunked {
            write!(self.out, "{:x}\r\n", data.len()).expect("a Vec takes everything");
        }
        if data.len() <= COPY {
            self.out.extend_from_slice(&data);
        } else {
            let out = std::mem::take(&mut self.out);
            self.write_all(out.as_slice().chain(data)).await?;
        }
        if self.chunked {
            self.out.extend_from_slice(b"\r\n");
        }
        if self.out.len() > FULL {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Ends the message and sends what is left of it. Trailers are not sent, as Envoy does not.
    pub(crate) async fn end(&mut self) -> Result<(), CodecError> {
        if std::mem::take(&mut self.chunked) {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush().await
    }

    /// Sends what has gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), CodecError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        self.write_all(out.as_slice()).await
    }

    /// Tells the peer that nothing follows.
    pub(crate) async fn close(&mut self) {
        let _ = self.half.shutdown().await;
    }

    async fn write_all(&mut self, mut bytes: impl Buf) -> Result<(), CodecError> {
        let length = bytes.remaining();
        let write = async {
            self.half.write_all_buf(&mut bytes).await?;
            self.half.flush().await
        };
        let written = daemon::clock::timeout(SILENCE, write).await;
        self.sent += (length - bytes.remaining()) as u64;
        match written {
            Ok(written) => Ok(written?),
            Err(_) => Err(CodecError::Silent),
        }
    }

    fn fields_and_length(&mut self, fields: &Fields, length: Length) {
        for (name, value) in fields.iter() {
            field(&mut self.out, name, value);
        }
        match length {
            Length::Empty => {}
            Length::Exact(length) => {
                write!(self.out, "content-length: {length}\r\n").expect("a Vec takes everything");
            }
            Length::Streamed => self.out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        self.chunked = length == Length::Streamed;
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Whether it has no body only because nobody asked for one, and does not say how long that would be.
fn is_head_without_length(response: &Response, method: &Method) -> bool {
    let has_none = response.is_informational() || response.status == 204;
    *method == Method::HEAD && !has_none && !response.fields.contains("content-length")
}

/// Methods whose requests usually have none.
fn has_no_body(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::DELETE,
        Method::TRACE,
        Method::CONNECT,
    ]
    .contains(method)
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn room_for(fields: &Fields) -> usize {
    usize::try_from(fields.size()).unwrap_or_default() + 4 * fields.len() + 128
}
