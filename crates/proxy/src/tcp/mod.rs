//! Opaque streams.

pub(crate) mod authorization;
mod first;
pub(crate) mod forward;
mod tunnel;
