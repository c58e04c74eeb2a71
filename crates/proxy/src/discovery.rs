//! Follows the controller: introduces this proxy, and says in the log what happens on the way.

use std::path::Path;
use std::sync::Arc;

use daemon::Tasks;
use snapshot::Snapshot;
use tokio::sync::{mpsc, watch};
use xds::transport::{self, Event};

use crate::settings::{Node, Settings};

/// Starts to follow. The receiver holds the last Snapshot, whatever becomes of the controller.
pub(crate) fn follow(settings: &Settings, tasks: &Tasks) -> watch::Receiver<Option<Arc<Snapshot>>> {
    let (snapshots, receiver) = watch::channel(None);
    let (events, log) = mpsc::channel(64);
    let discovery = &settings.discovery;
    let host = discovery
        .address
        .rsplit_once(':')
        .map_or(discovery.address.as_str(), |(host, _)| host);
    let existing = |path: &Path| path.exists().then(|| path.to_owned());
    let session = transport::Settings {
        address: discovery.address.clone(),
        server_name: host.to_owned(),
        trust: Some(discovery.root.clone()),
        token: existing(&discovery.token),
        mark: settings.capture.mark,
        node: introduction(&settings.node),
        whole: false,
    };
    tasks.spawn("discovery", transport::follow(session, snapshots, events));
    tasks.spawn("discovery events", tell(log));
    receiver
}

/// How a proxy introduces itself to the controller.
pub fn introduction(node: &Node) -> xds::Node {
    let workload = node.workload();
    let mut metadata = node.metadata.clone();
    let mut put = |name: &str, value: &str| {
        metadata.insert(name.to_owned(), value.to_owned());
    };
    put("NAME", &node.pod);
    put("NAMESPACE", &node.namespace);
    put("SERVICE_ACCOUNT", &node.service_account);
    put("CLUSTER_ID", &node.cluster);
    put("WORKLOAD_NAME", &workload.name);
    put(
        "INSTANCE_IPS",
        &node
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
    );
    put("ISTIO_VERSION", env!("CARGO_PKG_VERSION"));
    xds::Node {
        id: node.id(),
        agent: xds::Node::AMIME.to_owned(),
        labels: node.labels.clone(),
        metadata,
        ..xds::Node::default()
    }
}

pub(crate) async fn tell(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected => tracing::info!(target: "ads", "connected to the controller"),
            Event::Disconnected { reason, retry_in } => {
                tracing::warn!(target: "ads", reason, ?retry_in, "not connected to the controller");
            }
            Event::Rejected(rejected) => {
                tracing::warn!(target: "ads", resource = ?rejected, "refused what the controller sent");
            }
            Event::GaveUpWaiting => {
                tracing::warn!(target: "ads", "the controller did not send all that it named");
            }
        }
    }
}
