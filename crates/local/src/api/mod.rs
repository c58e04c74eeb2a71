//! The Kubernetes API: objects are `serde_json` values, one table says what each built-in kind needs.

pub mod client;
pub mod gvr;
pub mod node_link;
pub mod status;

pub use gvr::Gvr;
pub use status::Status;
