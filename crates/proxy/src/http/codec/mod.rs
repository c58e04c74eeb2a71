//! HTTP/1.1 and HTTP/2 behind one face: heads, frames, where they come from and where they go.
//!
//! The only folder that names the HTTP libraries. A message is a head, then [`Frame`]s, then the end. Reading
//! (`Source`, `Answer`) can be dropped at any await and taken up again without loss; writing (`Sink`, `Reply`)
//! holds back-pressure: it waits while the other side's buffer is full.

pub(crate) mod fields;
pub(crate) mod h1;
pub(crate) mod h2;
mod stream;

use std::borrow::Cow;

use bytes::Bytes;
use http::Method;

pub(crate) use fields::Fields;
pub(crate) use stream::{Answer, Reply, Sink, Source};

/// HTTP version of one side of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How long a body is, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none, and no field says so.
    Empty,
    /// `content-length`.
    Exact(u64),
    /// Chunked, HTTP/2 without length, or until the connection closes.
    Streamed,
}

impl Length {
    /// Whether no frame follows the head.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Length::Empty | Length::Exact(0))
    }
}

/// The head of a request. Fields that concern one hop only (`connection`, `transfer-encoding`, `host`,
/// `content-length` …) are taken out and become typed parts.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query; `*` for `OPTIONS *`.
    pub(crate) path: String,
    pub(crate) authority: String,
    pub(crate) scheme: &'static str,
    pub(crate) fields: Fields,
    pub(crate) length: Length,
    /// The protocol asked for with `connection: upgrade`.
    pub(crate) upgrade: Option<String>,
    pub(crate) version: Version,
}

impl Request {
    /// A field that its codec took out, and that rules about requests still ask for, as with Envoy: `content-length`,
    /// and of a request for another protocol `connection` and `upgrade`.
    pub(crate) fn framing_field(&self, name: &str) -> Option<Cow<'_, str>> {
        match (name, self.length, &self.upgrade) {
            ("content-length", Length::Exact(length), _) => Some(length.to_string().into()),
            ("connection", _, Some(_)) => Some("Upgrade".into()),
            ("upgrade", _, Some(protocol)) => Some(protocol.into()),
            _ => None,
        }
    }
}

/// The head of a response, with the fields of one hop taken out.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) length: Length,
    /// The protocol that a 101 switches to.
    pub(crate) upgrade: Option<String>,
}

impl Response {
    /// A response of the proxy's own.
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            fields: Fields::default(),
            length: Length::Exact(0),
            upgrade: None,
        }
    }

    /// 100 or 103: others follow on the same exchange.
    pub(crate) fn is_informational(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Whether a response with this status, to this method, can have a body.
pub(crate) fn has_body(method: &Method, status: u16) -> bool {
    method != Method::HEAD && !matches!(status, 100..200 | 204 | 304)
}

/// A part of a body. Trailers come last or not at all. Cloning shares data.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Data(Bytes),
    Trailers(Fields),
}

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// The peer broke the protocol.
    #[error("{0}")]
    Refused(#[from] h1::Refusal),
    /// The peer closed before the message began.
    #[error("closed")]
    Closed,
    /// The peer's kernel threw the connection away before the message began.
    #[error("reset")]
    Reset,
    /// The peer closed in the middle of a message.
    #[error("closed in the middle of a message")]
    Truncated,
    /// Nothing moved for too long.
    #[error("silent for too long")]
    Silent,
    /// The peer refused this stream before acting on it (HTTP/2 REFUSED_STREAM or GOAWAY).
    #[error("stream refused")]
    StreamRefused,
    /// HTTP/2 error of the stream or connection.
    #[error("http/2: {0}")]
    Http2(::h2::Error),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<::h2::Error> for CodecError {
    fn from(error: ::h2::Error) -> Self {
        if error.reason() == Some(::h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote() && error.reason() == Some(::h2::Reason::NO_ERROR))
        {
            return CodecError::StreamRefused;
        }
        if error.is_io() {
            return error.into_io().map_or(CodecError::Truncated, CodecError::Io);
        }
        CodecError::Http2(error)
    }
}
