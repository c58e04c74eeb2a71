//! `amime exec POD [-c CONTAINER] -- COMMAND`.

use std::process::ExitCode;

use crate::cli::Target;
use crate::cluster::exec::Place;
use crate::connect;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    pod: String,
    #[arg(short, long, default_value = "")]
    container: String,
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cluster = connect::connect(target).await?;
    let place = Place {
        namespace: &arguments.namespace,
        pod: &arguments.pod,
        container: &arguments.container,
    };
    let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
    let code = cluster
        .exec(&place, &arguments.command, &mut stdout, &mut stderr)
        .await?;
    Ok(ExitCode::from(code))
}
