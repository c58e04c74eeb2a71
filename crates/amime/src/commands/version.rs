//! `amime version`.

use std::process::ExitCode;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    println!("amime {}", env!("CARGO_PKG_VERSION"));
    Ok(ExitCode::SUCCESS)
}
