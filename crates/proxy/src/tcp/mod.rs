//! Opaque streams: bytes that are forwarded without being understood.

pub(crate) mod forward;
