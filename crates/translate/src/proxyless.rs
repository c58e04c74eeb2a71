//! What a gRPC client needs that speaks xDS itself (`xds:///backend:9090`), as Istio gives it to nodes with `GENERATOR`
//! `grpc`: one API listener for each name and port of a service, its routes, clusters and their members.
//!
//! The client looks for a virtual host by name and port, which tells nothing that the listener has not told, so the
//! table of a port has one host that takes all. <https://istio.io/latest/blog/2021/proxyless-grpc/>

use snapshot::{
    Chain, ChainMatch, ClusterName, Direction, Handler, HttpHandler, Listener, RouteSource, RouteTable,
    Snapshot, VirtualHost,
};

use crate::mesh::services::ServicePort;
use crate::scope::{Scope, VisibleService};
use crate::sidecar;

pub(crate) fn snapshot(scope: &Scope) -> Snapshot {
    let mut snapshot = Snapshot::default();
    sidecar::clusters::add_services(scope, &mut snapshot);
    for seen in &scope.services {
        if seen.service.external_name.is_none() {
            let http = seen.service.ports.iter().filter(|port| port.protocol.is_http());
            http.for_each(|port| add_port(scope, seen, port, &mut snapshot));
        }
    }
    snapshot
}

fn add_port(scope: &Scope, seen: &VisibleService, port: &ServicePort, snapshot: &mut Snapshot) {
    let cluster = ClusterName::outbound(port.port, "", &seen.service.host);
    let handler = HttpHandler::new(
        cluster.to_string(),
        RouteSource::Named(cluster.as_str().into()),
        "",
    );
    snapshot.routes.insert(RouteTable {
        name: cluster.as_str().into(),
        match_ports: false,
        hosts: vec![VirtualHost {
            name: format!("{}:{}", seen.service.host, port.port),
            without_attempt_count: false,
            domains: vec!["*".into()],
            routes: sidecar::outbound::service_routes(scope, seen, port.port),
        }],
    });
    let chain = Chain {
        name: cluster.to_string(),
        matches: ChainMatch::default(),
        tls: None,
        filters: Vec::new(),
        handler: Handler::Http(handler),
    };
    for name in sidecar::hosts::host_domains(seen.service.host.as_str(), &scope.namespace) {
        let address = ([0, 0, 0, 0], port.port).into();
        snapshot.listeners.insert(Listener {
            default_chain: Some(chain.clone()),
            ..Listener::new(
                format!("{name}:{}", port.port).into(),
                address,
                Direction::Outbound,
            )
        });
    }
}
