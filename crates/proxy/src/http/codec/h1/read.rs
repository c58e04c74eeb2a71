//! The reading half of an HTTP/1.1 connection: the sans-IO core, fed from a socket.
//!
//! Every method can be dropped at an await and called again: what was read stays in the buffer.
//! A connection that waits for its next message owns no buffer.

use bytes::BytesMut;
use http::Method;
use tokio::io::AsyncReadExt;

use super::{Body, BodyEvent, HeadParser, MAX_INFORMATIONAL, Refusal};
use crate::http::codec::{CodecError, Frame, Request, Response};
use crate::transport::ReadHalf;

/// Room asked for before a read; a short read tells the runtime that the socket is drained.
const READ: usize = 16 * 1024;

/// The reading half of an HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Reader {
    half: ReadHalf,
    buffer: BytesMut,
    parser: HeadParser,
    body: Body,
    keep_alive: bool,
    /// Informational responses since the last final one.
    informational: u32,
}

impl Reader {
    /// Reads from `half`, after what has been read from it already.
    pub(crate) fn new(half: ReadHalf, already_read: BytesMut) -> Self {
        Self {
            half,
            buffer: already_read,
            parser: HeadParser::default(),
            body: Body::Done,
            keep_alive: true,
            informational: 0,
        }
    }

    /// Waits until there is something to read, or the end.
    pub(crate) async fn wait(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.half.readable().await?;
        }
        Ok(())
    }

    /// The next request; `None` when the peer closed after its last one.
    pub(crate) async fn request(&mut self) -> Result<Option<Request>, CodecError> {
        loop {
            if let Some(head) = self.parser.request(&mut self.buffer)? {
                (self.body, self.keep_alive) = (head.body, head.keep_alive);
                return Ok(Some(head.message));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(CodecError::Truncated)
                };
            }
        }
    }

    /// The next response, to a request with that method. Informational ones are returned too.
    pub(crate) async fn response(&mut self, method: &Method) -> Result<Response, CodecError> {
        loop {
            if let Some(head) = self.parser.response(&mut self.buffer, method)? {
                if head.message.is_informational() {
                    self.informational += 1;
                    if self.informational > MAX_INFORMATIONAL {
                        return Err(Refusal::InformationalFlood.into());
                    }
                } else {
                    self.informational = 0;
                    (self.body, self.keep_alive) = (head.body, head.keep_alive);
                }
                return Ok(head.message);
            }
            match self.fill().await {
                Ok(0) if self.buffer.is_empty() => return Err(CodecError::Closed),
                Ok(0) => return Err(Refusal::HeadCut.into()),
                Ok(_) => {}
                Err(error) if self.buffer.is_empty() && is_reset(&error) => return Err(CodecError::Reset),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next frame of the current message's body; `None` at its end.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, CodecError> {
        loop {
            match self.body.next(&mut self.buffer)? {
                Some(BodyEvent::Data(data)) => return Ok(Some(Frame::Data(data))),
                Some(BodyEvent::End) => return Ok(None),
                None => {}
            }
            if self.fill().await? == 0 {
                return if self.body.close() {
                    Ok(None)
                } else {
                    Err(CodecError::Truncated)
                };
            }
        }
    }

    /// Waits for the peer to close. A request that it sends ahead is kept, and then its end cannot be seen.
    pub(crate) async fn gone(&mut self) -> CodecError {
        while self.buffer.is_empty() {
            let read = match self.wait().await {
                Ok(()) => self.fill().await,
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => return CodecError::Closed,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
        std::future::pending().await
    }

    /// Treats everything that follows as opaque bytes (after 101).
    pub(crate) fn become_opaque(&mut self) {
        self.body = Body::Opaque;
        self.keep_alive = false;
    }

    /// Whether the current message has been read to its end.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.body.is_done()
    }

    /// Whether the peer allows another message after the current one.
    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether an idle connection has nothing to read and is not closed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.buffer.is_empty() && !self.half.has_more()
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < READ / 4 {
            self.buffer.reserve(READ);
        }
        self.half.read_buf(&mut self.buffer).await
    }
}

/// Whether the peer's kernel threw the connection away.
fn is_reset(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
    )
}
