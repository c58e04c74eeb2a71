//! Envoy's xDS v3: the only crate that speaks Envoy's configuration schema.
//!
//! [`convert`] turns each noun of `snapshot` into Envoy's message and back, side by side, so that the two
//! directions cannot drift. [`server`] and [`client`] are the two ends of the delta protocol as state machines
//! without IO: messages in, messages out. [`transport`] is the thin gRPC shell around both. [`check`] is what services
//! that decide about requests are asked and answer.
//!
//! Invariant: a resource that we cannot do is [`Rejected`] by name with the field that asks for it; it is never
//! half-applied, and it never blocks a good one.
#![deny(missing_docs)]

pub mod bootstrap;
pub mod check;
pub mod client;
pub mod convert;
pub mod encoded;
#[cfg(test)]
mod generate;
pub mod kind;
pub mod message;
pub mod rate_limit;
pub mod rejected;
pub mod secrets;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod transport;
pub mod whole;

pub use client::Client;
pub use convert::{Dialect, Node};
pub use encoded::Encoded;
pub use kind::Kind;
pub use rejected::Rejected;
pub use server::Server;
