//! What the proxy shows of itself: Envoy's admin pages (15000), health for the kubelet (15021, 15020), metrics
//! (15090, 15020).
//!
//! Pages ask through a [`View`]; nothing here can hold up a data worker for longer than a copy of its counters.
//! <https://www.envoyproxy.io/docs/envoy/latest/operations/admin>

use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use daemon::admin::{self, Call, Reply, Routes, Server};
use daemon::clock::{self, Instant};
use daemon::ready::Ready;
use daemon::{Drain, Tasks, metrics};
use http::StatusCode;
use serde_json::{Value, json};
use snapshot::{Direction, Discovery, Endpoint, Health, Listener, Snapshot};
use tokio::net::TcpListener;

use crate::settings::{Listen, Node};

/// Condition: a Snapshot is in force.
pub(crate) const SNAPSHOT: &str = "snapshot";
/// Condition: the proxy's own connections are not captured.
pub(crate) const CAPTURE: &str = "capture";

/// Asks the workers for their counters and puts them together.
pub(crate) type MetricsPage = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// What the pages may see and do.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) node: Node,
    pub(crate) workers: usize,
    pub(crate) started: Instant,
    pub(crate) ready: Ready,
    pub(crate) metrics: MetricsPage,
    /// The Snapshot in force.
    pub(crate) snapshot: Arc<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>,
    /// Ends the process as a signal would.
    pub(crate) quit: Arc<dyn Fn() + Send + Sync>,
    /// Begins the drain and leaves the process running.
    pub(crate) drain_listeners: Arc<dyn Fn() + Send + Sync>,
}

/// Bound sockets of the pages.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) admin: TcpListener,
    pub(crate) agent: TcpListener,
    pub(crate) health: TcpListener,
    pub(crate) metrics: TcpListener,
}

impl Sockets {
    /// Binds all four.
    ///
    /// # Errors
    /// The address that is taken, by name.
    pub(crate) async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        use anyhow::Context;
        let bind = async |name: &'static str, address| {
            TcpListener::bind(address).await.with_context(|| format!("cannot bind {address} for {name}"))
        };
        Ok(Self {
            admin: bind("admin", listen.admin).await?,
            agent: bind("agent", listen.agent).await?,
            health: bind("health", listen.health).await?,
            metrics: bind("metrics", listen.metrics).await?,
        })
    }

    /// Where they are, for `Running::addresses`.
    pub(crate) fn addresses(&self) -> std::io::Result<BTreeMap<&'static str, std::net::SocketAddr>> {
        let all = [
            ("admin", &self.admin),
            ("agent", &self.agent),
            ("health", &self.health),
            ("metrics", &self.metrics),
        ];
        all.into_iter().map(|(name, listener)| Ok((name, listener.local_addr()?))).collect()
    }

    /// Serves the pages until the drain given here begins: not the workers' drain, because the kubelet and
    /// Prometheus ask until the end.
    pub(crate) fn serve(self, view: &View, tasks: &Tasks, drain: &Drain) {
        let servers = [
            ("admin", admin_pages(view), self.admin),
            ("agent", health_page(view).merge(metrics_page(view)), self.agent),
            ("health", health_page(view), self.health),
            ("metrics", metrics_page(view), self.metrics),
        ];
        for (name, routes, listener) in servers {
            Server::plain(routes).start(name, listener, tasks, drain.clone());
        }
    }
}

fn health_page(view: &View) -> Routes {
    let ready = view.ready.clone();
    Routes::new().get("/healthz/ready", move |_| {
        let reply = admin::ready_page(&ready);
        async move { reply }
    })
}

fn metrics_page(view: &View) -> Routes {
    let text = view.metrics.clone();
    let page = move |_: Call| {
        let text = text();
        async move { admin::reply(StatusCode::OK, metrics::CONTENT_TYPE, text.await) }
    };
    Routes::new().get("/stats/prometheus", page.clone()).get("/metrics", page)
}

fn admin_pages(view: &View) -> Routes {
    let look = |page: fn(&View, &Call) -> Reply| {
        let view = view.clone();
        move |call: Call| {
            let reply = page(&view, &call);
            async move { reply }
        }
    };
    metrics_page(view)
        .get("/", look(|_, _| admin::text(StatusCode::OK, INDEX)))
        .get("/help", look(|_, _| admin::text(StatusCode::OK, INDEX)))
        .get("/ready", look(ready))
        .get("/server_info", look(server_info))
        .get("/config_dump", look(config_dump))
        .get("/clusters", look(clusters))
        .get("/listeners", look(listeners))
        .post("/logging", look(logging))
        .post("/quitquitquit", look(|view, _| done(&view.quit)))
        .post("/drain_listeners", look(|view, _| done(&view.drain_listeners)))
}

const INDEX: &str = "\
/clusters: clusters and their endpoints (?format=json)
/config_dump: everything the proxy was told, as JSON
/drain_listeners (POST): take no more connections
/listeners: listeners and their addresses (?format=json)
/logging (POST): what the log shows
/quitquitquit (POST): end the process
/ready: LIVE, or why not
/server_info: version, state and node
/stats/prometheus: metrics
";

fn done(action: &Arc<dyn Fn() + Send + Sync>) -> Reply {
    action();
    admin::text(StatusCode::OK, "OK\n")
}

fn state(view: &View) -> &'static str {
    if view.ready.check().is_ok() { "LIVE" } else { "PRE_INITIALIZING" }
}

