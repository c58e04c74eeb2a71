//! How answers look.

pub(crate) mod istio;
pub(crate) mod progress;
pub(crate) mod table;
