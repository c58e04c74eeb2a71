//! Opaque streams.

pub(crate) mod forward;
mod tunnel;
