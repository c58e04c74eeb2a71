//! `amime up`: a local Kubernetes, and the mesh installed into it with the manifests that every cluster gets.
//! Returns (or says so, in the foreground) when a pod comes back injected.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::{clock, drain};
use local::launch;
use local::nodes::{self, Layout};
use serde_json::{Value, json};

use super::apply::apply_all;
use super::install::{ValueFlags, install};
use crate::cli::{Target, block_on};
use crate::cluster::{CallError, Cluster, text};
use crate::output::progress;
use crate::{connect, files, images};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Go on in the background; print the path of the kubeconfig
    #[arg(long)]
    detach: bool,
    /// Port of the API server on 127.0.0.1 [default: the one it had before, or a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Run PROGRAM for an image, for example backend=./target/debug/backend; may be repeated
    #[arg(long, value_name = "NAME=PROGRAM")]
    image: Vec<String>,
    /// A YAML file of such mappings, beside images.yaml of the state directory; both are read again when they change
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// Simulate so many nodes, `local`, `local-2` and so on [default: as many as before, or 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=i64::from(nodes::MOST)))]
    nodes: Option<u8>,
    /// Zones that the nodes are in, in turn, for example a,b,c
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    zones: Vec<String>,
    /// Regions that the nodes are in, in turn
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    regions: Vec<String>,
    #[command(flatten)]
    values: ValueFlags,
    /// Files or directories to apply once the mesh is up
    files: Vec<PathBuf>,
}

/// Longest wait for the mesh to inject.
const READY_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let home = connect::home(target)?;
    if let Some(found) = launch::running(&home) {
        let (home, pid) = (home.display(), found.pid);
        bail!(
            "a local mesh already runs in {home} (pid {pid}): end it with `amime down`, or give another --home"
        );
    }
    let documents = files::read(&arguments.files)?;
    let objects = arguments.values.manifests(launch::users())?;
    launch::claim(&home)?;
    let cluster = start(&home, arguments)?;
    let kubeconfig = cluster.kubeconfig.clone();
    let ready = block_on(async {
        let connection = connect::open(&kubeconfig, None).await?;
        bring_up(&connection, &objects).await?;
        anyhow::Ok(documents.documents.is_empty() || apply_all(&connection, &documents, "default").await?)
    });
    match ready {
        Ok(good) if arguments.detach => {
            println!("{}", kubeconfig.display());
            Ok(ExitCode::from(u8::from(!good)))
        }
        Ok(_) => stay(cluster),
        Err(error) => {
            let _ = cluster.stop();
            Err(error)
        }
    }
}

fn start(home: &Path, arguments: &Arguments) -> anyhow::Result<launch::Cluster> {
    let settings = launch::Settings {
        home: home.to_owned(),
        images: images::layers(home, &arguments.image, arguments.images.as_deref())?,
        nodes: layout(arguments)?,
        detach: arguments.detach,
        port: arguments.port,
    };
    launch::launch(&settings)
}

/// The simulated nodes, if any of their flags is given; the others then have their defaults again.
fn layout(arguments: &Arguments) -> anyhow::Result<Option<Layout>> {
    let Arguments {
        nodes,
        zones,
        regions,
        ..
    } = arguments;
    if nodes.is_none() && zones.is_empty() && regions.is_empty() {
        return Ok(None);
    }
    let named = u8::try_from(zones.len().max(regions.len()).max(1)).unwrap_or(u8::MAX);
    let layout = Layout {
        count: nodes.unwrap_or(named),
        zones: zones.clone(),
        regions: regions.clone(),
    };
    layout.check().map_err(anyhow::Error::msg)?;
    Ok(Some(layout))
}

/// In the foreground: until Ctrl-C, or until the cluster ends by itself.
fn stay(mut cluster: launch::Cluster) -> anyhow::Result<ExitCode> {
    eprintln!(
        "Ready. In another terminal: export KUBECONFIG={}",
        cluster.kubeconfig.display()
    );
    eprintln!("Ctrl-C ends it; what was applied is kept.");
    let interrupted = block_on(async {
        tokio::select! {
            told = drain::signal() => { told?; Ok(true) }
            () = gone(cluster.pid) => Ok(false),
        }
    })?;
    if interrupted {
        eprintln!("Ending …");
        cluster.stop()?;
        return Ok(ExitCode::SUCCESS);
    }
    cluster.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Ready when the process is no more.
async fn gone(pid: u32) {
    while Path::new(&format!("/proc/{pid}/ns")).exists() {
        clock::sleep(Duration::from_millis(200)).await;
    }
}

/// Installs the mesh and waits until it injects.
pub(crate) async fn bring_up(cluster: &Cluster, objects: &[Value]) -> anyhow::Result<()> {
    let work = async {
        install(cluster, objects, |_| {}).await?;
        wait_until_injecting(cluster).await
    };
    progress::show("Installing the mesh", work).await
}

async fn wait_until_injecting(cluster: &Cluster) -> anyhow::Result<()> {
    let deadline = clock::now() + READY_LIMIT;
    loop {
        let why = match try_injection(cluster).await {
            Ok(true) => return Ok(()),
            Ok(false) => "pods are created without a sidecar".to_owned(),
            Err(error) => error.to_string(),
        };
        if clock::now() >= deadline {
            let state = control_plane_state(cluster).await;
            bail!(
                "the mesh is not ready after {} s: {why}\n{state}",
                READY_LIMIT.as_secs()
            );
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a pod that asks for a sidecar would get one; nothing is created.
async fn try_injection(cluster: &Cluster) -> Result<bool, CallError> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "amime-ready", "labels": {"sidecar.istio.io/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "curl"}]}});
    let created = cluster
        .create("/api/v1/namespaces/default/pods?dryRun=All", &pod)
        .await?;
    let named = |list: &str| {
        let containers = created["spec"][list].as_array().cloned().unwrap_or_default();
        containers
            .iter()
            .any(|container| text(container, "/name") == "istio-proxy")
    };
    Ok(named("containers") || named("initContainers"))
}

/// The pods of istio-system, a line each, for the message of a failure.
async fn control_plane_state(cluster: &Cluster) -> String {
    let pods = cluster
        .get("/api/v1/namespaces/istio-system/pods")
        .await
        .unwrap_or_default();
    let line = |pod: &Value| {
        let reason = pod["status"]["containerStatuses"][0]["state"].to_string();
        format!(
            "{}: {} {reason}",
            text(pod, "/metadata/name"),
            text(pod, "/status/phase")
        )
    };
    let lines: Vec<String> = pods["items"].as_array().into_iter().flatten().map(line).collect();
    if lines.is_empty() {
        "istio-system has no pods".to_owned()
    } else {
        lines.join("\n")
    }
}

/// The cluster of the demo: foreground, in a state directory of its own.
pub(crate) fn start_in(home: &Path) -> anyhow::Result<launch::Cluster> {
    let settings = launch::Settings {
        home: home.to_owned(),
        images: images::layers(home, &[], None)?,
        nodes: None,
        detach: false,
        port: None,
    };
    launch::launch(&settings).context("cannot start the local Kubernetes")
}
