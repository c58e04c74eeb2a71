//! A data worker: one thread, one event loop, its own pools and counters. Nothing here is shared or locked.
//!
//! Everything arrives by message: compiled Snapshots through a `watch` channel, questions of the admin thread
//! through a bounded queue.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use daemon::clock::{self, Instant};
use daemon::{Drain, Tasks};
use snapshot::endpoint::Workload;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::active::{Active, Compiled};
use crate::http::bounds::Bounds;
use crate::http::date::DateCache;
use crate::http::filters::jwt::Cache;
use crate::listen::accept::{Entrance, accept};
use crate::listen::doors::{Door, Open};
use crate::listen::original_dst::OriginalDestination;
use crate::probe::Probe;
use crate::random::Random;
use crate::settings::Node;
use crate::telemetry::access_log::{Batch, Lines};
use crate::telemetry::callers::Callers;
use crate::telemetry::metrics::{ClusterReport, Metrics, Report};
use crate::telemetry::sparingly::Sparingly;
use crate::upstream::outlier_detection::Suspicion;

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a token that was read is used. Kubernetes replaces the file long before the token in it expires.
const TOKEN: Duration = Duration::from_secs(60);

/// What a worker must know from the start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `SO_MARK` of upstream connections.
    pub(crate) mark: Option<u32>,
    /// The workload that this proxy stands before.
    pub(crate) workload: Arc<Workload>,
    /// What this proxy is in the mesh.
    pub(crate) identity: crate::tls::workload::Workload,
    /// The address of the pod.
    pub(crate) address: Option<IpAddr>,
    /// Told of endpoints that fail.
    pub(crate) suspicions: mpsc::Sender<Suspicion>,
    /// Recognises a connection of our own that was captured.
    pub(crate) probe: Arc<Probe>,
    pub(crate) surroundings: Arc<Surroundings>,
    /// The file that proves to the mesh's own servers who this proxy is.
    pub(crate) token: Option<PathBuf>,
    /// To the writer of access logs.
    pub(crate) lines: mpsc::Sender<Batch>,
}

/// What formats may tell of the process.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) hostname: String,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Surroundings {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            hostname: node.hostname.clone(),
            environment: node.environment.clone(),
        }
    }
}

/// What a worker is given.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) snapshots: watch::Receiver<Option<Arc<Compiled>>>,
    pub(crate) questions: mpsc::Receiver<Question>,
    pub(crate) doors: mpsc::Receiver<Open>,
    pub(crate) destinations: OriginalDestination,
    /// Told when the first Snapshot is in force here.
    pub(crate) in_force: mpsc::Sender<()>,
}

/// What the admin thread may ask.
#[derive(Debug)]
pub(crate) enum Question {
    /// All numbers counted so far.
    Report(oneshot::Sender<Report>),
}

/// A token, and when it was read.
type ReadToken = (Instant, Rc<str>);

/// The state of one worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) tasks: Tasks,
    pub(crate) drain: Drain,
    pub(crate) random: Random,
    pub(crate) metrics: Metrics,
    pub(crate) callers: Callers,
    pub(crate) lines: Rc<Lines>,
    pub(crate) date: DateCache,
    pub(crate) bounds: Bounds,
    /// Tokens of requests that were verified.
    pub(crate) tokens: Cache,
    token: RefCell<Option<ReadToken>>,
    /// Lines about clients with whom there is no TLS session.
    pub(crate) refused_sessions: Sparingly,
    active: RefCell<Option<Rc<Active>>>,
    arrived: Notify,
    /// Doors whose listener is not in force yet.
    waiting: RefCell<Vec<Open>>,
}

impl Worker {
    pub(crate) fn new(settings: Settings, tasks: Tasks, drain: Drain) -> Rc<Self> {
        Rc::new(Self {
            lines: Rc::new(Lines::new(settings.lines.clone())),
            settings,
            tasks,
            drain,
            random: Random::new(),
            metrics: Metrics::default(),
            callers: Callers::default(),
            date: DateCache::default(),
            bounds: Bounds::default(),
            tokens: Cache::default(),
            token: RefCell::default(),
            refused_sessions: Sparingly::default(),
            active: RefCell::default(),
            arrived: Notify::new(),
            waiting: RefCell::default(),
        })
    }

    /// Works until the owner of its tasks stops.
    pub(crate) async fn run(self: Rc<Self>, inbox: Inbox) {
        let Inbox {
            snapshots,
            questions,
            doors,
            destinations,
            in_force,
        } = inbox;
        self.tasks
            .spawn_local("doors", self.clone().open_doors(doors, destinations.clone()));
        let following = self.clone().follow(snapshots, in_force, destinations);
        self.tasks.spawn_local("snapshots", following);
        self.tasks
            .spawn_local("questions", self.clone().answer(questions));
        self.tasks.spawn_local("sweep", self.clone().sweep());
        self.tasks.spawn_local("access log", self.lines.clone().age());
        self.tasks.stopping().await;
        self.lines.flush();
    }

