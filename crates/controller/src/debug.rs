//! Pages for people and for `amime`: readiness, who has what, and what is known. Paths are istiod's.
//!
//! What the mesh knows is shown to the controller's own pod only (`kubectl port-forward`, `exec`); readiness to all.

use std::collections::BTreeMap;

use daemon::admin::{self, Call, Reply, Routes};
use daemon::ready::Ready;
use http::StatusCode;
use resources::kubernetes::{EndpointSlice, Service};
use resources::{Kind, Problem, Resource};
use serde_json::{Value, json};

use crate::push::{Pusher, World, status::Connection};

const INDEX: &[(&str, &str)] = &[
    (
        "/debug/config_dump",
        "?proxyID=POD.NAMESPACE: everything that a proxy should do",
    ),
    ("/debug/configz", "Istio objects, with what is wrong with them"),
    ("/debug/connections", "connected proxies"),
    ("/debug/endpointz", "endpoints by service"),
    ("/debug/registryz", "services"),
    ("/debug/syncz", "which proxy has what"),
    (
        "/debug/worldz",
        "number of the latest picture of the mesh, and every object in it: uid and generation",
    ),
];

/// The pages.
pub fn routes(pusher: &Pusher, ready: &Ready) -> Routes {
    let ready = ready.clone();
    let of_world = |page: fn(&World) -> Value| {
        let worlds = pusher.worlds.clone();
        guarded(move |_| {
            let value = worlds.borrow().as_ref().map_or(Value::Array(Vec::new()), page);
            admin::json(StatusCode::OK, &value)
        })
    };
    let of_connections = |page: fn(&Connection) -> Value| {
        let connections = pusher.connections.clone();
        guarded(move |_| {
            let rows = connections.all().iter().map(page).collect();
            admin::json(StatusCode::OK, &Value::Array(rows))
        })
    };
    let connections = pusher.connections.clone();
    let dump = move |call: &Call| {
        let proxy = query(call, "proxyID");
        config_dump(proxy.and_then(|name| connections.find(&name)), call)
    };
    Routes::new()
        .get("/ready", move |_| std::future::ready(admin::ready_page(&ready)))
        .get("/debug", guarded(|_| index()))
        .get("/debug/syncz", of_connections(sync))
        .get("/debug/connections", of_connections(connection))
        .get("/debug/registryz", of_world(services))
        .get("/debug/configz", of_world(objects))
        .get("/debug/endpointz", of_world(endpoints))
        .get("/debug/worldz", of_world(world))
        .get("/debug/config_dump", guarded(dump))
}

/// A page for callers on this machine's loopback only.
fn guarded(
    page: impl Fn(&Call) -> Reply + Send + Sync + 'static,
) -> impl Fn(Call) -> std::future::Ready<Reply> + Send + Sync + 'static {
    move |call| {
        std::future::ready(match call.peer.ip().to_canonical().is_loopback() {
            true => page(&call),
            false => admin::text(
                StatusCode::FORBIDDEN,
                "debug pages are open to this pod only; use port-forward\n",
            ),
        })
    }
}

fn index() -> Reply {
    let pages: BTreeMap<_, _> = INDEX.iter().copied().collect();
    admin::json(StatusCode::OK, &json!(pages))
}

/// The value of a query parameter; ids need no escapes but `%7E` for `~`.
fn query(call: &Call, name: &str) -> Option<String> {
    let pairs = call.request.uri().query()?.split('&');
    let value = pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?
        .1;
    Some(value.replace("%7E", "~").replace("%7e", "~"))
}

