//! The node: API server, controllers, kubelet and DNS in one process, inside the node's namespaces.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use daemon::Tasks;
use daemon::logs::{Format, Target};

use super::control::{NodeSettings, Report};
use crate::api::node_link::NodeLink;
use crate::api::{self, Client};
use crate::controllers;
use crate::kubelet::dns::Upstreams;
use crate::kubelet::etc::ClusterDns;
use crate::kubelet::host_sockets::HostSockets;
use crate::kubelet::network::{self, NODE_ADDRESS};
use crate::kubelet::{self, dns, service_network};
use crate::sys::{frame, handover};

const DOMAIN: &str = "cluster.local";
const API_PORT: u16 = 6443;
const DNS_PORT: u16 = 53;
/// The Kubernetes version that the API server speaks, shown as the node's.
const VERSION: &str = "v1.33.4";

/// The role `node`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    // The launcher has made standard error the node's log file.
    daemon::logs::init("warn,local=info", Format::Text, Target::Stderr)?;
    let control = UnixStream::from(frame::stdin()?);
    let settings: NodeSettings = frame::from_stdin()?;
    let listener = TcpListener::from(handover::receive(&control).context("no socket from the launcher")?);
    let more =
        UnixStream::from(handover::receive(&control).context("no wire for sockets from the launcher")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = control.try_clone()?;
    let outcome = runtime.block_on(live(settings, (listener, more), control));
    if let Err(error) = &outcome {
        let _ = frame::write(&mut &report, &Report::Failed(format!("{error:#}")));
    }
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// How long pods may take to end when the node stops.
const PODS_LIMIT: Duration = Duration::from_secs(20);
/// How long the rest may take after that.
const REST_LIMIT: Duration = Duration::from_secs(5);

async fn live(
    settings: NodeSettings,
    (listener, more): (TcpListener, UnixStream),
    control: UnixStream,
) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let (link, requests) = NodeLink::new();
    let nodes = settings.nodes.nodes();
    let others: Vec<Ipv4Addr> = nodes.iter().skip(1).map(|node| node.address).collect();
    network::prepare_node(&others).context("cannot set up the node's network")?;
    let advertised = SocketAddr::from((NODE_ADDRESS, API_PORT));
    let inside = TcpListener::bind(advertised).with_context(|| format!("cannot listen on {advertised}"))?;
    let server = api::start(api::Settings {
        directory: settings.home.clone(),
        listener,
        cluster_listeners: vec![inside],
        advertised,
        node: link,
    })
    .await?;
    let client = &server.client;
    let controllers = controllers::Settings {
        nodes: nodes.clone(),
        node_address: NODE_ADDRESS,
        ca_certificate: server.ca_certificate.clone(),
        version: VERSION.to_owned(),
    };
    more.set_nonblocking(true)?;
    let sockets = HostSockets::new(tokio::net::UnixStream::from_std(more)?);
    service_network::start(client.clone(), sockets.clone(), &tasks)
        .await
        .context("cannot set up service addresses")?;
    controllers::start(client.clone(), controllers, &tasks)
        .await
        .context("cannot start the controllers")?;
    start_dns(client, sockets, &tasks).await?;
    let kubelet = kubelet::start(
        client,
        kubelet::Settings {
            nodes,
            home: settings.home,
            images: settings.images,
            dns: ClusterDns {
                address: controllers::DNS_SERVICE.ip().to_string(),
                domain: DOMAIN.to_owned(),
            },
        },
        requests,
        &tasks,
    )?;
    frame::write(&mut &control, &Report::Ready)?;
    until_told(control).await?;
    kubelet.stop(PODS_LIMIT).await;
    server.running.stop(REST_LIMIT).await;
    tasks.stop(REST_LIMIT).await;
    Ok(())
}

/// The node's own resolver; names outside the cluster go where the host sends them.
async fn start_dns(client: &Client, sockets: HostSockets, tasks: &Tasks) -> anyhow::Result<()> {
    let listen = SocketAddr::from((NODE_ADDRESS, DNS_PORT));
    let dns = dns::Settings {
        listen,
        domain: DOMAIN.to_owned(),
        upstreams: Upstreams::OfHost(sockets),
    };
    dns::start(client.clone(), dns, tasks)
        .await
        .with_context(|| format!("cannot answer DNS on {listen}"))?;
    Ok(())
}

/// Waits for the end of the control socket: the launcher wants us to stop, or is gone.
async fn until_told(control: UnixStream) -> anyhow::Result<()> {
    use tokio::io::AsyncReadExt;
    control.set_nonblocking(true)?;
    let mut control = tokio::net::UnixStream::from_std(control)?;
    while control.read_u8().await.is_ok() {}
    Ok(())
}
