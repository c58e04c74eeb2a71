//! Opaque streams.

pub(crate) mod forward;
