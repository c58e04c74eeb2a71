//! The Kubernetes API: objects are `serde_json` values, one table says what each built-in kind needs.

pub mod auth;
pub mod client;
mod exec;
pub mod gvr;
pub mod node_link;
mod pod_log;
pub mod start;
pub mod status;

pub use auth::User;
pub use client::Client;
pub use gvr::Gvr;
pub use start::{Server, Settings, start};
pub use status::Status;
