//! SPDY/3.1 without sockets: bytes to frames and back. Only what streams inside of an upgraded connection need.
//!
//! Anything may come from the peer: it yields frames or a [`Broken`], and never more memory than the limits here.
//! Old kubectl, and newer ones behind proxies, carry exec in it.
//! <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>

mod dictionary;
mod frame;
mod headers;

#[cfg(test)]
mod tests;

pub(crate) use frame::{Decoder, Encoder, Frame};
pub(crate) use headers::Headers;

/// What a stream may send before the peer answers with a `WINDOW_UPDATE`.
pub(crate) const INITIAL_WINDOW: i64 = 64 << 10;
/// Why a stream is reset: it breaks the protocol, or is not wanted.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 3;

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("not SPDY/3")]
    Version,
    #[error("a frame is too short for its kind")]
    Short,
    #[error("a frame or its headers are too large")]
    TooLarge,
    #[error("headers cannot be decompressed")]
    Compression,
    #[error("headers cannot be read")]
    Headers,
}
