//! The control plane: reads the cluster, tells proxies what to do, injects them into pods, and judges what users apply.
//!
//! [`start`] is the only way in. Several replicas may run: what they write is the same, and is compared before it is
//! written.

pub mod ca;
pub mod debounce;
pub mod debug;
#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod golden;
mod grpc;
pub mod inject;
pub mod install;
mod live;
pub mod push;
mod rate_limit;
mod settings;
pub mod status;
pub mod store;
pub mod watch;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use daemon::admin::{Routes, Server, reply, text};
use daemon::metrics::{self, Registry};
use daemon::ready::Ready;
use daemon::{Running, Tasks, clock, drain};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as latest};
use translate::MeshSettings;
use xds::transport::{DeltaService, RateLimitService, Session};

pub use grpc::Peer;
pub use settings::{Listen, Settings};

/// Condition: the injection settings were read.
pub(crate) const INJECTION: &str = "injection";
/// How long the start waits for the API server.
const START: Duration = Duration::from_secs(60);
/// Streams of one connection: a proxy needs one for discovery, one for certificates, and one for each question about
/// a limit that waits for its answer.
const STREAMS: u32 = 128;
/// Streams that wait to be taken.
const SESSIONS: usize = 64;

/// Starts the controller with the cluster that it runs in, or the one that the settings name.
///
/// # Errors
/// When the cluster is not reached, its certificate authority cannot be used, or a port is taken.
pub async fn start(settings: Settings) -> Result<Running> {
    let client = connect(&settings).await?;
    start_with(settings, client).await
}

/// The same with a given client.
///
/// # Errors
/// As [`start`].
pub async fn start_with(settings: Settings, client: kube::Client) -> Result<Running> {
    for warning in &settings.warnings {
        tracing::warn!(scope = "default", "{warning}");
    }
    let namespace = settings.namespace.as_str();
    let live = live::initial(settings.native_sidecars);
    let organisation = live.load().trust_domain.clone();
    let load = || ca::root::load_or_create(client.clone(), namespace, &organisation, clock::wall());
    let authority = Arc::new(patiently(load).await?);
    let serving = ca::serving::Serving::new(&authority, namespace, clock::wall())?;
    let listeners = Listeners::bind(settings.listen).await?;
    let addresses = listeners.addresses()?;
    let (trigger, drain) = drain::channel();
    let controller = Controller {
        settings,
        client,
        authority,
        serving,
        live,
        registry: Registry::new(),
        ready: Ready::new(&[INJECTION, push::publish::SYNCED]),
        tasks: Tasks::new(),
        drain,
    };
    let (told, mesh) = latest::channel(None);
    controller.start_keepers(told);
    controller.start_servers(listeners, mesh);
    tracing::info!(scope = "default", ?addresses, "controller started");
    Ok(Running {
        addresses,
        drain: trigger,
        tasks: controller.tasks.clone(),
    })
}

/// What its parts share.
struct Controller {
    settings: Settings,
    client: kube::Client,
    authority: Arc<identity::Authority>,
    serving: ca::serving::Serving,
    live: webhook::LiveSettings,
    registry: Registry,
    ready: Ready,
    tasks: Tasks,
    drain: drain::Drain,
}

impl Controller {
    /// Starts what keeps something in the cluster, or in here, as it should be.
    fn start_keepers(&self, mesh: latest::Sender<Option<Arc<MeshSettings>>>) {
        let (client, drain) = (|| self.client.clone(), || self.drain.clone());
        let (namespace, root) = (
            || self.settings.namespace.clone(),
            || self.authority.root_pem().to_owned(),
        );
        let renewal = ca::serving::RENEWAL;
        let renew = self
            .serving
            .clone()
            .renew(self.authority.clone(), namespace(), renewal, drain());
        let followers = live::Followers {
            injection: self.live.clone(),
            mesh,
        };
        let follow = live::run(client(), namespace(), followers, self.ready.clone(), drain());
        self.tasks.spawn("renewal", renew);
        self.tasks.spawn("injection settings", follow);
        self.tasks
            .spawn("root certificate", ca::publish::run(client(), root(), drain()));
        self.tasks.spawn(
            "webhook bundle",
            webhook::bundle::run(client(), namespace(), root(), drain()),
        );
    }

    fn start_servers(&self, listeners: Listeners, mesh: latest::Receiver<Option<Arc<MeshSettings>>>) {
        let (tasks, drain) = (&self.tasks, || self.drain.clone());
        let webhooks = webhook::routes(&self.live, &self.registry);
        let webhooks = Server::secure(webhooks, self.serving.webhook.clone());
        webhooks.start("webhook", listeners.webhook, tasks, drain());
        let pusher = self.start_pushes(mesh);
        let pages = debug::routes(&pusher, &self.ready);
        Server::plain(pages).start("http", listeners.http, tasks, drain());
        Server::plain(monitoring(self.registry.clone())).start(
            "monitoring",
            listeners.monitoring,
            tasks,
            drain(),
        );
        self.start_discovery(listeners.xds, pusher);
    }

