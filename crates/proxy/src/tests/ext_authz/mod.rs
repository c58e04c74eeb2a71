//! Requests and connections that somebody else decides about, over both protocols, and what a bad service cannot do.

mod grpc;
mod hostile;
mod http;
mod server;

use std::net::SocketAddr;

use snapshot::authorization::{Authorization, Condition, Policy, RuleAction, Rules, Target};
use snapshot::cluster::UpstreamHttp;
use snapshot::ext_authz::{AuthorizationService, ExtAuthz, GrpcService, HttpService};
use snapshot::{Cluster, Handler, HttpFilter, Snapshot};

use super::world::{Backend, all_to, cluster, endpoints};

const GET: &str = "GET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n";

fn over_http() -> HttpService {
    HttpService {
        timeout: Some(std::time::Duration::from_secs(5)),
        ..HttpService::new("authz".into(), "http://authz".into())
    }
}

fn over_grpc() -> GrpcService {
    GrpcService {
        cluster: "authz".into(),
        authority: "authz.shop".into(),
        timeout: Some(std::time::Duration::from_secs(5)),
        metadata: Vec::new(),
    }
}

fn ask_http(service: HttpService) -> ExtAuthz {
    ExtAuthz::new(AuthorizationService::Http(service))
}

fn ask_grpc() -> ExtAuthz {
    ExtAuthz::new(AuthorizationService::Grpc(over_grpc()))
}

/// Everything goes to the backend, if the service there lets it.
fn guarded(backend: &Backend, service: SocketAddr, filter: ExtAuthz) -> Snapshot {
    with_filters(backend, service, &[HttpFilter::ExtAuthz(Box::new(filter))])
}

fn with_filters(backend: &Backend, service: SocketAddr, filters: &[HttpFilter]) -> Snapshot {
    let mut snapshot = all_to(&[backend.address]);
    add_service(&mut snapshot, service);
    let listeners: Vec<_> = snapshot.listeners.iter().cloned().collect();
    for listener in listeners {
        let mut listener = listener.as_ref().clone();
        for chain in listener.chains.iter_mut().chain(&mut listener.default_chain) {
            if let Handler::Http(handler) = &mut chain.handler {
                handler.filters.extend(filters.iter().cloned());
            }
        }
        snapshot.listeners.insert(listener);
    }
    snapshot
}

fn add_service(snapshot: &mut Snapshot, service: SocketAddr) {
    snapshot.clusters.insert(Cluster {
        http: UpstreamHttp::Http1,
        service: None,
        ..cluster("authz")
    });
    snapshot.endpoints.insert(endpoints("authz", &[service]));
}

/// Rules that are tried out and hold for that path.
fn tried_out(path: &str, policy: &str) -> HttpFilter {
    let policy = (
        policy.to_owned(),
        Policy {
            permissions: vec![Condition::Is(Target::Path(snapshot::authorization::TextMatch {
                pattern: snapshot::authorization::Pattern::Exact(path.to_owned()),
                ignore_case: false,
            }))],
            principals: vec![Condition::Any],
        },
    );
    HttpFilter::Authorization(std::sync::Arc::new(Authorization {
        shadow: Some(Rules {
            action: RuleAction::Deny,
            policies: [policy].into(),
        }),
        shadow_prefix: "istio_ext_authz_".into(),
        ..Authorization::default()
    }))
}
