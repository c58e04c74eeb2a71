//! HTTP/1.1, strict: one way to read every message, so that no two hops can disagree about where it ends.
//!
//! `head` and `body` are sans-IO (bytes in, events out), `read` and `write` bring the socket.
//! RFC 9112; where it leaves a choice between repair and refusal, we refuse.

mod body;
mod head;
mod read;
mod refusal;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use body::{Body, BodyEvent};
pub(crate) use head::{HeadParser, check_authority, content_length};
pub(crate) use read::Reader;
pub(crate) use refusal::Refusal;
pub(crate) use write::Writer;

/// Largest head, Envoy's `max_request_headers_kb`.
pub(crate) const MAX_HEAD: usize = 60 * 1024;
/// Most fields in a head, Envoy's `max_headers_count`.
pub(crate) const MAX_FIELDS: usize = 100;
/// Most informational responses (100, 103) to one request.
pub(crate) const MAX_INFORMATIONAL: u32 = 16;
