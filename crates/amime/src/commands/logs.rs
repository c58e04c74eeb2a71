//! `amime logs POD [-c CONTAINER] [-f]`.

use std::process::ExitCode;

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use crate::cli::Target;
use crate::cluster::CallError;
use crate::connect;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    pod: String,
    #[arg(short, long)]
    container: Option<String>,
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Go on as lines are written
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(long)]
    tail: Option<i64>,
    /// The container's run before this one
    #[arg(short, long)]
    previous: bool,
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cluster = connect::connect(target).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &arguments.namespace);
    let how = LogParams {
        container: arguments.container.clone(),
        follow: arguments.follow,
        tail_lines: arguments.tail,
        previous: arguments.previous,
        ..LogParams::default()
    };
    let mut lines = pods
        .log_stream(&arguments.pod, &how)
        .await
        .map_err(CallError::from)?
        .lines();
    while let Some(line) = lines.try_next().await? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
