//! sandbox
pub(crate) mod inside;
