//! `amime proxy`.

use std::process::ExitCode;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Role and further words
    words: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet: {:?}", arguments.words)
}
