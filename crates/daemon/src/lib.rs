//! The shell of a long-running process, written once: tasks, clock, drain, readiness, logs, metrics, admin server.
//!
//! Both planes and the local cluster stand on it. It knows nothing of what they do.
#![deny(missing_docs)]

pub mod admin;
pub mod buckets;
pub mod clock;
pub mod drain;
pub mod logs;
pub mod metrics;
pub mod probe;
pub mod ready;
pub mod running;
pub mod runtimes;
pub mod tasks;

pub use drain::Drain;
pub use running::Running;
pub use tasks::Tasks;
