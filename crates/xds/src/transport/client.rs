//! The proxy's shell: connects, keeps connected, and publishes each closed snapshot.
//!
//! While there is no controller, the last snapshot stays in force.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use snapshot::Snapshot;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::dial::chain;
use super::stream::Stream;
use crate::client::{Fixed, Step};
use crate::message::Response;
use crate::secrets::{self, Trusted};
use crate::whole::Known;
use crate::{Client, Node, Rejected};

/// How long a named resource is waited for before its users go without (Envoy's `initial_fetch_timeout`).
const PATIENCE: Duration = Duration::from_secs(15);

/// Where the controller is, and who asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `istiod.istio-system.svc:15012`, or an address and port.
    pub address: String,
    /// The name that the controller's certificate must carry: `istiod.istio-system.svc`.
    pub server_name: String,
    /// Whom to trust; without it the connection is plain text.
    pub trust: Option<Trust>,
    /// File with the token to present, read at each connect.
    pub token: Option<PathBuf>,
    /// `SO_MARK` of the connection, where that is what exempts it from capture.
    pub mark: Option<u32>,
    /// Who we are.
    pub node: Node,
    /// State-of-the-world discovery, for servers that know nothing else, instead of delta discovery.
    pub whole: bool,
}

/// Whom to trust for the controller's certificate. A file of a pod is behind by the time of a kubelet, and what was told
/// is gone after a restart: a certificate is good that leads to a root of either.
#[derive(Clone, Debug)]
pub struct Trust {
    /// PEM file with roots, read at each connect.
    pub file: PathBuf,
    /// What the controller itself has told, if anybody listens to that.
    pub told: Option<watch::Receiver<Option<Arc<Trusted>>>>,
}

impl From<PathBuf> for Trust {
    fn from(file: PathBuf) -> Self {
        Self { file, told: None }
    }
}

/// Takes over whom to believe. It has happened when this returns: only then the controller is told so.
pub type Believe = Box<dyn Fn(Arc<Trusted>) + Send + Sync>;

/// What happened on the way, for logs, metrics and readiness.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stream is open.
    Connected,
    /// It ended, or could not be opened; another attempt follows after the wait.
    Disconnected {
        /// What went wrong.
        reason: String,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// A resource was refused; the others of its push are in force.
    Rejected(Rejected),
    /// A resource that others need did not come in time; they go without.
    GaveUpWaiting,
}

/// Follows the controller until the receiver of snapshots is gone. Reconnects for ever; events are dropped when
/// nobody takes them.
pub async fn follow(
    settings: Settings,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    events: mpsc::Sender<Event>,
) {
    let client = Client::new(settings.node.clone());
    let outlets = Outlets {
        snapshots,
        believe: None,
    };
    keep_following(settings, client, outlets, events).await;
}

/// The same for a proxy of the mesh: it also follows whom to believe.
pub async fn follow_trusting(
    settings: Settings,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    believe: Believe,
    events: mpsc::Sender<Event>,
) {
    let client = Client::new(settings.node.clone());
    let outlets = Outlets {
        snapshots,
        believe: Some(believe),
    };
    keep_following(settings, client, outlets, events).await;
}

/// The same for a proxy that has resources of its own beside those of the controller.
pub async fn follow_beside(
    settings: Settings,
    fixed: Fixed,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    events: mpsc::Sender<Event>,
) {
    let client = Client::beside(settings.node.clone(), fixed);
    if let Some(beginning) = client.beginning() {
        snapshots.send_replace(Some(beginning));
    }
    let outlets = Outlets {
        snapshots,
        believe: None,
    };
    keep_following(settings, client, outlets, events).await;
}

/// Where goes what the controller tells.
struct Outlets {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    /// Whom to believe, if anybody wants to know.
    believe: Option<Believe>,
}

async fn keep_following(settings: Settings, client: Client, outlets: Outlets, events: mpsc::Sender<Event>) {
    let mut session = Session {
        client,
        snapshots: outlets.snapshots,
        believe: outlets.believe,
        events,
        backoff: Backoff::default(),
        known: Known::default(),
    };
    while !session.snapshots.is_closed() {
        let reason = match session.run(&settings).await {
            Ok(()) => "the controller ended the stream".to_owned(),
            Err(error) => error.to_string(),
        };
        let retry_in = session.backoff.next(rand::random());
        session.tell(Event::Disconnected { reason, retry_in });
        let closed = session.snapshots.closed();
        let _ = tokio::time::timeout(retry_in, closed).await;
    }
}

struct Session {
    client: Client,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    /// Told whom to believe, if anybody wants to know.
    believe: Option<Believe>,
    events: mpsc::Sender<Event>,
    backoff: Backoff,
    /// What state-of-the-world discovery has told.
    known: Known,
}

impl Session {
    /// One stream from opening to end.
    async fn run(&mut self, settings: &Settings) -> io::Result<()> {
        let mut opening = self.client.open();
        opening.extend(self.believe.is_some().then(secrets::question));
        let mut stream = Stream::open(settings, opening, &mut self.known).await?;
        self.tell(Event::Connected);
        let mut deadline = None;
        loop {
            deadline = match self.client.waits() {
                true => deadline.or_else(|| Some(Instant::now() + PATIENCE)),
                false => None,
            };
            let message = stream.message(&mut self.known);
            let step = tokio::select! {
                () = self.snapshots.closed() => return Ok(()),
                message = within(deadline, message) => match message {
                    Some(message) => self.take(message)?,
                    None => {
                        self.tell(Event::GaveUpWaiting);
                        Some(Step { snapshot: self.client.give_up_waiting(), ..Step::default() })
                    }
                },
            };
            let Some(step) = step else { return Ok(()) };
            self.publish(step.snapshot);
            step.rejected
                .into_iter()
                .for_each(|rejected| self.tell(Event::Rejected(rejected)));
            for request in step.send {
                stream.send(request, &mut self.known).await?;
            }
        }
    }

    fn take(&mut self, message: Result<Option<Response>, tonic::Status>) -> io::Result<Option<Step>> {
        let message = message.map_err(|status| io::Error::other(chain(&status)))?;
        // Only a controller that answers is worth coming back to at once.
        self.backoff.reset();
        Ok(
            message.map(|response| match response.type_url == secrets::TYPE_URL {
                true => self.learn(&response),
                false => self.client.response(&response),
            }),
        )
    }

    /// Whom to believe. The answer leaves when it is in force: a rotation of the root relies on that.
    fn learn(&mut self, response: &Response) -> Step {
        let (said, trusted) = secrets::answer(response);
        if let (Some(believe), Some(trusted)) = (&self.believe, trusted) {
            believe(Arc::new(trusted));
        }
        Step {
            send: vec![said],
            ..Step::default()
        }
    }

    fn publish(&self, snapshot: Option<Arc<Snapshot>>) {
        if let Some(snapshot) = snapshot {
            self.snapshots.send_replace(Some(snapshot));
        }
    }

    fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }
}

/// The future's output, or `None` when the deadline passes first.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}
