//! `amime controller`: the control plane. Its flags are judged by the controller's own settings.

use std::process::ExitCode;

use anyhow::{Context, Result};
use controller::Settings;
use daemon::logs::{self, Format, Target};
use daemon::{drain, runtimes};

/// Run the control plane
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Istio's flags of the control plane, as in --monitoringAddr=:15014 --log_output_level=default:info
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = Settings::from_env(&arguments.flags)?;
    let format = if settings.log_as_json {
        Format::Json
    } else {
        Format::Text
    };
    logs::init(&settings.log_level, format, Target::Stdout)?;
    runtimes::run(serve(settings)).context("cannot start an event loop")??;
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> Result<()> {
    let grace = settings.shutdown;
    // The start waits for a cluster; whoever ends it meanwhile need not.
    let running = tokio::select! {
        running = controller::start(settings) => running?,
        signal = drain::signal() => return signal.context("cannot wait for signals"),
    };
    drain::signal().await.context("cannot wait for signals")?;
    tracing::info!(grace_ms = grace.as_millis(), "stopping");
    tokio::select! {
        () = running.stop(grace) => tracing::info!("stopped"),
        // Asked twice: at once.
        _ = drain::signal() => tracing::info!("asked again: ending at once"),
    }
    Ok(())
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

    #[test]
    fn flags_reach_the_controllers_settings() {
        let words = [
            "controller",
            "--monitoringAddr=:15014",
            "--log_output_level=default:debug",
        ];
        let line = Line::try_parse_from(words).unwrap();
        let settings = Settings::from_env(&line.arguments.flags).unwrap();
        assert_eq!(
            (settings.listen.monitoring.port(), settings.log_level.as_str()),
            (15014, "default:debug")
        );
    }
}
