//! The table of subcommands, and what every one of them shares: runtime, error output, exit codes.
//!
//! Exit codes: 0 done; 1 failed; 64 wrong use; 130 interrupted.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::commands::{
    apply, bootstrap, ca, controller, delete, demo, down, exec, explain, get, install, logs, mtls, proxy,
    redirect, up, version,
};

#[derive(Parser)]
#[command(
    name = "amime",
    about = "A service mesh that speaks Istio, with a small Kubernetes of its own to run it in",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

/// Which cluster and namespace are meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Target {
    /// Kubeconfig of the cluster [default: KUBECONFIG, a running local mesh, ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<std::path::PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// State directory of the local mesh [default: AMIME_HOME, ~/.amime]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<std::path::PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Tell the article's story in a mesh of its own: one version, both, all to v0, all to v1, 90/10
    Demo,
    /// Start a local Kubernetes with the mesh in it
    Up(up::Arguments),
    /// End the local mesh; what was applied is kept
    Down(down::Arguments),
    /// Install the mesh into a cluster, or bring it up to date
    Install(install::Arguments),
    /// Create or change objects from files
    Apply(apply::Arguments),
    /// Print objects; virtualservices and destinationrules as istioctl does
    Get(get::Arguments),
    /// Delete objects by file or by name
    Delete(delete::Arguments),
    /// Print the log of a container
    Logs(logs::Arguments),
    /// Show who calls whom, and the identities at both ends
    Mtls(mtls::Arguments),
    /// Tell what happens to a call, and which policy, rule and line decides; or what the details in an access log mean
    Explain(Box<explain::Arguments>),
    /// Run a command in a container
    Exec(exec::Arguments),
    /// Show or replace the root of the mesh's certificate authority
    Ca(ca::Arguments),
    /// Run the control plane (what the istiod Deployment runs)
    #[command(visible_alias = "discovery")]
    Controller(controller::Arguments),
    /// Run the proxy beside a workload (what the sidecar runs)
    Proxy(proxy::Arguments),
    /// Redirect a pod's connections to its proxy (what the init container runs)
    Redirect(redirect::Arguments),
    /// Write the bootstrap file of another proxy (what the init container of an Envoy runs)
    #[command(hide = true)]
    Bootstrap(bootstrap::Arguments),
    /// Print the version
    Version,
}

/// Runs the command line to its end.
pub(crate) fn run(words: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked_for {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(64)
            };
        }
    };
    dispatch(arguments).unwrap_or_else(|error| {
        eprintln!("Error: {error:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let target = arguments.target;
    match arguments.command {
        Command::Demo => demo::run(),
        Command::Up(arguments) => up::run(&target, &arguments),
        Command::Down(arguments) => down::run(&target, &arguments),
        Command::Install(arguments) => block_on(install::run(&target, &arguments)),
        Command::Apply(arguments) => block_on(apply::run(&target, &arguments)),
        Command::Get(arguments) => block_on(get::run(&target, &arguments)),
        Command::Delete(arguments) => block_on(delete::run(&target, &arguments)),
        Command::Logs(arguments) => block_on(logs::run(&target, &arguments)),
        Command::Mtls(arguments) => block_on(mtls::run(&target, &arguments)),
        Command::Explain(arguments) => block_on(explain::run(&target, &arguments)),
        Command::Exec(arguments) => block_on(exec::run(&target, &arguments)),
        Command::Ca(arguments) => block_on(ca::run(&target, &arguments)),
        Command::Controller(arguments) => controller::run(&arguments),
        Command::Proxy(arguments) => proxy::run(&arguments),
        Command::Redirect(arguments) => redirect::run(&arguments),
        Command::Bootstrap(arguments) => bootstrap::run(&arguments),
        Command::Version => version::run(),
    }
}

/// Runs a command that talks to a cluster; one thread is enough for that.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_of_commands_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn istioctl_gets_the_same_commands() {
        let words = ["istioctl", "get", "virtualservices", "-n", "istio-http-example"];
        assert!(Arguments::try_parse_from(words).is_ok());
    }
}
