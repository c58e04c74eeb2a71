//! container
pub(crate) mod inside;
pub(crate) mod supervise;
