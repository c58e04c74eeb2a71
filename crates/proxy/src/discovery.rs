//! Follows the controller: introduces this proxy, and says in the log what happens on the way.

use std::path::Path;
use std::sync::Arc;

use daemon::Tasks;
use snapshot::Snapshot;
use tokio::sync::{mpsc, watch};
use xds::secrets::Trusted;
use xds::transport::{self, Event};

use crate::settings::{Node, Settings};
use crate::tls::renewal::{self, Renewal};
use crate::tls::workload::Workload;

/// Starts to follow. The receiver holds the last Snapshot, whatever becomes of the controller; `workload` is kept with
/// a certificate and with whom to believe.
pub(crate) fn follow(
    settings: &Settings,
    workload: &Workload,
    tasks: &Tasks,
) -> watch::Receiver<Option<Arc<Snapshot>>> {
    let (trusted, told) = watch::channel(None);
    let (snapshots, receiver) = watch::channel(None);
    let (events, log) = mpsc::channel(64);
    let session = session(settings, &settings.discovery.address);
    tasks.spawn(
        "discovery",
        transport::follow_trusting(session, snapshots, trusted, events),
    );
    tasks.spawn("discovery events", tell(log));
    keep_certificate(settings, workload, told, tasks);
    receiver
}

/// How to reach the control plane at that address, and who asks.
fn session(settings: &Settings, address: &str) -> transport::Settings {
    let discovery = &settings.discovery;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let existing = |path: &Path| path.exists().then(|| path.to_owned());
    transport::Settings {
        address: address.to_owned(),
        server_name: host.to_owned(),
        trust: Some(discovery.root.clone()),
        token: existing(&discovery.token),
        mark: settings.capture.mark,
        node: introduction(&settings.node),
        whole: false,
    }
}

fn keep_certificate(
    settings: &Settings,
    workload: &Workload,
    told: watch::Receiver<Option<Arc<Trusted>>>,
    tasks: &Tasks,
) {
    if let Some(folder) = &settings.certificates.mounted {
        let follow = renewal::follow_files(folder.clone(), workload.clone());
        return tasks.spawn("certificate files", follow);
    }
    let roots = renewal::follow_root(settings.discovery.root.clone(), workload.clone(), told.clone());
    tasks.spawn("roots", roots);
    let renewal = Renewal {
        workload: workload.clone(),
        like: settings.certificates.clone(),
        authority: session(settings, &settings.discovery.ca_address),
        name: settings.node.spiffe_id(),
        told,
    };
    tasks.spawn("certificate renewal", renewal.keep());
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
