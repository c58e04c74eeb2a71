//! The Kubernetes API: objects are `serde_json` values, one table says what each built-in kind needs.

pub mod auth;
pub mod client;
pub mod crd;
pub mod decode;
pub mod defaults;
mod exec;
pub mod field;
pub mod gvr;
pub mod json_path;
pub mod kinds;
pub mod label_selector;
pub mod node_link;
pub mod patch;
mod pod_log;
pub mod registry;
pub mod scale;
pub mod schema;
pub mod start;
pub mod status;
pub mod table;
pub mod time;
pub mod validate;

pub use auth::User;
pub use client::Client;
pub use gvr::Gvr;
pub use start::{Server, Settings, start};
pub use status::Status;
