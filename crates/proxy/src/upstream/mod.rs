//! From the name of a cluster to a connection that is ready for one request.
//!
//! `cluster` pairs what the Snapshot says with what lives on (pools, counters, cursors); `load_balancing` picks an
//! endpoint, `circuit_breaker` permits it, `pool` finds or opens a connection. All of it belongs to one worker but the
//! counts of `circuit_breaker`, which are atomic; nothing here is locked.

pub(crate) mod circuit_breaker;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod load_balancing;
pub(crate) mod outlier_detection;
pub(crate) mod pool;
mod proxy_protocol;
pub(crate) mod purpose;
mod queue;

pub(crate) use cluster::{Cluster, Endpoint};
pub(crate) use pool::Lease;
