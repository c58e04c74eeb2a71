//! Brings the API server up: keys, certificates, kubeconfig, store, sockets.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use daemon::Running;

use super::client::Client;
use super::node_link::NodeLink;

/// What the server needs to start.
#[derive(Debug)]
pub struct Settings {
    /// The state directory; made if missing. Holds `cluster.db`, `pki/` and `kubeconfig`.
    pub directory: PathBuf,
    /// Bound on the host's loopback; `kubeconfig` names its address.
    pub listener: TcpListener,
    /// Bound inside the cluster: the node's own address.
    pub cluster_listeners: Vec<TcpListener>,
    /// Where pods reach the server (`10.244.0.1:6443`): the endpoint of Service `kubernetes`.
    pub advertised: SocketAddr,
    pub node: NodeLink,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Calls as `system:apiserver`; see [`Client::for_user`].
    pub client: Client,
    /// The cluster's root certificate: `kube-root-ca.crt`, and `ca.crt` beside every token.
    pub ca_certificate: String,
    pub kubeconfig: PathBuf,
    pub running: Running,
}

/// Starts the server; it accepts when this returns.
///
/// # Errors
/// One line that says what to do: a state directory in use, foreign or of a newer version, a full disk.
#[allow(clippy::unused_async, reason = "signature first")]
pub async fn start(settings: Settings) -> anyhow::Result<Server> {
    anyhow::bail!("the API server is being built: {}", settings.directory.display())
}
