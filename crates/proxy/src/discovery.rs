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
    let session = session(settings, &settings.discovery.address, &told);
    if settings.certificates.mounted.is_some() {
        // Who has certificates and roots of somebody else's does not ask for the mesh's: its controller would wait for
        // an answer that means nothing.
        tasks.spawn("discovery", transport::follow(session, snapshots, events));
    } else {
        let believe = believe(workload.clone(), trusted);
        let follow = transport::follow_trusting(session, snapshots, believe, events);
        tasks.spawn("discovery", follow);
    }
    tasks.spawn("discovery events", tell(log));
    keep_certificate(settings, workload, told, tasks);
    receiver
}

/// Takes over whom to believe at once, whatever else this proxy waits for, and tells those who want to know.
fn believe(workload: Workload, told: watch::Sender<Option<Arc<Trusted>>>) -> transport::Believe {
    Box::new(move |trusted| {
        if workload.believe(&trusted) {
            let roots = trusted.roots.fingerprints().count();
            tracing::info!(target: "tls", roots, "roots of the mesh received");
        }
        told.send_replace(Some(trusted));
    })
}

/// How to reach the control plane at that address, and who asks.
fn session(
    settings: &Settings,
    address: &str,
    told: &watch::Receiver<Option<Arc<Trusted>>>,
) -> transport::Settings {
    let discovery = &settings.discovery;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let existing = |path: &Path| path.exists().then(|| path.to_owned());
    transport::Settings {
        address: address.to_owned(),
        server_name: host.to_owned(),
        trust: Some(transport::Trust {
            file: discovery.root.clone(),
            told: Some(told.clone()),
        }),
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
        authority: session(settings, &settings.discovery.ca_address, &told),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use daemon::clock;
    use identity::{Authority, Bundle};

    use super::*;

    #[test]
    fn roots_are_in_force_before_they_are_acknowledged() {
        let authority = Authority::generate("test", Duration::from_secs(60), clock::wall()).unwrap();
        let trusted = Arc::new(Trusted {
            roots: Bundle::from_pem(authority.root_pem()).unwrap(),
            revoked: None,
        });
        let workload = Workload::default();
        let (tell, told) = watch::channel(None);
        let believe = believe(workload.clone(), tell);
        // The acknowledgement is sent when this returns, and nobody else has run.
        believe(trusted.clone());
        assert_eq!(workload.now().trusted, Some(trusted.clone()));
        assert_eq!(*told.borrow(), Some(trusted));
    }
}
