//! HTTP: from a connection to exchanges, and through each of them.

pub(crate) mod body;
pub(crate) mod bounds;
pub(crate) mod codec;
pub(crate) mod connection;
pub(crate) mod date;
pub(crate) mod edge;
pub(crate) mod exchange;
pub(crate) mod filters;
pub(crate) mod forward;
pub(crate) mod forwarded;
pub(crate) mod grpc_web;
pub(crate) mod hash;
pub(crate) mod headers;
pub(crate) mod inquiry;
pub(crate) mod life;
pub(crate) mod mirror;
pub(crate) mod normalize;
pub(crate) mod reply;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub(crate) mod route;
pub(crate) mod timeout;
pub(crate) mod upgrade;
pub(crate) mod watch;
