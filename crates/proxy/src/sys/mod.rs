//! What the kernel knows of a socket, as small safe functions.

pub(crate) mod unacknowledged;
