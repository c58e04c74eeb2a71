//! Service addresses: one nft table in the node's network namespace sends them to ready endpoints. What the host may
//! reach has sockets there ([`exposed`]).
//!
//! The table is a pure function of Services and EndpointSlices ([`rules`]) and is replaced as a whole, so a packet sees
//! either all of a change or nothing of it. Changes that come together are applied together. A running connection
//! keeps the endpoint it began with.

mod exposed;
mod forwarding;
mod rules;

use std::time::Duration;

use daemon::{Tasks, clock};

use crate::api::client::{Client, Query};
use crate::api::gvr::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use crate::api::{Gvr, Status};
use crate::controllers::changes::{self, Changes};
use crate::kubelet::host_sockets::HostSockets;
use rules::Cluster;

/// How long changes are collected before the kernel is told: endpoints of a rollout come in crowds.
const COLLECT: Duration = Duration::from_millis(10);
const RETRY: Duration = Duration::from_secs(1);

/// Why the first rules are not in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("services cannot be listed: {0}")]
    Api(#[from] Status),
    #[error("service addresses: {0}")]
    Kernel(#[from] netfilter::Error),
}

/// Puts the first rules in force and keeps them up to date. The node needs `ip_forward` and a route that covers the
/// service range (`10.96.0.0/16 dev lo`, source the node's address).
///
/// # Errors
/// When the kernel refuses the table.
pub(crate) async fn start(client: Client, sockets: HostSockets, tasks: &Tasks) -> Result<(), Error> {
    let first = table(&client)?;
    put_in_force(&first, tasks).await?;
    let owner = tasks.clone();
    tasks.spawn(
        "services on the host",
        exposed::keep_up(client.clone(), sockets, owner.clone()),
    );
    tasks.spawn(
        "service network",
        async move { keep_up(client, first, owner).await },
    );
    Ok(())
}

async fn keep_up(client: Client, mut in_force: netfilter::Table, tasks: Tasks) {
    let mut services = Changes::of(&client, &SERVICES);
    let mut slices = Changes::of(&client, &ENDPOINT_SLICES);
    let mut nodes = Changes::of(&client, &NODES);
    let mut pods = Changes::of(&client, &PODS);
    loop {
        tokio::select! {
            () = changes::collect(&mut services, &mut slices, COLLECT) => {}
            // Nodes and pods matter to Services that keep their traffic close.
            () = changes::collect(&mut nodes, &mut pods, COLLECT) => {}
        }
        while let Err(error) = update(&client, &mut in_force, &tasks).await {
            tracing::warn!(%error, "service addresses are out of date; trying again");
            clock::sleep(RETRY).await;
        }
    }
}

async fn update(client: &Client, in_force: &mut netfilter::Table, tasks: &Tasks) -> Result<(), Error> {
    let next = table(client)?;
    if next == *in_force {
        return Ok(());
    }
    put_in_force(&next, tasks).await?;
    *in_force = next;
    Ok(())
}

async fn put_in_force(table: &netfilter::Table, tasks: &Tasks) -> Result<(), Error> {
    let table = table.clone();
    let applied = tasks
        .blocking("service network", move || netfilter::apply(&table))
        .await;
    applied.unwrap_or_else(|| Err(netfilter::Error::Socket(std::io::Error::other("interrupted"))))?;
    Ok(())
}

fn table(client: &Client) -> Result<netfilter::Table, Status> {
    let all = |gvr: &Gvr| client.list(gvr, "", &Query::default()).map(|list| list.items);
    let mut cluster = Cluster {
        services: all(&SERVICES)?,
        slices: all(&ENDPOINT_SLICES)?,
        nodes: all(&NODES)?,
        pods: Vec::new(),
    };
    if rules::tells_callers_apart(&cluster.services, &cluster.nodes) {
        cluster.pods = all(&PODS)?;
    }
    Ok(rules::table(&cluster))
}
