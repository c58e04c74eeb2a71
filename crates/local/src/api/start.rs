//! Brings the API server up: keys, certificates, kubeconfig, store, sockets.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::{Running, Tasks, clock};

use super::client::Client;
use super::node_link::NodeLink;
use super::pki::{self, Pki};
use super::server::{Bounds, Limits, Listening, Service};
use super::tokens::Tokens;
use super::verbs::{self, Api};
use super::{User, bootstrap, event_expiry, rbac};
use crate::store::Store;

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
pub async fn start(settings: Settings) -> anyhow::Result<Server> {
    start_within(settings, Bounds::new(Limits::default())).await
}

/// The same with bounds on what clients may use up.
pub(super) async fn start_within(settings: Settings, bounds: Arc<Bounds>) -> anyhow::Result<Server> {
    let Settings {
        directory,
        listener,
        cluster_listeners,
        advertised,
        node,
    } = settings;
    identity::install_provider();
    allow_many_sockets();
    pki::private_directory(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let store = Store::open(&directory.join("cluster.db"))?;
    let Pki {
        authority,
        signer,
        server,
    } = pki::load(&directory, clock::wall())?;
    let ca_certificate = authority.root_pem().to_owned();
    let tls =
        identity::tls::server_config_optional_client(&server, &ca_certificate, &[&b"h2"[..], b"http/1.1"])?;

    let api = Arc::new(Api::new(store, Tokens::new(signer)));
    let client = Client::new(api.clone(), User::system("system:apiserver")).writing_as("kube-apiserver");
    bootstrap::run(&client, advertised)
        .await
        .context("the first objects cannot be made")?;
    rbac::bootstrap(&client)
        .await
        .context("the default roles cannot be made")?;

    let tasks = Tasks::new();
    let (trigger, drain) = daemon::drain::channel();
    let address = listener.local_addr().context("the listener has no address")?;
    tasks.spawn("event expiry", event_expiry::run(client.clone()));
    for collection in verbs::compiled_from() {
        tasks.spawn("compiled objects", verbs::follow(api.clone(), collection));
    }
    let listening = Listening::new(
        Service {
            api,
            node,
            drain: drain.clone(),
            bounds,
            tasks: tasks.clone(),
        },
        tls,
        tasks.clone(),
        drain,
    );
    for listener in std::iter::once(listener).chain(cluster_listeners) {
        listener
            .set_nonblocking(true)
            .context("a listener cannot be used")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("a listener cannot be used")?;
        listening.listen(listener);
    }
    // Last: whoever finds the file finds a server.
    let kubeconfig = pki::write_kubeconfig(
        &directory,
        &authority,
        &format!("https://{address}"),
        clock::wall(),
    )?;
    let running = Running {
        addresses: BTreeMap::from([("api", address)]),
        drain: trigger,
        tasks,
    };
    Ok(Server {
        client,
        ca_certificate,
        kubeconfig,
        running,
    })
}

/// Shells give 1,024 files and allow more; what cannot be had is missed only by very many connections.
fn allow_many_sockets() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
