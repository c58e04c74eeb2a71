//! `amime proxy`: the data plane beside a workload. Started by injection with Istio's flags, or from an Envoy
//! bootstrap file with Envoy's.

use std::process::ExitCode;

use anyhow::{Context, Result};
use daemon::logs::{self, Format, Target};
use daemon::{drain, runtimes};
use proxy::settings::Settings;

use super::bootstrap_file;

/// Run the proxy beside a workload
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What it stands before: sidecar (a workload) or router (a gateway)
    #[arg(value_name = "ROLE", default_value = "sidecar", value_parser = ["sidecar", "router"])]
    role: String,
    /// DNS domain of the workload's namespace, as in shop.svc.cluster.local
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// What the log shows of the data path
    #[arg(long = "proxyLogLevel", value_name = "LEVEL", default_value = "warning")]
    data_path_level: String,
    /// What the log shows of parts of the data path, as in http:debug,upstream:info
    #[arg(
        long = "proxyComponentLogLevel",
        value_name = "LEVELS",
        default_value = "misc:error"
    )]
    component_levels: String,
    /// What the log shows of everything else
    #[arg(
        long = "log_output_level",
        value_name = "LEVELS",
        default_value = "default:info"
    )]
    log_level: String,
    /// Write the log as JSON
    #[arg(long = "log_as_json")]
    log_as_json: bool,
    #[command(flatten)]
    bootstrap: bootstrap_file::Flags,
}

/// Envoy's names for its parts, and where the lines of ours come from.
const COMPONENTS: [(&str, &str); 12] = [
    ("config", "ads"),
    ("connection", "proxy::listen"),
    ("filter", "proxy::http"),
    ("forward_proxy", "proxy::tcp"),
    ("http", "proxy::http"),
    ("http2", "proxy::http"),
    ("listener", "proxy::listen"),
    ("conn_handler", "proxy::listen"),
    ("pool", "proxy::upstream"),
    ("router", "proxy::http"),
    ("tcp_proxy", "proxy::tcp"),
    ("upstream", "proxy::upstream"),
];
/// Where the lines of the data path come from.
const DATA_PATH: [&str; 5] = [
    "proxy::active",
    "proxy::http",
    "proxy::listen",
    "proxy::tcp",
    "proxy::upstream",
];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.bootstrap.are_given() {
        return bootstrap_file::run(&arguments.bootstrap);
    }
    let (filter, unknown) = arguments.log_filter();
    let format = if arguments.log_as_json {
        Format::Json
    } else {
        Format::Text
    };
    logs::init(&filter, format, Target::Stdout)?;
    for component in unknown {
        tracing::warn!(
            component,
            "--proxyComponentLogLevel names a part that this proxy does not have"
        );
    }
    let settings = arguments.settings(Settings::from_env()?);
    runtimes::run(serve(settings)).context("cannot start an event loop")??;
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> Result<()> {
    let grace = settings.drain;
    let running = proxy::start(settings).await?;
    drain::signal().await.context("cannot wait for signals")?;
    tracing::info!(grace_ms = grace.as_millis(), "draining");
    tokio::select! {
        () = running.stop(grace) => tracing::info!("drained"),
        // Asked twice: at once.
        _ = drain::signal() => tracing::info!("asked again: ending at once"),
    }
    Ok(())
}

impl Arguments {
    fn settings(&self, mut settings: Settings) -> Settings {
        settings.node.role.clone_from(&self.role);
        // Istio gives the domain of the namespace; the suffix of the cluster is what follows `svc.`.
        if let Some((_, suffix)) = self
            .domain
            .as_deref()
            .and_then(|domain| domain.split_once(".svc."))
        {
            suffix.clone_into(&mut settings.node.domain);
        }
        settings
    }

    /// The filter of the log, and parts that were named and do not exist.
    fn log_filter(&self) -> (String, Vec<&str>) {
        let mut filter = vec![self.log_level.clone()];
        filter.extend(
            DATA_PATH
                .iter()
                .map(|target| format!("{target}={}", level(&self.data_path_level))),
        );
        let mut unknown = Vec::new();
        for item in self.component_levels.split(',').filter(|item| !item.is_empty()) {
            // Istio's default names `misc`, Envoy's part for everything without a name.
            let (component, wanted) = item.split_once(':').unwrap_or((item, "info"));
            let targets: Vec<&str> = COMPONENTS
                .iter()
                .filter(|(name, _)| *name == component)
                .map(|(_, target)| *target)
                .collect();
            if targets.is_empty() && component != "misc" {
                unknown.push(component);
            }
            filter.extend(targets.iter().map(|target| format!("{target}={}", level(wanted))));
        }
        (filter.join(","), unknown)
    }
}

/// Envoy's names for levels in the words of the filter.
pub(super) fn level(name: &str) -> &str {
    match name {
        "warning" => "warn",
        "critical" => "error",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> Arguments {
        Line::try_parse_from([&["proxy"], words].concat())
            .unwrap()
            .arguments
    }

    #[test]
    fn the_flags_of_injected_pods_are_understood() {
        let arguments = parse(&[
            "sidecar",
            "--domain",
            "shop.svc.mesh.example",
            "--proxyLogLevel=warning",
            "--proxyComponentLogLevel=misc:error,http:debug,lua:info",
            "--log_output_level=default:info",
        ]);
        let (filter, unknown) = arguments.log_filter();
        assert!(
            filter.starts_with("default:info,proxy::active=warn,proxy::http=warn,"),
            "{filter}"
        );
        assert!(filter.ends_with(",proxy::http=debug"), "{filter}");
        assert_eq!(unknown, ["lua"]);
    }
}
