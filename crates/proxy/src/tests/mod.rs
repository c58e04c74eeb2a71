//! The whole proxy in one process, on real loopback sockets, without capture and without controller.

mod access_log;
mod balancing;
mod bootstrap;
mod conformance;
mod connection_pool;
mod cors;
mod desync;
mod downstream_tls;
mod fault;
mod http1;
mod http2;
mod mirror;
mod opaque;
mod outcomes;
mod rate_limit;
mod retries;
mod rewrites;
mod snapshots;
mod streams;
mod transport;
mod unprocessed;
mod world;
