//! The controllers: each is list and watch in, writes out, through the same API as anybody.
//!
//! A controller is told which objects a change concerns, looks at the cluster as it is at that moment, and takes one
//! step towards what the object wants ([`run`]). What to do is decided by pure functions; time is passed in.

pub(crate) mod changes;
mod claim;
mod daemon_set;
mod deployment;
mod disruption;
mod dns_service;
mod endpoint_slice;
mod endpoints;
pub(crate) mod events;
mod garbage;
mod hash;
mod job;
mod namespace;
mod node;
pub(crate) mod object;
pub(crate) mod pods;
mod queue;
mod replica_set;
mod revision;
mod role_aggregation;
mod root_ca;
mod run;
pub(crate) mod selector;
mod service_account;
mod share;
mod stateful_set;
mod taints;
mod write;

use std::net::{Ipv4Addr, SocketAddrV4};

use daemon::Tasks;

use crate::api::Status;
use crate::api::client::Client;
use crate::nodes::Simulated;

/// What the controllers know about the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A Node object for each.
    pub nodes: Vec<Simulated>,
    /// The first node's address, which pods reach and where its DNS answers.
    pub node_address: Ipv4Addr,
    /// What `kube-root-ca.crt` holds.
    pub ca_certificate: String,
    /// Shown as the kubelet's version; the API server's.
    pub version: String,
}

/// Where pods find DNS: Service `kube-dns`.
pub const DNS_SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 53);

/// Writes what the API server did not begin with (the node, Service `kube-dns`), then starts the controllers. Pods can be
/// created when this returns.
///
/// # Errors
/// When one of the first objects is refused.
pub async fn start(client: Client, settings: Settings, tasks: &Tasks) -> Result<(), Status> {
    let client = client.writing_as("kube-controller-manager");
    dns_service::write(&client, &settings).await?;
    node::start(&client, &settings, tasks).await?;
    namespace::start(&client, tasks);
    service_account::start(&client, tasks);
    root_ca::start(&client, &settings, tasks);
    replica_set::start(&client, tasks);
    deployment::start(&client, tasks);
    stateful_set::start(&client, tasks);
    daemon_set::start(&client, tasks);
    job::start(&client, tasks);
    taints::start(&client, tasks);
    disruption::start(&client, tasks);
    endpoint_slice::start(&client, tasks);
    endpoints::start(&client, tasks);
    garbage::start(&client, tasks);
    role_aggregation::start(&client, tasks);
    // Pods need both; waiting here spares the first of them a refusal.
    service_account::ensure(&client, "default").await?;
    root_ca::ensure(&client, "default", &settings.ca_certificate).await
}
