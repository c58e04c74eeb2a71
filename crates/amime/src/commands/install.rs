//! `amime install`: the mesh's objects, created or brought up to date, under a field manager of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::cli::Target;
use crate::cluster::{Apply, Cluster, Kinds, text};
use crate::connect;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    values: ValueFlags,
    /// Print the objects instead of installing them
    #[arg(long)]
    dry_run: bool,
}

/// How the installation differs from the default.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ValueFlags {
    /// A value of the installation, as Helm's --set: global.proxy.logLevel=debug
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A file of such values
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,
}

impl ValueFlags {
    /// The objects of the installation.
    pub(crate) fn manifests(&self) -> anyhow::Result<Vec<Value>> {
        let read = |path: &PathBuf| -> anyhow::Result<Value> {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
        };
        let files: Vec<Value> = self.values.iter().map(read).collect::<anyhow::Result<_>>()?;
        let values = controller::install::values(&files, &self.set)?;
        Ok(controller::install::manifests(&values))
    }
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let objects = arguments.values.manifests()?;
    if arguments.dry_run {
        for object in &objects {
            print!("---\n{}", serde_saphyr::to_string(object)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = connect::connect(target).await?;
    install(&cluster, &objects, |line| println!("{line}")).await?;
    Ok(ExitCode::SUCCESS)
}

/// Applies the objects in order and reports each.
pub(crate) async fn install(
    cluster: &Cluster,
    objects: &[Value],
    mut report: impl FnMut(&str),
) -> anyhow::Result<()> {
    let kinds = Kinds::load(cluster).await?;
    let apply = Apply {
        manager: "amime-install",
        keep_foreign: true,
    };
    for object in objects {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        let known = kinds
            .of(object)
            .with_context(|| format!("the cluster does not know kind {kind}"))?;
        let applied = apply
            .run(cluster, known, text(object, "/metadata/namespace"), object)
            .await;
        report(&format!(
            "{} {}",
            known.named(name),
            applied.with_context(|| known.named(name))?.word()
        ));
    }
    Ok(())
}
