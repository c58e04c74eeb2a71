//! `amime bootstrap envoy|grpc`: what an init container runs so that a stock Envoy can stand in the place of the sidecar,
//! or a gRPC client do without one, driven by the same controller. It reads what injection gives to a sidecar, and
//! writes one file.
//!
//! For Envoy the token is copied into the file, which its owner alone may read; Envoy cannot follow a file of tokens. So such a
//! sidecar reconnects for as long as the token lasts that it began with, twelve hours.

mod envoy;
mod grpc;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use proxy::settings::Settings;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    proxy: Proxy,
}

#[derive(Debug, clap::Subcommand)]
enum Proxy {
    /// For Envoy, from the environment of a sidecar
    Envoy {
        /// Where to write it
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// For a gRPC client with `xds:///` targets, from the environment of a sidecar
    Grpc {
        /// Where to write it
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = Settings::from_env()?;
    let (output, bootstrap) = match &arguments.proxy {
        Proxy::Envoy { output } => {
            let token = &settings.discovery.token;
            let token = std::fs::read_to_string(token).with_context(|| token.display().to_string())?;
            (output, envoy::bootstrap(&settings, token.trim()))
        }
        Proxy::Grpc { output } => (output, grpc::bootstrap(&settings)),
    };
    let text = serde_json::to_string_pretty(&bootstrap)?;
    write(output, &text).with_context(|| output.display().to_string())?;
    println!("{}: bootstrap of {}", output.display(), settings.node.id());
    Ok(ExitCode::SUCCESS)
}

fn write(output: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(output)?.write_all(text.as_bytes())
}