fn ready(view: &View, _: &Call) -> Reply {
    match view.ready.check() {
        Ok(()) => admin::text(StatusCode::OK, "LIVE\n"),
        Err(reasons) => {
            let text = format!("{}\n{}\n", state(view), reasons.join("\n"));
            admin::text(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

fn server_info(view: &View, _: &Call) -> Reply {
    let node = &view.node;
    let uptime = clock::now() - view.started;
    admin::json(
        StatusCode::OK,
        &json!({
            "version": format!("amime/{}", env!("CARGO_PKG_VERSION")),
            "state": state(view),
            "uptime_current_epoch": format!("{}s", uptime.as_secs()),
            "uptime_all_epochs": format!("{}s", uptime.as_secs()),
            "command_line_options": {"concurrency": view.workers},
            "node": {
                "id": node.id(),
                "cluster": format!("{}.{}", node.workload().canonical_name, node.namespace),
                "metadata": {
                    "NAME": node.pod,
                    "NAMESPACE": node.namespace,
                    "SERVICE_ACCOUNT": node.service_account,
                    "CLUSTER_ID": node.cluster,
                    "WORKLOAD_NAME": node.workload,
                    "LABELS": node.labels,
                },
            },
        }),
    )
}

fn config_dump(view: &View, _: &Call) -> Reply {
    let snapshot = current(view);
    match serde_json::to_vec_pretty(&*snapshot) {
        Ok(bytes) => admin::reply(StatusCode::OK, "application/json", bytes),
        Err(error) => admin::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn current(view: &View) -> Arc<Snapshot> {
    (view.snapshot)().unwrap_or_default()
}

fn wants_json(call: &Call) -> bool {
    call.request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "format=json"))
}

fn clusters(view: &View, call: &Call) -> Reply {
    let snapshot = current(view);
    if wants_json(call) {
        let all: Vec<Value> = snapshot.clusters.iter().map(|cluster| cluster_json(&snapshot, cluster)).collect();
        return admin::json(StatusCode::OK, &json!({"cluster_statuses": all}));
    }
    let mut text = String::new();
    for cluster in snapshot.clusters.iter() {
        for line in cluster_lines(&snapshot, cluster) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    admin::text(StatusCode::OK, text)
}

fn members<'a>(snapshot: &'a Snapshot, cluster: &snapshot::Cluster) -> impl Iterator<Item = &'a Endpoint> {
    let endpoints = match cluster.discovery {
        Discovery::Endpoints => snapshot.endpoints.get(cluster.name.as_str()),
        Discovery::OriginalDestination | Discovery::Nobody => None,
    };
    endpoints.into_iter().flat_map(|endpoints| endpoints.iter())
}

/// Envoy's `cluster::address::fact::value` lines.
fn cluster_lines(snapshot: &Snapshot, cluster: &snapshot::Cluster) -> Vec<String> {
    let name = &cluster.name;
    let limit = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
    let breaker = &cluster.circuit_breaker;
    let mut lines = vec![
        format!("{name}::observability_name::{name}"),
        format!("{name}::default_priority::max_connections::{}", limit(breaker.max_connections)),
        format!("{name}::default_priority::max_pending_requests::{}", limit(breaker.max_pending_requests)),
        format!("{name}::default_priority::max_requests::{}", limit(breaker.max_requests)),
        format!("{name}::default_priority::max_retries::{}", limit(breaker.max_retries)),
        format!("{name}::added_via_api::true"),
    ];
    for Endpoint { address, weight, health, workload } in members(snapshot, cluster) {
        lines.push(format!("{name}::{address}::health_flags::{}", health_flags(*health)));
        lines.push(format!("{name}::{address}::weight::{weight}"));
        if !workload.name.is_empty() {
            lines.push(format!("{name}::{address}::workload::{}.{}", workload.name, workload.namespace));
        }
    }
    lines
}

fn health_flags(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Draining => "/eds_status_draining",
        Health::Unhealthy => "/failed_eds_health",
    }
}

fn cluster_json(snapshot: &Snapshot, cluster: &snapshot::Cluster) -> Value {
    let host = |endpoint: &Endpoint| {
        let status = match endpoint.health {
            Health::Healthy => "HEALTHY",
            Health::Draining => "DRAINING",
            Health::Unhealthy => "UNHEALTHY",
        };
        let address = endpoint.address;
        json!({
            "address": {"socket_address": {"address": address.ip(), "port_value": address.port()}},
            "health_status": {"eds_health_status": status},
            "weight": endpoint.weight,
        })
    };
    let hosts: Vec<Value> = members(snapshot, cluster).map(host).collect();
    json!({"name": cluster.name, "added_via_api": true, "host_statuses": hosts})
}

fn listeners(view: &View, call: &Call) -> Reply {
    let snapshot = current(view);
    if wants_json(call) {
        let one = |listener: &Arc<Listener>| {
            let address = listener.address;
            json!({
                "name": listener.name,
                "local_address": {"socket_address": {"address": address.ip(), "port_value": address.port()}},
            })
        };
        let all: Vec<Value> = snapshot.listeners.iter().map(one).collect();
        return admin::json(StatusCode::OK, &json!({"listener_statuses": all}));
    }
    let mut text = String::new();
    for listener in snapshot.listeners.iter() {
        let direction = match listener.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        writeln!(text, "{}::{}::{direction}", listener.name, listener.address).expect("a String takes every text");
    }
    admin::text(StatusCode::OK, text)
}

/// Istio's `istioctl proxy-config log` asks this way. The level is set at the start, and that is said.
fn logging(_: &View, call: &Call) -> Reply {
    if call.request.uri().query().is_some_and(|query| !query.is_empty()) {
        let text = "log levels are set at the start, by --proxyLogLevel, --proxyComponentLogLevel and \
                    --log_output_level\n";
        return admin::text(StatusCode::NOT_IMPLEMENTED, text);
    }
    let level = tracing::level_filters::LevelFilter::current();
    admin::text(StatusCode::OK, format!("active loggers:\n  proxy: {level}\n"))
}

#[cfg(test)]
mod tests;
