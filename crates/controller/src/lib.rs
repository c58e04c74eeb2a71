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
pub mod jwks;
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
use xds::transport::certificates::CertificateService;
use xds::transport::{DeltaService, RateLimitService, Session};

use ca::authenticate::Authenticator;
use ca::issued::Issued;
use ca::keeper::{Keeper, Sight};
use ca::publish::Published;
use ca::signer::Signer;
use ca::standing::Standing;

pub use grpc::Peer;
pub use live::mesh_settings;
pub use settings::{Lifetimes, Listen, Settings};

/// Condition: the injection settings were read.
pub(crate) const INJECTION: &str = "injection";
/// How long the start waits for the API server.
const START: Duration = Duration::from_secs(60);
/// Streams of one connection: a proxy needs one for discovery, one for certificates, and one for each question about
/// a limit that waits for its answer.
const STREAMS: u32 = 128;
/// Streams that wait to be taken.
const SESSIONS: usize = 64;
/// Requests for certificates that wait to be taken.
const CALLS: usize = 256;
/// Bytes of a stream, and of a connection, that may come before they are asked for. Nobody has proven who he is then:
/// what proxies say is small, but for their first questions, which may take some round trips.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 128 << 10;

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
    let longest = settings.lifetimes.longest;
    let load = || {
        let when = (longest, clock::wall());
        ca::root::load_or_create(client.clone(), namespace, live::TRUST_DOMAIN, when)
    };
    let standing = Arc::new(patiently(load).await?);
    let serving = ca::serving::Serving::new(&standing, namespace, clock::wall())?;
    let (change, standing) = latest::channel(standing);
    let listeners = Listeners::bind(settings.listen).await?;
    let addresses = listeners.addresses()?;
    let (trigger, drain) = drain::channel();
    let controller = Controller {
        settings,
        client,
        standing,
        serving,
        live,
        issued: Issued::default(),
        published: Published::default(),
        webhooks: Published::default(),
        registry: Registry::new(),
        ready: Ready::new(&[INJECTION, push::publish::SYNCED]),
        tasks: Tasks::new(),
        drain,
    };
    let (told, mesh) = latest::channel(None);
    controller.start_keepers(told);
    controller.start_servers(listeners, mesh, change);
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
    standing: ca::standing::Latest,
    serving: ca::serving::Serving,
    live: webhook::LiveSettings,
    issued: Issued,
    published: Published,
    webhooks: Published,
    registry: Registry,
    ready: Ready,
    tasks: Tasks,
    drain: drain::Drain,
}

impl Controller {
    /// Starts what keeps something in the cluster, or in here, as it should be.
    fn start_keepers(&self, mesh: latest::Sender<Option<Arc<MeshSettings>>>) {
        let (client, drain) = (|| self.client.clone(), || self.drain.clone());
        let (namespace, standing) = (|| self.settings.namespace.clone(), || self.standing.clone());
        let renewal = ca::serving::RENEWAL;
        let renew = self
            .serving
            .clone()
            .renew(standing(), namespace(), renewal, drain());
        let followers = live::Followers {
            injection: self.live.clone(),
            mesh,
        };
        let follow = live::run(client(), namespace(), followers, self.ready.clone(), drain());
        self.tasks.spawn("renewal", renew);
        self.tasks.spawn("injection settings", follow);
        let publish = ca::publish::run(client(), standing(), self.published.clone(), drain());
        self.tasks.spawn("root certificate", publish);
        self.tasks.spawn(
            "webhook bundle",
            webhook::bundle::run(client(), namespace(), standing(), self.webhooks.clone(), drain()),
        );
    }

    fn start_servers(
        &self,
        listeners: Listeners,
        mesh: latest::Receiver<Option<Arc<MeshSettings>>>,
        change: latest::Sender<Arc<Standing>>,
    ) {
        let (tasks, drain) = (&self.tasks, || self.drain.clone());
        let webhooks = webhook::routes(&self.live, &self.registry);
        let webhooks = Server::secure(webhooks, self.serving.webhook.clone());
        webhooks.start("webhook", listeners.webhook, tasks, drain());
        let signer = Signer {
            standing: self.standing.clone(),
            settings: self.live.clone(),
            lifetimes: self.settings.lifetimes,
            issued: self.issued.clone(),
        };
        let pusher = self.start_pushes(mesh, signer.clone());
        self.start_keeper(&pusher, change);
        let pages = debug::routes(&pusher, &self.ready);
        Server::plain(pages).start("http", listeners.http, tasks, drain());
        Server::plain(monitoring(self.registry.clone())).start(
            "monitoring",
            listeners.monitoring,
            tasks,
            drain(),
        );
        self.start_discovery(listeners.xds, pusher, signer);
    }

    fn start_keeper(&self, pusher: &push::Pusher, change: latest::Sender<Arc<Standing>>) {
        let sight = Sight {
            connections: pusher.connections.clone(),
            issued: self.issued.clone(),
            published: self.published.clone(),
            webhooks: self.webhooks.clone(),
            longest: self.settings.lifetimes.longest,
        };
        let keeper = Keeper::new(
            self.client.clone(),
            (self.settings.namespace.clone(), self.settings.pod.clone()),
            change,
            sight,
        );
        self.tasks
            .spawn("certificate authority", keeper.run(self.drain.clone()));
    }

    fn start_pushes(
        &self,
        mesh: latest::Receiver<Option<Arc<MeshSettings>>>,
        signer: Signer,
    ) -> push::Pusher {
        let debounce = debounce::Settings {
            quiet: self.settings.debounce_after,
            longest: self.settings.debounce_max,
            ..debounce::Settings::default()
        };
        let keys = jwks::start(
            &self.settings.keys,
            &self.registry,
            &self.tasks,
            self.drain.clone(),
        );
        push::Pusher::start(
            &self.client,
            (debounce, mesh, signer, keys),
            &self.registry,
            &self.ready,
            &self.tasks,
        )
    }

    fn start_discovery(&self, listener: TcpListener, pusher: push::Pusher, signer: Signer) {
        let (sessions, taken) = mpsc::channel::<Session>(SESSIONS);
        let (calls, asked) = mpsc::channel(CALLS);
        let authenticator = Authenticator::new(self.client.clone(), self.live.clone());
        let sign = ca::service::run(signer, asked, self.tasks.clone(), self.drain.clone());
        self.tasks.spawn("certificates", sign);
        let limits = rate_limit::Server::start(authenticator.clone(), pusher.worlds.clone(), &self.tasks);
        let judge = authenticator.clone();
        let authenticate = move |(headers, extensions): (http::HeaderMap, http::Extensions)| {
            let authenticator = judge.clone();
            async move { Ok(authenticator.admit(&headers, &extensions).await?) }
        };
        let admit = move |headers, extensions| ca::service::admit(authenticator.clone(), headers, extensions);
        let serve = pusher.serve(taken, authenticate, self.tasks.clone(), self.drain.clone());
        self.tasks.spawn("xds sessions", serve);
        let limits = RateLimitService::new(move |headers, extensions, question| {
            limits.clone().answer(headers, extensions, question)
        });
        let server = discovery(self.settings.connection_age, sessions)
            .add_service(CertificateService::new(admit, calls))
            .add_service(limits);
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
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
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
