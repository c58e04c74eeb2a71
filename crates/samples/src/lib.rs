//! The programs behind sample images, written by us; for a client they behave as the originals do.
//!
//! They know nothing of the mesh. The binary runs one by its name (`amime sample httpbin`, or through a symlink
//! called `httpbin`), and the local cluster maps image names to them.

mod bookinfo;
mod call;
mod client;
mod compat;
mod curl;
mod echo;
mod echo_basic;
mod echo_client;
mod ext_authz;
mod fortio;
mod gunicorn;
mod helloworld;
mod httpbin;
mod nc;
mod programs;
mod server;
mod soak;
mod tcp_echo;

use std::process::ExitCode;

pub use programs::{Image, PROGRAMS, Program};

/// Runs the program of that name to its end; `None` when there is no such program.
pub fn run(name: &str, arguments: Vec<String>) -> Option<ExitCode> {
    let program = PROGRAMS.iter().find(|program| program.name == name)?;
    Some((program.run)(arguments).unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::FAILURE
    }))
}

/// Runs a future on a runtime of its own: samples are single-threaded.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// A setting from the environment; empty counts as unset.
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
