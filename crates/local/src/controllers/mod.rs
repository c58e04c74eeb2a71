//! The controllers: each is list and watch in, writes out, through the same API as anybody.
//!
//! A controller is told which objects a change concerns, looks at the cluster as it is at that moment, and takes one
//! step towards what the object wants ([`queue`]). What to do is decided by pure functions; time is passed in.

mod queue;

use std::net::{Ipv4Addr, SocketAddrV4};

use daemon::Tasks;

use crate::api::Status;
use crate::api::client::Client;

/// What the controllers know about the one node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the Node object; what `spec.nodeName` of every pod says.
    pub node_name: String,
    /// The node's own address, which pods reach and where its DNS answers.
    pub node_address: Ipv4Addr,
    /// Port of the API server on that address.
    pub api_port: u16,
    /// What `kube-root-ca.crt` holds.
    pub ca_certificate: String,
    /// Shown as the kubelet's version; the API server's.
    pub version: String,
}

/// Addresses of the two services that every cluster has.
pub const KUBERNETES_SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 443);
pub const DNS_SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 53);

/// Writes what a cluster begins with (namespaces, the node, the services `kubernetes` and `kube-dns`), then starts
/// the controllers. Pods can be created when this returns.
///
/// # Errors
/// When one of the first objects is refused.
#[allow(clippy::unused_async, reason = "signature first")]
pub async fn start(client: Client, settings: Settings, tasks: &Tasks) -> Result<(), Status> {
    let _ = (client, settings, tasks);
    Ok(())
}
