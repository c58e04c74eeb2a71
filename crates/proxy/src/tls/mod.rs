//! TLS of the data path.

pub(crate) mod client;
