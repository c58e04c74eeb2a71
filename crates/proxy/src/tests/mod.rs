//! The whole proxy in one process, on real loopback sockets, without capture and without controller.

mod access_log;
mod authority;
mod authorization;
mod balancing;
mod bootstrap;
mod conformance;
mod connection_pool;
mod cors;
mod desync;
mod downstream_tls;
mod ext_authz;
mod fault;
mod http1;
mod http2;
mod jwt;
mod mesh;
mod mirror;
mod opaque;
mod outcomes;
mod retries;
mod rewrites;
mod snapshots;
mod streams;
mod transport;
mod unprocessed;
mod world;
