//! The real binary: up, apply, pods, exec, logs, mesh, bad input, down. As root or not.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../harness/mod.rs"]
mod harness;

mod article;
mod bad_input;
mod images;
mod life;
mod mtls;
mod nodes;
mod probes;
mod services;
mod user;
