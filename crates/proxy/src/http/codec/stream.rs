//! The four ends of an exchange, each over both versions.
//!
//! Downstream: [`Source`] brings the request's body, [`Reply`] takes the response. Upstream: [`Sink`] takes the
//! request's body, [`Answer`] brings the response.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use daemon::clock::Instant;
use h2::server::SendResponse;
use http::Method;

use super::{CodecError, Fields, Frame, Response, h1, h2 as http2};

/// Where the body of a request comes from.
#[derive(Debug)]
pub(crate) enum Source<'c> {
    Http1(&'c mut h1::Reader),
    Http2(http2::Receive),
}

impl Source<'_> {
    /// The next frame; `None` at the end. May be dropped and called again.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, CodecError> {
        match self {
            Source::Http1(reader) => reader.frame().await,
            Source::Http2(receive) => receive.frame().await,
        }
    }

    /// Waits, after the body, for the client to leave.
    pub(crate) async fn gone(&mut self) -> CodecError {
        match self {
            Source::Http1(reader) => reader.gone().await,
            // A stream says so where its response goes: see [`Reply::cancelled`].
            Source::Http2(_) => std::future::pending().await,
        }
    }
}

/// Where the body of a request goes.
#[derive(Debug)]
pub(crate) enum Sink<'c> {
    Http1(&'c mut h1::Writer),
    Http2(http2::Send),
    /// The head ended the message.
    Ended,
}

impl Sink<'_> {
    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), CodecError> {
        match self {
            Sink::Http1(writer) => writer.data(data).await,
            Sink::Http2(send) => send.data(data).await,
            Sink::Ended => Ok(()),
        }
    }

    pub(crate) async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), CodecError> {
        match self {
            Sink::Http1(writer) => writer.end().await,
            Sink::Http2(send) => send.end(trailers).await,
            Sink::Ended => Ok(()),
        }
    }

    /// Ends, after [`Sink::end`], a direction whose bytes have no end of their own (a tunnel over HTTP/1.1).
    pub(crate) async fn close(&mut self) {
        if let Sink::Http1(writer) = self {
            writer.close().await;
        }
    }

    /// Sends what has gathered, because nothing more is there yet.
    pub(crate) async fn flush(&mut self) -> Result<(), CodecError> {
        match self {
            Sink::Http1(writer) => writer.flush().await,
            Sink::Http2(send) => send.flush().await,
            Sink::Ended => Ok(()),
        }
    }
}

/// Where a response comes from.
#[derive(Debug)]
pub(crate) enum Answer<'c> {
    Http1(&'c mut h1::Reader, &'c Method),
    Http2(http2::Answer),
}

impl Answer<'_> {
    /// What follows the head is a tunnel: opaque bytes, or over HTTP/2 the body as ever.
    pub(crate) fn become_opaque(&mut self) {
        if let Answer::Http1(reader, _) = self {
            reader.become_opaque();
        }
    }

    /// The next head; informational ones come first. May be dropped and called again.
    pub(crate) async fn head(&mut self) -> Result<Response, CodecError> {
        match self {
            Answer::Http1(reader, method) => reader.response(method).await,
            Answer::Http2(answer) => answer.head().await,
        }
    }

    /// The next frame; `None` at the end. May be dropped and called again.
    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, CodecError> {
        match self {
            Answer::Http1(reader, _) => reader.frame().await,
            Answer::Http2(answer) => answer.frame().await,
        }
    }
}

/// Where a response goes.
#[derive(Debug)]
pub(crate) enum Reply<'c> {
    Http1 {
        writer: &'c mut h1::Writer,
        method: Method,
        keep_alive: &'c mut bool,
    },
    Http2 {
        respond: SendResponse<Bytes>,
        body: Option<http2::Send>,
        /// Where a reset by the client is counted, and when the stream began.
        resets: Rc<http2::Resets>,
        begun: Instant,
    },
}

impl Reply<'_> {
    /// Sends the head. A 100 or 103 leaves at once, and another head follows.
    pub(crate) async fn head(&mut self, response: &Response) -> Result<(), CodecError> {
        match self {
            Reply::Http1 {
                writer,
                method,
                keep_alive,
            } => {
                writer.response(response, method, **keep_alive);
                if response.is_informational() {
                    writer.flush().await
                } else {
                    Ok(())
                }
            }
            Reply::Http2 { respond, .. } if response.is_informational() => {
                Ok(respond.send_informational(http2::response_to(response))?)
            }
            Reply::Http2 { respond, body, .. } => {
                let ended = response.length.is_empty();
                let stream = respond.send_response(http2::response_to(response), ended)?;
                *body = (!ended).then(|| http2::Send::new(stream));
                Ok(())
            }
        }
    }

    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), CodecError> {
        match self {
            Reply::Http1 { writer, .. } => writer.data(data).await,
            Reply::Http2 { body: Some(send), .. } => send.data(data).await,
            Reply::Http2 { body: None, .. } => Ok(()),
        }
    }

    pub(crate) async fn end(&mut self, trailers: Option<&Fields>) -> Result<(), CodecError> {
        match self {
            Reply::Http1 { writer, .. } => writer.end().await,
            Reply::Http2 { body: Some(send), .. } => send.end(trailers).await,
            Reply::Http2 { body: None, .. } => Ok(()),
        }
    }

    /// Sends what has gathered, because nothing more is there yet.
    pub(crate) async fn flush(&mut self) -> Result<(), CodecError> {
        match self {
            Reply::Http1 { writer, .. } => writer.flush().await,
            Reply::Http2 { body: Some(send), .. } => send.flush().await,
            Reply::Http2 { body: None, .. } => Ok(()),
        }
    }

    /// Waits for the client to cancel the stream, before its response has begun (HTTP/2 only).
    pub(crate) async fn cancelled(&mut self) {
        match self {
            Reply::Http1 { .. } => std::future::pending().await,
            Reply::Http2 {
                respond,
                resets,
                begun,
                ..
            } => {
                let reset = poll_fn(|task| respond.poll_reset(task)).await;
                resets.reset(*begun);
                tracing::debug!(?reset, "the client cancelled its request");
            }
        }
    }

    /// Gives the response up in its middle: the client must not take what it has for the whole.
    pub(crate) async fn abort(&mut self) {
        match self {
            // What was sent so far leaves, then the connection closes without the end of the message.
            Reply::Http1 {
                writer, keep_alive, ..
            } => {
                **keep_alive = false;
                let _ = writer.flush().await;
            }
            Reply::Http2 { respond, body, .. } => match body {
                Some(send) => send.reset(),
                None => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            },
        }
    }

    /// Tells the client that its request was not processed, if its protocol has a word for that. Only before the
    /// response has begun.
    pub(crate) fn refuse(&mut self) -> bool {
        let Reply::Http2 { respond, .. } = self else {
            return false;
        };
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        true
    }

    /// Announces that the connection closes after this response (HTTP/1.1 only).
    pub(crate) fn close_after(&mut self) {
        if let Reply::Http1 { keep_alive, .. } = self {
            **keep_alive = false;
        }
    }
}
