//! `amime proxy -c FILE`: a proxy from an Envoy bootstrap file, with Envoy's flags.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use daemon::logs::{self, Format, Target};
use daemon::{drain, runtimes};
use xds::bootstrap::{self, Bootstrap};

/// Flags that Envoy has, too.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Run from an Envoy bootstrap file (YAML or JSON) instead of standing beside a workload
    #[arg(short = 'c', long = "config-path", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The bootstrap itself, as YAML or JSON
    #[arg(long = "config-yaml", value_name = "YAML", conflicts_with = "file")]
    text: Option<String>,
    /// Only check the bootstrap, or serve
    #[arg(long, value_name = "MODE", default_value = "serve", value_parser = ["serve", "validate"])]
    mode: String,
    /// Threads that serve connections; one for each processor if it is 0 or not given
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<usize>,
    /// What the log shows: trace, debug, info, warning, error, critical or off
    #[arg(short = 'l', long = "log-level", value_name = "LEVEL", default_value = "info")]
    level: String,
    /// Seconds for connections to finish when the proxy is told to end
    #[arg(long = "drain-time-s", value_name = "SECONDS", default_value_t = 0)]
    drain: u64,
    /// Identifier of this proxy, instead of the one in the file
    #[arg(long = "service-node", value_name = "ID")]
    node: Option<String>,
    /// Service of this proxy, instead of the one in the file
    #[arg(long = "service-cluster", value_name = "NAME")]
    cluster: Option<String>,
}

impl Flags {
    /// Whether there is a bootstrap to run from.
    pub(crate) fn are_given(&self) -> bool {
        self.file.is_some() || self.text.is_some()
    }
}

pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    logs::init(super::proxy::level(&flags.level), Format::Text, Target::Stderr)?;
    let (name, text) = match (&flags.file, &flags.text) {
        (Some(file), _) => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            (name, text)
        }
        (None, text) => ("--config-yaml".to_owned(), text.clone().unwrap_or_default()),
    };
    let mut bootstrap = match bootstrap::decode(&text) {
        Ok(bootstrap) => bootstrap,
        Err(problems) => {
            for problem in &problems {
                eprintln!("{name}: {problem}");
            }
            eprintln!("{name} is refused for {}", counted(problems.len()));
            return Ok(ExitCode::FAILURE);
        }
    };
    if flags.mode == "validate" {
        proxy::check_bootstrap(&bootstrap).with_context(|| format!("{name} is refused"))?;
        println!("configuration '{name}' OK");
        return Ok(ExitCode::SUCCESS);
    }
    flags.introduce(&mut bootstrap);
    let workers = flags.concurrency.filter(|count| *count > 0);
    let workers = workers.unwrap_or_else(runtimes::parallelism);
    let grace = Duration::from_secs(flags.drain);
    runtimes::run(serve(bootstrap, workers, grace)).context("cannot start an event loop")??;
    Ok(ExitCode::SUCCESS)
}

impl Flags {
    fn introduce(&self, bootstrap: &mut Bootstrap) {
        if let Some(id) = &self.node {
            bootstrap.node.id.clone_from(id);
        }
        if let Some(cluster) = &self.cluster {
            bootstrap.node.cluster.clone_from(cluster);
        }
    }
}

async fn serve(bootstrap: Bootstrap, workers: usize, grace: Duration) -> Result<()> {
    let running = proxy::start_bootstrap(bootstrap, workers).await?;
    tracing::info!(workers, "serving");
    drain::signal().await.context("cannot wait for signals")?;
    tokio::select! {
        () = running.stop(grace) => {}
        // Asked twice: at once.
        _ = drain::signal() => {}
    }
    Ok(())
}

fn counted(problems: usize) -> String {
    match problems {
        1 => "1 problem".to_owned(),
        more => format!("{more} problems"),
    }
}
