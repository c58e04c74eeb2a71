//! The data plane: captures a workload's connections and does with them what its Snapshot says.
//!
//! Threads: data workers that share nothing ([`worker`]), and the caller's runtime for everything else: the
//! controller's stream, compiling Snapshots, admin pages. [`http::exchange`] is the life of a request on one page,
//! [`listen::accept`] that of a connection before it. [`redirect`] is the packet capture that brings them here.

mod active;
mod admin;
mod application_probes;
mod discovery;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod listen;
mod metadata;
#[cfg(any(test, fuzzing))]
mod policy_fuzzing;
mod probe;
mod random;
pub mod redirect;
mod resolve;
pub mod settings;
mod standalone;
mod sys;
mod tcp;
mod telemetry;
mod tls;
mod transport;
mod upstream;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use daemon::ready::Ready;
use daemon::runtimes::Workers;
use daemon::{Drain, Running, Tasks, drain};
use snapshot::{Direction, Snapshot};
use tokio::sync::{Notify, mpsc, watch};
use xds::bootstrap::Bootstrap;

pub use discovery::introduction;
pub use listen::original_dst::OriginalDestination;
pub use settings::Settings;
pub use tls::workload::Workload;

use active::Compiled;
use application_probes::{Application, Probers};
use listen::doors::{Door, Doors, Open};
use probe::Probe;
use upstream::outlier_detection;
use worker::{Inbox, Question, Worker};

/// Words about failing endpoints that may wait to be heard; one that finds no room is said again.
const SUSPICIONS: usize = 1024;

/// What a proxy is given instead of making it itself; tests give all of it.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Snapshots to put in force; `None` until there is one.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Where captured connections were going.
    pub original_destination: OriginalDestination,
    /// What the proxy is in the mesh; it is ready once that is complete. `None` for one that is in no mesh.
    pub workload: Option<Workload>,
}

/// Starts a proxy that follows its controller. Stop it with [`Settings::drain`] as grace.
///
/// # Errors
/// When an address cannot be bound, or the system refuses a thread.
pub async fn start(settings: Settings) -> Result<Running> {
    let tasks = Tasks::new();
    let workload = Workload::default();
    let snapshots = discovery::follow(&settings, &workload, &tasks);
    let parts = Parts {
        snapshots,
        original_destination: OriginalDestination::Kernel,
        workload: Some(workload),
    };
    let layout = Layout::sidecar(&settings)?;
    start_parts(layout, parts, tasks).await
}

/// Starts a proxy that runs from an Envoy bootstrap file. Where a listener cannot be opened, nothing starts.
///
/// # Errors
/// When an address cannot be bound, or the system refuses a thread.
pub async fn start_bootstrap(bootstrap: Bootstrap, workers: usize) -> Result<Running> {
    let tasks = Tasks::new();
    let layout = standalone::layout(&bootstrap, workers)?;
    let parts = Parts {
        snapshots: standalone::follow(bootstrap, &tasks)?,
        original_destination: OriginalDestination::Kernel,
        workload: None,
    };
    start_parts(layout, parts, tasks).await
}

/// Whether a proxy can run from a file: everything but its listeners' addresses is tried.
///
/// # Errors
/// When a file with keys or certificates that it names cannot be used.
pub fn check_bootstrap(bootstrap: &Bootstrap) -> Result<()> {
    standalone::check_files(&bootstrap.snapshot)
}

/// Starts a proxy with given parts.
///
/// # Errors
/// When an address cannot be bound, or the system refuses a thread.
pub async fn start_with(settings: Settings, parts: Parts) -> Result<Running> {
    let layout = Layout::sidecar(&settings)?;
    start_parts(layout, parts, Tasks::new()).await
}

