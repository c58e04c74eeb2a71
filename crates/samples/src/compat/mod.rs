//! The programs between which proxies are compared: a backend that does what a request asks of it and tells what
//! arrived, a caller that makes calls as lists of JSON say and tells how each one ended, and somebody whom proxies ask.
//!
//! They stand in for no published image. The suite `compat` runs them in pods.

mod authorizer;
mod backend;
pub(crate) mod body;
mod call;
mod caller;
mod command;
mod connection;
mod grpc;
mod proxy_protocol;
mod seen;
pub(crate) mod tls;

pub(crate) use authorizer::run as authorizer;
pub(crate) use backend::run as backend;
pub(crate) use caller::run as caller;