    /// What proves to the mesh's own servers who this proxy is; `None` where there is nothing.
    pub(crate) async fn token(&self) -> Option<Rc<str>> {
        let now = clock::now();
        if let Some((read, token)) = &*self.token.borrow()
            && now - *read < TOKEN
        {
            return Some(token.clone());
        }
        let text = tokio::fs::read_to_string(self.settings.token.as_ref()?)
            .await
            .ok()?;
        let token: Rc<str> = text.trim().into();
        *self.token.borrow_mut() = Some((now, token.clone()));
        Some(token)
    }

    /// The Snapshot in force.
    pub(crate) fn active(&self) -> Option<Rc<Active>> {
        self.active.borrow().clone()
    }

    /// Becomes ready when a Snapshot is in force.
    pub(crate) async fn wait_for_snapshot(&self) {
        while self.active.borrow().is_none() {
            self.arrived.notified().await;
        }
        self.arrived.notify_one();
    }

    /// The Snapshot that was in force before this one.
    pub(crate) fn put_in_force(&self, compiled: Arc<Compiled>) -> Option<Rc<Active>> {
        let before = self.active();
        let next = Active::adopt(compiled, before.as_deref(), &self.random);
        self.active.replace(Some(next));
        before
    }

    /// Puts each Snapshot in force, the latest when several come at once.
    async fn follow(
        self: Rc<Self>,
        mut snapshots: watch::Receiver<Option<Arc<Compiled>>>,
        in_force: mpsc::Sender<()>,
        destinations: OriginalDestination,
    ) {
        loop {
            let latest = snapshots.borrow_and_update().clone();
            if let Some(compiled) = latest {
                let before = self.put_in_force(compiled);
                self.accept_waiting(&destinations);
                if before.is_none() {
                    self.arrived.notify_one();
                    let _ = in_force.send(()).await;
                }
            }
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    }

    async fn open_doors(self: Rc<Self>, mut doors: mpsc::Receiver<Open>, destinations: OriginalDestination) {
        while let Some(open) = doors.recv().await {
            self.waiting.borrow_mut().push(open);
            self.accept_waiting(&destinations);
        }
    }

    /// Begins to accept at each door behind which there is somebody. What is captured waits inside.
    fn accept_waiting(self: &Rc<Self>, destinations: &OriginalDestination) {
        let active = self.active();
        let inhabited = |open: &mut Open| match &open.door {
            Door::Captured(_) => true,
            Door::Own(name) => active
                .as_ref()
                .is_some_and(|active| active.compiled.bound(name).is_some()),
        };
        let ready: Vec<_> = self.waiting.borrow_mut().extract_if(.., inhabited).collect();
        for Open { door, socket, shut } in ready {
            match TcpListener::from_std(socket) {
                Ok(listener) => {
                    let accepting = accept(
                        self.clone(),
                        listener,
                        Entrance { door, shut },
                        destinations.clone(),
                    );
                    self.tasks.spawn_local("accept", accepting);
                }
                Err(error) => tracing::error!(%error, ?door, "cannot listen"),
            }
        }
    }

    async fn answer(self: Rc<Self>, mut questions: mpsc::Receiver<Question>) {
        while let Some(Question::Report(reply)) = questions.recv().await {
            let _ = reply.send(self.report());
        }
    }

    fn report(&self) -> Report {
        let mut report = self.metrics.report();
        report.dropped_lines = self.lines.dropped();
        report.callers = self.callers.report();
        let active = self.active();
        let clusters = active.iter().flat_map(|active| active.clusters());
        report.clusters = clusters
            .map(|cluster| {
                let mut endpoints = Vec::new();
                cluster.every_endpoint(|endpoint| {
                    endpoints.push((
                        endpoint.address,
                        endpoint.health_flags(),
                        endpoint.pool.in_flight(),
                    ));
                });
                let counters = &cluster.live.counters;
                ClusterReport {
                    name: cluster.facts.name.to_string(),
                    requests: counters.requests.get(),
                    retries: counters.retries.get(),
                    connections: counters.connections.get(),
                    connect_failures: counters.connect_failures.get(),
                    endpoints,
                }
            })
            .collect();
        report
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            clock::sleep(SWEEP).await;
            let now = clock::now();
            if let Some(active) = self.active() {
                active.clusters().for_each(|cluster| cluster.sweep(now));
            }
        }
    }
}
