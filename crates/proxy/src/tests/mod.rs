//! The whole proxy in one process, on real loopback sockets, without capture and without controller.

mod desync;
mod http1;
mod http2;
mod opaque;
mod outcomes;
mod rewrites;
mod snapshots;
mod unprocessed;
mod world;
