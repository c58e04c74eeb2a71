//! Opaque streams.

pub(crate) mod authorization;
pub(crate) mod forward;
mod tunnel;
