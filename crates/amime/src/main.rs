//! The one binary: controller, proxy, local Kubernetes, samples and command line.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the command line"
)]

mod cli;
mod cluster;
mod commands;
mod connect;
mod files;
mod images;
mod output;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Processes of the local cluster enter namespaces before there is any thread or runtime.
    if let Some(code) = local::entry(&words) {
        return code;
    }
    if let Some(code) = images::run_sample(&words) {
        return code;
    }
    identity::install_provider();
    cli::run(words)
}
