//! Which cluster a command talks to: `--kubeconfig`, `KUBECONFIG`, a running local mesh, `~/.kube/config`.
//!
//! Where that is not obvious, one line on stderr says it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use local::launch::{self, Users};

use crate::cli::Target;
use crate::cluster::Cluster;

/// The state directory of the local mesh: `--home`, `AMIME_HOME`, `~/.amime`.
#[allow(
    clippy::disallowed_methods,
    reason = "settings of the command line, read here only"
)]
pub(crate) fn home(target: &Target) -> anyhow::Result<PathBuf> {
    let named = target
        .home
        .clone()
        .or_else(|| std::env::var_os("AMIME_HOME").map(PathBuf::from));
    match named.filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home),
        None => Ok(std::env::home_dir()
            .context("no home directory: give --home DIR")?
            .join(".amime")),
    }
}

/// Connects to the cluster that is meant.
pub(crate) async fn connect(target: &Target) -> anyhow::Result<Cluster> {
    let place = find(target)?;
    if let Some(why) = &place.said {
        eprintln!("{why}");
    }
    open(&place.kubeconfig, target.context.as_deref()).await
}

/// Which users the pods of the cluster have that is meant: a local mesh knows, and every other cluster has all.
pub(crate) fn users(target: &Target) -> Users {
    let of_local = || {
        let kubeconfig = find(target).ok()?.kubeconfig.canonicalize().ok()?;
        let found = launch::running(kubeconfig.parent()?)?;
        (found.kubeconfig == kubeconfig).then_some(found.users)
    };
    of_local().unwrap_or(Users::Any)
}

/// Connects to the cluster of a kubeconfig file.
pub(crate) async fn open(kubeconfig: &Path, context: Option<&str>) -> anyhow::Result<Cluster> {
    let name = || kubeconfig.display().to_string();
    let read = Kubeconfig::read_from(kubeconfig).with_context(name)?;
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let settings = kube::Config::from_custom_kubeconfig(read, &options)
        .await
        .with_context(name)?;
    let client = kube::Client::try_from(settings).with_context(name)?;
    Ok(Cluster::new(client))
}

struct Place {
    kubeconfig: PathBuf,
    said: Option<String>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "settings of the command line, read here only"
)]
fn find(target: &Target) -> anyhow::Result<Place> {
    let obvious = |kubeconfig| {
        Ok(Place {
            kubeconfig,
            said: None,
        })
    };
    if let Some(path) = &target.kubeconfig {
        return obvious(path.clone());
    }
    if target.home.is_none()
        && let Some(path) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty())
    {
        return obvious(first_of(&path)?);
    }
    let home = home(target)?;
    if let Some(found) = launch::running(&home) {
        let said = format!("Using the local mesh in {}", home.display());
        return Ok(Place {
            kubeconfig: found.kubeconfig,
            said: target.home.is_none().then_some(said),
        });
    }
    if target.home.is_some() {
        bail!(
            "no local mesh runs in {}: start one with `amime up --home {0}`",
            home.display()
        );
    }
    let default = std::env::home_dir()
        .map(|home| home.join(".kube/config"))
        .filter(|path| path.is_file());
    match default {
        Some(path) => {
            let said = Some(format!("Using {}", path.display()));
            Ok(Place {
                kubeconfig: path,
                said,
            })
        }
        None => bail!("no cluster: start one with `amime up`, or name one with --kubeconfig"),
    }
}

/// kubectl merges the files of `KUBECONFIG`; we take the first one that exists.
fn first_of(paths: &std::ffi::OsStr) -> anyhow::Result<PathBuf> {
    std::env::split_paths(paths)
        .find(|path| path.is_file())
        .with_context(|| format!("KUBECONFIG: no such file: {}", paths.to_string_lossy()))
}
