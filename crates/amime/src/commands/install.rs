//! `amime install`: the mesh's objects, created or brought up to date, under a field manager of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use controller::install::values::CaptureExemption;
use local::launch::Users;
use serde_json::{Value, json};

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
    /// The objects of the installation into a cluster whose pods have these users. Where there is but one, a mark
    /// tells the proxy's connections from the application's.
    pub(crate) fn manifests(&self, users: Users) -> anyhow::Result<Vec<Value>> {
        let read = |path: &PathBuf| -> anyhow::Result<Value> {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
        };
        let mut files = vec![defaults(users)];
        for path in &self.values {
            files.push(read(path)?);
        }
        let values = controller::install::values(&files, &self.set)?;
        if users == Users::One && values.global.capture_exemption == CaptureExemption::Uid {
            bail!(
                "global.captureExemption=uid needs a user for the proxy alone, and this local mesh has one user only: \
                 leave it out, or start the mesh as root"
            );
        }
        Ok(controller::install::manifests(&values))
    }
}

fn defaults(users: Users) -> Value {
    match users {
        Users::Any => json!({}),
        Users::One => json!({"global": {"captureExemption": CaptureExemption::Mark}}),
    }
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let objects = arguments.values.manifests(connect::users(target))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_user_exists_the_mark_is_the_default_and_the_user_is_refused() {
        let flags = |set: &[&str]| ValueFlags {
            set: set.iter().map(|&value| value.to_owned()).collect(),
            values: Vec::new(),
        };
        let marks = |users, set: &[&str]| {
            let objects = flags(set).manifests(users).unwrap();
            serde_json::to_string(&objects)
                .unwrap()
                .contains("\\\"captureExemption\\\": \\\"mark\\\"")
        };
        assert!(marks(Users::One, &[]));
        assert!(!marks(Users::Any, &[]));
        assert!(marks(Users::Any, &["global.captureExemption=mark"]));
        let refused = flags(&["global.captureExemption=uid"]).manifests(Users::One);
        assert!(refused.unwrap_err().to_string().contains("as root"));
    }
}
