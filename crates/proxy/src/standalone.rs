//! A proxy that runs from an Envoy bootstrap file: nothing is captured, and each listener has its own socket.
//!
//! From here on everything is as in a sidecar: static resources are a Snapshot like any other, and what comes over
//! ADS joins it there.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use daemon::Tasks;
use snapshot::Snapshot;
use tokio::sync::{mpsc, watch};
use xds::bootstrap::{Bootstrap, Dynamic};
use xds::client::Fixed;
use xds::transport;

use crate::application_probes::Probers;
use crate::listen::doors::Doors;
use crate::settings::{Capture, Node};
use crate::tls::{client, server};
use crate::{Layout, discovery, resolve};

/// Opens the listeners of the file.
pub(crate) fn layout(bootstrap: &Bootstrap, workers: usize) -> Result<Layout> {
    check_files(&bootstrap.snapshot)?;
    let workers = workers.max(1);
    let mut doors = Doors::new(workers);
    if let Some((name, error)) = doors.follow(&bootstrap.snapshot).into_iter().next() {
        return Err(error.context(format!("listener {name}")));
    }
    Ok(Layout {
        token: None,
        node: node(bootstrap),
        capture: Capture::default(),
        workers,
        doors,
        follows: true,
        pages: bootstrap
            .admin
            .map(|address| ("admin", address))
            .into_iter()
            .collect(),
        probers: Probers::default(),
        addresses: BTreeMap::new(),
    })
}

/// Whether the files that the resources name can be used: where one cannot, Envoy does not start either.
pub(crate) fn check_files(snapshot: &Snapshot) -> Result<()> {
    for listener in snapshot.listeners.iter() {
        let chains = listener.chains.iter().chain(&listener.default_chain);
        for tls in chains.filter_map(|chain| chain.tls.as_ref()) {
            server::check(tls).with_context(|| format!("listener {}", listener.name))?;
        }
    }
    for cluster in snapshot.clusters.iter() {
        if let Some(tls) = &cluster.tls {
            client::check(tls).with_context(|| format!("cluster {}", cluster.name))?;
        }
    }
    Ok(())
}

fn node(bootstrap: &Bootstrap) -> Node {
    Node {
        pod: bootstrap.node.id.clone(),
        workload: bootstrap.node.cluster.clone(),
        labels: bootstrap.node.labels.clone(),
        metadata: bootstrap.node.metadata.clone(),
        ..Node::default()
    }
}

/// Starts to follow what the file names: its own resources, a controller, names in the DNS.
pub(crate) fn follow(bootstrap: Bootstrap, tasks: &Tasks) -> Result<watch::Receiver<Option<Arc<Snapshot>>>> {
    let resources = match &bootstrap.dynamic {
        None => {
            let (sender, receiver) = watch::channel(Some(Arc::new(bootstrap.snapshot)));
            tasks.spawn("static resources", async move {
                sender.closed().await;
            });
            receiver
        }
        Some(dynamic) => controller(&bootstrap, dynamic, tasks)?,
    };
    Ok(match bootstrap.names.is_empty() {
        true => resources,
        false => resolve::follow(resources, bootstrap.names, tasks),
    })
}

fn controller(
    bootstrap: &Bootstrap,
    dynamic: &Dynamic,
    tasks: &Tasks,
) -> Result<watch::Receiver<Option<Arc<Snapshot>>>> {
    let session = transport::Settings {
        address: address(bootstrap, dynamic)?,
        server_name: dynamic.server.to_string(),
        trust: None,
        token: None,
        mark: None,
        node: bootstrap.node.clone(),
        whole: dynamic.whole,
    };
    let fixed = Fixed {
        snapshot: bootstrap.snapshot.clone(),
        resolved: bootstrap
            .names
            .iter()
            .map(|names| names.endpoints.cluster.clone())
            .collect(),
        clusters: dynamic.clusters,
        listeners: dynamic.listeners,
    };
    let (snapshots, receiver) = watch::channel(None);
    let (events, log) = mpsc::channel(64);
    let following = transport::follow_beside(session, fixed, snapshots, events);
    tasks.spawn("discovery", following);
    tasks.spawn("discovery events", discovery::tell(log));
    Ok(receiver)
}

/// Where the controller is: the first member of its cluster.
fn address(bootstrap: &Bootstrap, dynamic: &Dynamic) -> Result<String> {
    let server = dynamic.server.as_str();
    if let Some(names) = bootstrap
        .names
        .iter()
        .find(|names| names.endpoints.cluster == dynamic.server)
    {
        let (host, endpoint) = names
            .hosts
            .iter()
            .zip(names.endpoints.iter())
            .next()
            .with_context(|| format!("cluster {server} has no members"))?;
        return Ok(format!("{host}:{}", endpoint.address.port()));
    }
    let endpoints = bootstrap
        .snapshot
        .endpoints
        .get(server)
        .with_context(|| format!("ads_config names the cluster {server}, which is not in the file"))?;
    let first = endpoints
        .iter()
        .next()
        .with_context(|| format!("cluster {server} has no members"))?;
    Ok(first.address.to_string())
}
