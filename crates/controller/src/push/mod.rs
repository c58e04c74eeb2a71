//! From a picture of the mesh to the proxies: one task per proxy, each following the latest picture.
//!
//! Pictures are published in a `watch` channel, so a slow proxy skips to the latest, and at most one push is
//! pending for each. What proxies with the same view need is made once ([`cache`]).

pub mod cache;
mod halves;
pub mod metrics;
pub mod peer;
pub mod publish;
pub mod status;
mod stream;
mod tokens;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use daemon::clock::Instant;
use daemon::metrics::Registry;
use daemon::ready::Ready;
use daemon::{Drain, Tasks};
use resources::Problem;
use tokio::sync::{mpsc, watch};
use translate::{Mesh, MeshSettings};
use xds::transport::Session;

use crate::ca::signer::Signer;
use crate::debounce;
use crate::jwks::Keys;

pub use cache::Cache;
pub use metrics::Metrics;
pub use peer::{Caller, Peer};
pub use publish::Publisher;
pub use status::Connections;

/// A picture of the mesh, as proxies follow it.
#[derive(Clone, Debug)]
pub struct World {
    /// What is known.
    pub mesh: Arc<Mesh>,
    /// What is wrong with single objects.
    pub problems: Arc<Vec<Problem>>,
    /// Counts up.
    pub number: u64,
    /// When the oldest change in it was seen.
    pub changed: Instant,
}

/// What the tasks of all proxies share. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Pusher {
    /// The latest picture; none before the first lists are complete.
    pub worlds: watch::Receiver<Option<World>>,
    /// Encodings by view.
    pub cache: Arc<Cache>,
    /// Who is connected.
    pub connections: Connections,
    /// What is counted.
    pub metrics: Metrics,
    /// Makes keys for those who ask, and says whom to believe.
    pub(crate) signer: Option<Signer>,
}

/// The settings of the mesh, once they are known.
type LatestSettings = watch::Receiver<Option<Arc<MeshSettings>>>;

/// Changes between watches and the publisher.
const EVENTS: usize = 1024;

impl Pusher {
    /// Starts to watch the cluster and to make pictures of it. `ready` learns when the first one is out.
    pub(crate) fn start(
        client: &kube::Client,
        (debounce, settings, signer, keys): (debounce::Settings, LatestSettings, Signer, Keys),
        registry: &Registry,
        ready: &Ready,
        tasks: &Tasks,
    ) -> Self {
        let (events, changes) = mpsc::channel(EVENTS);
        let (publish, worlds) = watch::channel(None);
        let metrics = Metrics::new(registry);
        let publisher = Publisher {
            worlds: publish,
            debounce,
            settings,
            keys,
            metrics: metrics.clone(),
            ready: ready.clone(),
        };
        crate::watch::start(client, &events, tasks);
        tasks.spawn("publisher", publisher.run(changes));
        tasks.spawn(
            "findings",
            crate::status::write_events(client.clone(), worlds.clone()),
        );
        Self {
            worlds,
            cache: Arc::default(),
            connections: Connections::default(),
            metrics,
            signer: Some(signer),
        }
    }

    /// Serves every stream that comes, until the drain begins or nobody can send any more. `authenticate` tells
    /// from the headers of a stream and from its connection who it is.
    pub async fn serve<A, F>(
        self,
        mut sessions: mpsc::Receiver<Session>,
        authenticate: A,
        tasks: Tasks,
        mut drain: Drain,
    ) where
        A: Fn((http::HeaderMap, http::Extensions)) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Caller, tonic::Status>> + Send + 'static,
    {
        loop {
            let session = tokio::select! {
                () = drain.wait() => return,
                session = sessions.recv() => match session {
                    Some(session) => session,
                    None => return,
                },
            };
            let caller = authenticate((session.headers.clone(), session.extensions.clone()));
            let (pusher, drain) = (self.clone(), drain.clone());
            tasks.spawn("xds stream", async move {
                let responses = session.responses.clone();
                let served = match caller.await {
                    Ok(caller) => stream::serve(&pusher, session, &caller, drain).await,
                    Err(status) => Err(status),
                };
                if let Err(status) = served {
                    tracing::info!(target: "ads", reason = status.message(), "a proxy's stream is refused");
                    // The proxy may be gone already.
                    let _ = responses.try_send(Err(status));
                }
            });
        }
    }
}
