//! The Snapshot of a sidecar: names and structure are Istio's, because dashboards, logs and scripts know them.

mod access_log;
pub(crate) mod clusters;
pub(crate) mod hosts;
mod inbound;
pub(crate) mod outbound;
#[cfg(test)]
mod tests;

use snapshot::route::Forward;
use snapshot::{Action, ClusterName, Handler, Route, Snapshot, TcpHandler, Weighted};

use crate::scope::Scope;

/// Ports of a sidecar that captured connections are redirected to.
pub(crate) const OUTBOUND_PORT: u16 = 15001;
pub(crate) const INBOUND_PORT: u16 = 15006;

pub(crate) fn snapshot(scope: &Scope) -> Snapshot {
    let mut snapshot = Snapshot::default();
    clusters::add(scope, &mut snapshot);
    crate::rate_limit::add_server(scope, &mut snapshot);
    outbound::add(scope, &mut snapshot);
    inbound::add(scope, &mut snapshot);
    access_log::add(scope, &mut snapshot);
    snapshot
}

/// Opaque bytes to a cluster.
fn tcp(cluster: ClusterName) -> Handler {
    Handler::Tcp(TcpHandler::to(cluster))
}

/// A route that nobody wrote: every request to one cluster.
fn default_route(name: &str, cluster: ClusterName, retry: Option<snapshot::Retry>) -> Route {
    let forward = Forward {
        retry,
        ..Forward::to(vec![Weighted::new(cluster, 1)])
    };
    Route {
        name: name.into(),
        ..Route::new(Action::Forward(forward))
    }
}

/// Protocols by which [`snapshot::Listener::detect_http`] tells HTTP from the rest.
pub(crate) const DETECTED_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

fn detected_http() -> Vec<String> {
    DETECTED_HTTP.map(String::from).into()
}