/// What distinguishes a sidecar from a proxy with a bootstrap file. All the rest is the same.
struct Layout {
    node: settings::Node,
    /// The file that proves to the mesh's own servers who this proxy is.
    token: Option<std::path::PathBuf>,
    capture: settings::Capture,
    workers: usize,
    doors: Doors,
    /// Whether each listener of a Snapshot that wants a socket gets one.
    follows: bool,
    /// Where which pages are.
    pages: Vec<(&'static str, SocketAddr)>,
    /// What kubelets may ask there of the application.
    probers: Probers,
    addresses: BTreeMap<&'static str, SocketAddr>,
}

impl Layout {
    fn sidecar(settings: &Settings) -> Result<Self> {
        let (workers, listen) = (settings.workers.max(1), &settings.listen);
        let mut doors = Doors::new(workers);
        let mut addresses = BTreeMap::new();
        for (name, address, direction) in [
            ("outbound", listen.outbound, Direction::Outbound),
            ("inbound", listen.inbound, Direction::Inbound),
        ] {
            addresses.insert(name, doors.open(name, &Door::Captured(direction), address)?);
        }
        Ok(Self {
            node: settings.node.clone(),
            token: Some(settings.discovery.token.clone()),
            capture: settings.capture,
            workers,
            doors,
            follows: false,
            pages: listen.pages().to_vec(),
            probers: settings.probers.clone(),
            addresses,
        })
    }
}

async fn start_parts(mut layout: Layout, parts: Parts, tasks: Tasks) -> Result<Running> {
    let (trigger, outer) = drain::channel();
    let (inner_trigger, inner) = drain::channel();
    let drain_wanted = Arc::new(Notify::new());
    let ready = conditions(parts.workload.as_ref(), &tasks);
    let probe = Arc::new(Probe::default());
    let (compiled, compiled_receiver) = watch::channel(None);
    let (suspicions, suspicions_receiver) = mpsc::channel(SUSPICIONS);
    let (in_force_sender, in_force) = mpsc::channel(layout.workers);

    let (_, lines) =
        telemetry::log_writer::Writer::start(&tasks).context("cannot start the writer of access logs")?;
    let identity = parts.workload.unwrap_or_default();
    let worker_settings = worker::Settings {
        mark: layout.capture.mark,
        workload: Arc::new(layout.node.workload()),
        address: layout.node.address,
        probe: probe.clone(),
        suspicions,
        identity: identity.clone(),
        surroundings: Arc::new(worker::Surroundings::of(&layout.node)),
        token: layout.token.take(),
        lines,
    };
    let inbox = |doors, questions| Inbox {
        snapshots: compiled_receiver.clone(),
        questions,
        doors,
        destinations: parts.original_destination.clone(),
        in_force: in_force_sender.clone(),
    };
    let Boxes {
        inboxes,
        questions,
        openings,
    } = Boxes::new(layout.doors.fresh(), inbox);
    drop(in_force_sender);
    start_workers(worker_settings, inboxes, &tasks, &inner)?;
    match layout.follows {
        true => tasks.spawn(
            "doors",
            layout.doors.keep_following(compiled_receiver.clone(), openings),
        ),
        false => tasks.spawn("doors", layout.doors.keep()),
    }

    tasks.spawn(
        "outlier detection",
        outlier_detection::keep(compiled_receiver.clone(), suspicions_receiver),
    );
    tasks.spawn("compile", compile(parts.snapshots, compiled));
    tasks.spawn(
        "ready",
        become_ready(ready.clone(), in_force, layout.workers, layout.capture, probe),
    );
    let begin = draining(&ready, inner_trigger);
    tasks.spawn(
        "drain",
        begin_drain(outer, drain_wanted.clone(), tasks.clone(), begin),
    );
    let pages = admin::Pages {
        ready,
        questions,
        snapshots: compiled_receiver,
        drain_wanted,
        identity,
        application: Application::beside(layout.probers, layout.node.address, layout.capture.mark),
        node: layout.node,
    };
    layout.addresses.extend(
        admin::start(pages, &layout.pages, &tasks)
            .await
            .context("cannot start admin pages")?,
    );
    Ok(Running {
        addresses: layout.addresses,
        drain: trigger,
        tasks,
    })
}

/// What happens when the proxy begins to drain.
fn draining(ready: &Ready, workers: drain::Trigger) -> impl FnOnce() + use<> {
    let ready = ready.clone();
    move || {
        ready.unset("snapshot", "draining");
        workers.begin();
    }
}

/// What must hold before the proxy is ready; one that is in a mesh needs a certificate.
fn conditions(workload: Option<&Workload>, tasks: &Tasks) -> Ready {
    let Some(workload) = workload.cloned() else {
        return Ready::new(&["snapshot", "capture"]);
    };
    let ready = Ready::new(&["snapshot", "capture", "certificate"]);
    let told = ready.clone();
    tasks.spawn("certificate", async move {
        workload.completed().await;
        told.set("certificate");
    });
    ready
}

/// What goes to the workers, and where to put more into it.
struct Boxes {
    inboxes: Vec<Inbox>,
    questions: Vec<mpsc::Sender<Question>>,
    openings: Vec<mpsc::Sender<Open>>,
}

impl Boxes {
    /// One inbox for each worker, with the doors that are open already.
    fn new(
        doors: Vec<Vec<Open>>,
        inbox: impl Fn(mpsc::Receiver<Open>, mpsc::Receiver<Question>) -> Inbox,
    ) -> Self {
        let mut boxes = Self {
            inboxes: Vec::with_capacity(doors.len()),
            questions: Vec::with_capacity(doors.len()),
            openings: Vec::with_capacity(doors.len()),
        };
        for open in doors {
            let (asking, questions) = mpsc::channel(8);
            let (opening, doors) = mpsc::channel(open.len().max(8));
            for open in open {
                opening.try_send(open).expect("the channel was made to hold them");
            }
            boxes.questions.push(asking);
            boxes.openings.push(opening);
            boxes.inboxes.push(inbox(doors, questions));
        }
        boxes
    }
}

/// Starts the threads, and gives each its inbox.
fn start_workers(
    settings: worker::Settings,
    inboxes: Vec<Inbox>,
    tasks: &Tasks,
    drain: &Drain,
) -> Result<()> {
    let count = inboxes.len();
    let inboxes = Arc::new(Mutex::new(inboxes.into_iter().map(Some).collect::<Vec<_>>()));
    let (tasks, drain) = (tasks.clone(), drain.clone());
    let work = move |index: usize| {
        let worker = (settings.clone(), tasks.clone(), drain.clone());
        let inbox = inboxes.lock().unwrap_or_else(PoisonError::into_inner)[index].take();
        async move {
            let inbox = inbox.expect("each worker starts once");
            let (settings, tasks, drain) = worker;
            Worker::new(settings, tasks, drain).run(inbox).await;
        }
    };
    Workers::start("worker", count, work).context("cannot start data workers")?;
    Ok(())
}

/// Compiles each Snapshot once for all workers; when several come at once, the last.
async fn compile(
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    compiled: watch::Sender<Option<Arc<Compiled>>>,
) {
    loop {
        let latest = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = latest {
            let before = compiled.borrow().clone();
            compiled.send_replace(Some(Arc::new(Compiled::next(&snapshot, before.as_deref()))));
        }
        if snapshots.changed().await.is_err() {
            // The last Snapshot stays in force; workers must not lose their channel.
            return std::future::pending().await;
        }
    }
}

/// Ready once the first Snapshot is in force in all workers, and the exemption from capture is known to work.
async fn become_ready(
    ready: Ready,
    mut in_force: mpsc::Receiver<()>,
    workers: usize,
    capture: settings::Capture,
    probe: Arc<Probe>,
) {
    // At once: a proxy that captures itself does not reach the controller either.
    let exempt = async {
        match probe.run(capture).await {
            Ok(()) => ready.set("capture"),
            Err(reason) => {
                tracing::error!(reason, "the exemption from capture does not work");
                ready.unset("capture", reason);
            }
        }
    };
    let in_force = async {
        for _ in 0..workers {
            if in_force.recv().await.is_none() {
                return;
            }
        }
        ready.set("snapshot");
    };
    tokio::join!(exempt, in_force);
}

/// Begins the drain when the process is told to end, or an admin page asks for it. Holds on to the outer drain, so
/// that stopping gives the whole grace: other proxies learn in that time that this one is going.
async fn begin_drain(mut outer: Drain, wanted: Arc<Notify>, tasks: Tasks, begin: impl FnOnce()) {
    tokio::select! {
        () = outer.wait() => {}
        () = wanted.notified() => {}
    }
    begin();
    tasks.stopping().await;
}

#[cfg(test)]
mod tests;