fn sync(connection: &Connection) -> Value {
    let mut row = json!({
        "proxy": connection.peer.name(),
        "id": connection.peer.id,
        "cluster_id": connection.peer.node.cluster,
        "istio_version": connection.peer.version,
        "world": connection.world,
        "rejected": connection.rejected.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    for kind in xds::Kind::ALL {
        let name = match kind {
            xds::Kind::Cluster => "cluster",
            xds::Kind::Endpoints => "endpoint",
            xds::Kind::Listener => "listener",
            xds::Kind::Routes => "route",
        };
        let exchange = connection.exchange(kind);
        let state = match (exchange.served, exchange.in_sync, exchange.sent == exchange.acked) {
            (false, ..) => "NOT SENT",
            (true, true, true) => "SYNCED",
            (true, true, false) => "ERROR",
            (true, false, _) => "STALE",
        };
        row[format!("{name}_sent")] = json!(exchange.sent);
        row[format!("{name}_acked")] = json!(exchange.acked);
        row[format!("{name}_status")] = json!(state);
    }
    row
}

fn connection(connection: &Connection) -> Value {
    json!({
        "id": connection.peer.id,
        "connected": connection.connected,
        "address": connection.peer.node.addresses,
        "service_account": connection.peer.node.service_account,
    })
}

fn services(world: &World) -> Value {
    let service = |service: &Service| {
        json!({
            "name": service.metadata.name,
            "namespace": service.metadata.namespace,
            "hostname": host(service),
            "clusterIPs": service.spec.cluster_ips,
            "ports": service.spec.ports.iter().map(|port| json!({
                "name": port.name,
                "port": port.port,
                "protocol": port.protocol,
            })).collect::<Vec<_>>(),
        })
    };
    let rows = world.mesh.resources().filter_map(|resource| match resource {
        Resource::Service(found) => Some(service(found)),
        _ => None,
    });
    rows.collect()
}

fn host(service: &Service) -> String {
    let meta = &service.metadata;
    format!("{}.{}.svc.{}", meta.name, meta.namespace, translate::DOMAIN)
}

fn endpoints(world: &World) -> Value {
    let slice = |slice: &EndpointSlice| {
        json!({
            "slice": slice.metadata.name,
            "namespace": slice.metadata.namespace,
            "service": slice.metadata.labels.get("kubernetes.io/service-name"),
            "endpoints": slice.endpoints.iter().map(|endpoint| &endpoint.addresses).collect::<Vec<_>>(),
        })
    };
    let rows = world.mesh.resources().filter_map(|resource| match resource {
        Resource::EndpointSlice(found) => Some(slice(found)),
        _ => None,
    });
    rows.collect()
}

fn objects(world: &World) -> Value {
    let found = translate::analyze(&world.mesh);
    let problems: Vec<&Problem> = found.iter().chain(world.problems.iter()).collect();
    let istio = |resource: &&Resource| {
        matches!(
            resource.kind(),
            Kind::VirtualService
                | Kind::DestinationRule
                | Kind::PeerAuthentication
                | Kind::RequestAuthentication
                | Kind::AuthorizationPolicy
        )
    };
    let row = |resource: &Resource| {
        let (key, meta) = (resource.key(), resource.meta());
        let own = problems
            .iter()
            .filter(|problem| problem.key.as_ref() == Some(&key));
        json!({
            "apiVersion": key.kind.api_version(),
            "kind": key.kind.as_str(),
            "metadata": {
                "name": meta.name,
                "namespace": meta.namespace,
                "generation": meta.generation,
                "creationTimestamp": meta.creation_timestamp,
            },
            "problems": own.map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    world.mesh.resources().filter(istio).map(row).collect()
}

fn world(world: &World) -> Value {
    let row = |resource: &Resource| {
        let (key, meta) = (resource.key(), resource.meta());
        let name = format!("{}/{}/{}", key.kind.as_str(), meta.namespace, meta.name);
        (name, json!({"uid": meta.uid, "generation": meta.generation}))
    };
    let objects: BTreeMap<String, Value> = world.mesh.resources().map(row).collect();
    json!({"number": world.number, "objects": objects})
}

fn config_dump(found: Option<Connection>, call: &Call) -> Reply {
    if query(call, "proxyID").is_none() {
        let problem = "name a proxy: ?proxyID=POD.NAMESPACE, as /debug/syncz lists them\n";
        return admin::text(StatusCode::BAD_REQUEST, problem);
    }
    let Some(connection) = found else {
        let problem = "no such proxy is connected here; /debug/syncz lists those that are\n";
        return admin::text(StatusCode::NOT_FOUND, problem);
    };
    let snapshot = connection.target.as_ref().map(|target| &**target.snapshot());
    let dump = json!({"proxy": connection.peer.id, "world": connection.world, "snapshot": snapshot});
    admin::json(StatusCode::OK, &dump)
}