    fn start_pushes(&self, mesh: latest::Receiver<Option<Arc<MeshSettings>>>) -> push::Pusher {
        let debounce = debounce::Settings {
            quiet: self.settings.debounce_after,
            longest: self.settings.debounce_max,
            ..debounce::Settings::default()
        };
        push::Pusher::start(
            &self.client,
            (debounce, mesh),
            &self.registry,
            &self.ready,
            &self.tasks,
        )
    }

    fn start_discovery(&self, listener: TcpListener, pusher: push::Pusher) {
        let (sessions, taken) = mpsc::channel::<Session>(SESSIONS);
        let authenticator = ca::authenticate::Authenticator::new(self.client.clone());
        let limits = rate_limit::Server::start(authenticator.clone(), pusher.worlds.clone(), &self.tasks);
        let authenticate = move |headers: http::HeaderMap| {
            let authenticator = authenticator.clone();
            async move { Ok(authenticator.authenticate(&headers).await?) }
        };
        let serve = pusher.serve(taken, authenticate, self.tasks.clone(), self.drain.clone());
        self.tasks.spawn("xds sessions", serve);
        let limits = RateLimitService::new(move |headers, question| limits.clone().answer(headers, question));
        let server = discovery(self.settings.connection_age, sessions).add_service(limits);
        let incoming = grpc::incoming(
            listener,
            self.serving.xds.clone(),
            &self.tasks,
            self.drain.clone(),
        );
        let mut drain = self.drain.clone();
        self.tasks.spawn("xds", async move {
            let stop = async move { drain.wait().await };
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop).await {
                tracing::error!(scope = "ads", %error, "the discovery server has ended");
            }
        });
    }
}

async fn connect(settings: &Settings) -> Result<kube::Client> {
    let configuration = match &settings.kubeconfig {
        None => kube::Config::incluster()
            .context("not in a cluster, and neither --kubeconfig nor KUBECONFIG is set")?,
        Some(path) => {
            let file =
                kube::config::Kubeconfig::read_from(path).with_context(|| path.display().to_string())?;
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .with_context(|| path.display().to_string())?
        }
    };
    Ok(kube::Client::try_from(configuration)?)
}

/// Tries again while the API server may still be starting.
async fn patiently<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> Result<T> {
    let deadline = clock::now() + START;
    loop {
        match work().await {
            Ok(value) => return Ok(value),
            Err(error) if clock::now() >= deadline => return Err(error),
            Err(error) => tracing::warn!(scope = "default", "{error:#}; trying again"),
        }
        clock::sleep(Duration::from_secs(1)).await;
    }
}

fn discovery(age: Duration, sessions: mpsc::Sender<Session>) -> tonic::transport::server::Router {
    tonic::transport::Server::builder()
        .initial_stream_window_size(xds::transport::STREAM_WINDOW)
        .initial_connection_window_size(xds::transport::CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(xds::transport::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(xds::transport::KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS)
        .max_connection_age(age)
        .max_connection_age_grace(Duration::from_secs(10))
        .add_service(DeltaService::new(sessions))
}

struct Listeners {
    http: TcpListener,
    webhook: TcpListener,
    xds: TcpListener,
    monitoring: TcpListener,
}

impl Listeners {
    async fn bind(listen: Listen) -> Result<Self> {
        Ok(Self {
            http: bind(listen.http).await?,
            webhook: bind(listen.webhook).await?,
            xds: bind(listen.xds).await?,
            monitoring: bind(listen.monitoring).await?,
        })
    }

    fn addresses(&self) -> Result<BTreeMap<&'static str, SocketAddr>> {
        Ok(BTreeMap::from([
            ("http", self.http.local_addr()?),
            ("webhook", self.webhook.local_addr()?),
            ("xds", self.xds.local_addr()?),
            ("monitoring", self.monitoring.local_addr()?),
        ]))
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

fn monitoring(registry: Registry) -> Routes {
    registry
        .gauges("istio_build", "The build of a component.", &["component", "tag"])
        .with(&["pilot", env!("CARGO_PKG_VERSION")])
        .set(1.0);
    Routes::new()
        .get("/metrics", move |_| {
            std::future::ready(reply(StatusCode::OK, metrics::CONTENT_TYPE, registry.text()))
        })
        .get("/version", |_| {
            std::future::ready(text(StatusCode::OK, env!("CARGO_PKG_VERSION")))
        })
}

#[cfg(test)]
mod tests;
