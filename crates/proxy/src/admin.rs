//! Pages for people, probes and Prometheus, on Envoy's and Istio's ports and paths.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use daemon::admin::{Reply, Routes, Server, json, ready_page, reply, text};
use daemon::ready::Ready;
use daemon::{Tasks, clock, drain, metrics};
use http::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::active::Compiled;
use crate::application_probes::Application;
use crate::settings::Node;
use crate::telemetry::metrics::Report;
use crate::telemetry::{callers, outliers, prometheus};
use crate::tls::workload::Workload;
use crate::worker::Question;

/// A worker that does not answer in this time is left out of a report.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the pages show.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) ready: Ready,
    pub(crate) questions: Vec<mpsc::Sender<Question>>,
    pub(crate) snapshots: watch::Receiver<Option<Arc<Compiled>>>,
    pub(crate) drain_wanted: Arc<Notify>,
    pub(crate) identity: Workload,
    pub(crate) node: Node,
    pub(crate) application: Application,
}

/// Of each server's connections, those that one address may have: a kubelet must get through, whoever else calls.
const CONNECTIONS_OF_ONE: usize = 64;

/// Serves the pages until the end, also while the proxy drains. Gives the bound addresses.
pub(crate) async fn start(
    pages: Pages,
    listen: &[(&'static str, SocketAddr)],
    tasks: &Tasks,
) -> Result<BTreeMap<&'static str, SocketAddr>> {
    let pages = Arc::new(pages);
    let (never, stay) = drain::channel();
    let mut addresses = BTreeMap::new();
    for (name, address) in listen.iter().copied() {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let mut server = match name {
            "admin" => Server::plain(pages.clone().admin().merge(pages.clone().metrics())),
            "agent" => pages.clone().agent_server(address.port()),
            "health" => Server::plain(pages.clone().health()),
            _ => Server::plain(pages.clone().metrics()),
        };
        server.limits.connections_of_one = CONNECTIONS_OF_ONE;
        addresses.insert(name, address);
        server.start(name, listener, tasks, stay.clone());
    }
    let owner = tasks.clone();
    tasks.spawn("admin", async move {
        // A server whose drain trigger is gone would stop.
        owner.stopping().await;
        drop(never);
    });
    Ok(addresses)
}

impl Pages {
    /// Loopback only: what an operator asks with `kubectl exec` or a port-forward.
    fn admin(self: Arc<Self>) -> Routes {
        let (ready, dump, clusters, quit, drain, info, calls) = (
            self.clone(),
            self.clone(),
            self.clone(),
            self.clone(),
            self.clone(),
            self.clone(),
            self,
        );
        Routes::new()
            .get("/ready", move |_| {
                let state = ready.ready.check();
                async move {
                    match state {
                        Ok(()) => text(StatusCode::OK, "LIVE\n"),
                        Err(reasons) => text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
                    }
                }
            })
            .get("/config_dump", move |_| {
                let page = dump.config_dump();
                async move { page }
            })
            .get("/clusters", move |_| {
                let pages = clusters.clone();
                async move { text(StatusCode::OK, clusters_page(&pages.reports().await)) }
            })
            .get("/callers", move |_| {
                let pages = calls.clone();
                async move {
                    let reports = pages.reports().await;
                    let callers = reports.iter().flat_map(|report| &report.callers);
                    json(StatusCode::OK, &callers::page(callers, &pages.identity.uri()))
                }
            })
            .get("/server_info", move |_| {
                let page = info.server_info();
                async move { page }
            })
            .post("/logging", |_| async {
                text(
                    StatusCode::NOT_IMPLEMENTED,
                    "log levels cannot be changed while the proxy runs\n",
                )
            })
            .post("/quitquitquit", move |_| {
                let page = quit.quit();
                async move { page }
            })
            .post("/drain_listeners", move |_| {
                drain.drain_wanted.notify_one();
                async { text(StatusCode::OK, "OK\n") }
            })
    }

    /// Probes and hooks of the application may take longer than pages.
    fn agent_server(self: Arc<Self>, port: u16) -> Server {
        let probes = self.clone().application(port);
        let mut server = Server::plain(self.clone().agent().merge(self.clone().metrics()).merge(probes));
        let answer = &mut server.limits.answer;
        *answer = (*answer).max(self.application.probers.patience() + PATIENCE);
        server
    }

    /// What injection turned here instead of to the application.
    fn application(self: Arc<Self>, port: u16) -> Routes {
        let hooks = self.clone();
        Routes::new()
            .get("/app-health/*", move |call| {
                let pages = self.clone();
                async move { pages.application.answer(&call.request, port).await }
            })
            .get("/app-lifecycle/*", move |call| {
                let pages = hooks.clone();
                async move { pages.application.answer(&call.request, port).await }
            })
    }

    fn agent(self: Arc<Self>) -> Routes {
        let (quit, drain) = (self.clone(), self.clone());
        let local_only = |call: &daemon::admin::Call| call.peer.ip().is_loopback();
        let refused = || {
            text(
                StatusCode::FORBIDDEN,
                "Only requests from localhost are allowed\n",
            )
        };
        self.health()
            .post("/quitquitquit", move |call| {
                let page = if local_only(&call) { quit.quit() } else { refused() };
                async move { page }
            })
            .post("/drain", move |call| {
                let allowed = local_only(&call);
                if allowed {
                    drain.drain_wanted.notify_one();
                }
                async move {
                    if allowed {
                        text(StatusCode::OK, "OK\n")
                    } else {
                        refused()
                    }
                }
            })
    }

    fn health(self: Arc<Self>) -> Routes {
        Routes::new().get("/healthz/ready", move |_| {
            let page = ready_page(&self.ready);
            async move { page }
        })
    }

    fn metrics(self: Arc<Self>) -> Routes {
        let other = self.clone();
        Routes::new()
            .get("/stats/prometheus", move |_| {
                let pages = self.clone();
                async move { pages.prometheus().await }
            })
            .get("/metrics", move |_| {
                let pages = other.clone();
                async move { pages.prometheus().await }
            })
    }

    async fn prometheus(&self) -> Reply {
        let mut page = prometheus::page(&self.reports().await, &self.node.workload());
        let compiled = self.snapshots.borrow().clone();
        page.push_str(&outliers::page(compiled.as_deref()));
        reply(StatusCode::OK, metrics::CONTENT_TYPE, page)
    }

    /// What each worker has counted.
    async fn reports(&self) -> Vec<Report> {
        let ask = self.questions.iter().map(|worker| async move {
            let (answer, report) = oneshot::channel();
            worker.send(Question::Report(answer)).await.ok()?;
            report.await.ok()
        });
        let asked = futures_util::future::join_all(ask.map(|report| clock::timeout(PATIENCE, report))).await;
        asked
            .into_iter()
            .filter_map(|report| report.ok().flatten())
            .collect()
    }

    fn config_dump(&self) -> Reply {
        let compiled = self.snapshots.borrow().clone();
        match compiled
            .as_deref()
            .map(|compiled| serde_json::to_value(&*compiled.snapshot))
        {
            None => text(StatusCode::SERVICE_UNAVAILABLE, "no snapshot yet\n"),
            Some(Ok(value)) => json(StatusCode::OK, &value),
            Some(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    fn server_info(&self) -> Reply {
        let state = if self.ready.check().is_ok() {
            "LIVE"
        } else {
            "INITIALIZING"
        };
        json(
            StatusCode::OK,
            &json!({
                "version": env!("CARGO_PKG_VERSION"),
                "state": state,
                "node": {"id": self.node.id(), "cluster": self.node.workload().canonical_name},
            }),
        )
    }

    /// Ends the process as SIGTERM does.
    fn quit(&self) -> Reply {
        let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
        match sent {
            Ok(()) => text(StatusCode::OK, "OK\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// Envoy's text form.
fn clusters_page(reports: &[Report]) -> String {
    use std::fmt::Write;
    let mut page = String::new();
    for (name, cluster) in prometheus::merge_clusters(reports) {
        let mut line =
            |text: std::fmt::Arguments<'_>| writeln!(page, "{name}::{text}").expect("a String takes all");
        line(format_args!("rq_total::{}", cluster.requests));
        line(format_args!("cx_total::{}", cluster.connections));
        for (address, health, active) in &cluster.endpoints {
            line(format_args!("{address}::health_flags::{health}"));
            line(format_args!("{address}::rq_active::{active}"));
        }
    }
    page
}
