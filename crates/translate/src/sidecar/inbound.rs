//! Inbound: `virtualInbound`, with chains for each port that services declare, and passage for the other ports. Each port
//! has as many chains as there are ways into it (`mtls::server`).
//!
//! Requests go on to the address they were sent to (the pod's own), as the application's neighbours would reach it;
//! they leave from 127.0.0.6, by which the capture rules know them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use snapshot::chain::RouteSource;
use snapshot::{
    Action, Chain, ChainMatch, ClientCertificateHeader, Cluster, ClusterName, Direction, Discovery,
    GrpcTimeout, Handler, HttpFilter, HttpHandler, Listener, Retry, RouteTable, Snapshot, VirtualHost,
};

use super::clusters::{plain, special};
use super::{DETECTED_HTTP, INBOUND_PORT, default_route, tcp};
use crate::Protocol;
use crate::authorization;
use crate::connection_pool;
use crate::jwt;
use crate::mesh::peer_authentications::Mutual;
use crate::mtls::server::{self, Speaks, Way, ways};
use crate::rate_limit;
use crate::retry::inbound_retry;
use crate::scope::{InboundPort, Scope};
use crate::traffic_policy::Effective;

/// Source of the proxy's connections to its own workload.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

pub(super) fn add(scope: &Scope, snapshot: &mut Snapshot) {
    let passthrough = special(
        scope,
        ClusterName::INBOUND_PASSTHROUGH,
        Discovery::OriginalDestination,
    );
    snapshot.clusters.insert(Cluster {
        source_address: Some(SOURCE),
        ..passthrough
    });
    let mut chains = vec![Chain {
        name: "virtualInbound-blackhole".into(),
        matches: ChainMatch {
            destination_port: Some(INBOUND_PORT),
            ..ChainMatch::default()
        },
        tls: None,
        filters: Vec::new(),
        handler: tcp(ClusterName::BLACK_HOLE.into()),
    }];
    for port in &scope.inbound {
        snapshot.clusters.insert(cluster(scope, port));
        chains.extend(Door::of(scope, port).chains(scope));
    }
    let declared = |port: &u16| scope.inbound.iter().any(|declared| declared.target == *port);
    let undeclared = scope.modes.ports.keys().filter(|port| !declared(port));
    for port in undeclared.copied().map(Some).chain([None]) {
        chains.extend(Door::passthrough(scope, port).chains(scope));
    }
    // The first chain leads nowhere.
    guard(scope, &mut chains[1..]);
    // Where TLS makes a difference, what fits no chain must not get in.
    let tells_tls = scope.modes.any_mutual();
    let default_chain = if tells_tls { None } else { chains.pop() };
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), INBOUND_PORT);
    snapshot.listeners.insert(Listener {
        bind: true,
        detect_http: chains.iter().chain(&default_chain).any(asks_for_http),
        detect_tls: tells_tls,
        chains,
        default_chain,
        ..Listener::new("virtualInbound".into(), address, Direction::Inbound)
    });
}

/// Whether first bytes have to be looked at for HTTP.
fn asks_for_http(chain: &Chain) -> bool {
    let mut protocols = chain.matches.application_protocols.iter();
    protocols.any(|protocol| DETECTED_HTTP.contains(&protocol.as_str()))
}

/// Has everybody asked who decides about requests and connections, before anything else is done for them.
fn guard(scope: &Scope, chains: &mut [Chain]) {
    let mut http = authorization::custom_for_requests(scope);
    http.extend(jwt::filter(scope).map(HttpFilter::Jwt));
    http.extend(authorization::for_requests(scope));
    let mut network = authorization::custom_for_connections(scope);
    network.extend(authorization::for_connections(scope));
    for chain in chains {
        match &mut chain.handler {
            Handler::Http(handler) => drop(handler.filters.splice(0..0, http.iter().cloned())),
            Handler::Tcp(_) => chain.filters.clone_from(&network),
        }
    }
}

fn cluster(scope: &Scope, port: &InboundPort) -> Cluster {
    let name = ClusterName::inbound(port.target);
    let mut cluster = Cluster {
        http: port.protocol.upstream_http(),
        source_address: Some(SOURCE),
        service: Some(port.service.clone()),
        ..plain(scope, name.as_str(), Discovery::OriginalDestination)
    };
    // The server's proxy holds the limits of its service too, so that clients without a proxy meet them.
    if let Some(policy) = scope.inbound_policies.get(port.service.host.as_str()) {
        let effective = Effective::of(policy, None, port.service_port);
        connection_pool::apply(&effective, Direction::Inbound, &mut cluster);
    }
    cluster
}

/// A port with all ways into it.
struct Door {
    /// `None` is every port that has no door of its own.
    port: Option<u16>,
    /// Names of chains by what they serve; those of [`Way::suffix`] come after them.
    http: String,
    opaque: String,
    /// Name of the virtual host.
    host: String,
    cluster: ClusterName,
    speaks: Speaks,
    mode: Mutual,
    retry: Option<Retry>,
    grpc_web: bool,
    /// Limits on requests.
    limits: Vec<HttpFilter>,
}

impl Door {
    /// A port that a service declares.
    fn of(scope: &Scope, port: &InboundPort) -> Self {
        let name = format!("0.0.0.0_{}", port.target);
        let speaks = Speaks::of(port.protocol);
        // gRPC and HTTP/2 tell by themselves which requests were not handled.
        let http2 = matches!(port.protocol, Protocol::Http2 | Protocol::GrpcWeb);
        Self {
            port: Some(port.target),
            http: match speaks {
                Speaks::Either => format!("{name}-http"),
                Speaks::Http | Speaks::Opaque => name.clone(),
            },
            opaque: name,
            host: format!("inbound|http|{}", port.service_port),
            cluster: ClusterName::inbound(port.target),
            speaks,
            mode: scope.modes.at(port.target).mode,
            retry: (!http2).then(inbound_retry),
            grpc_web: port.protocol == Protocol::GrpcWeb,
            limits: rate_limit::filters(scope, Some(port)).collect(),
        }
    }

    /// A port that no service declares, or all others of that sort.
    fn passthrough(scope: &Scope, port: Option<u16>) -> Self {
        let own = port.map(|port| format!("-{port}")).unwrap_or_default();
        Self {
            port,
            http: format!("virtualInbound-catchall-http{own}"),
            opaque: format!("virtualInbound{own}"),
            host: "inbound|http|0".into(),
            cluster: ClusterName::INBOUND_PASSTHROUGH.into(),
            speaks: Speaks::Either,
            mode: port.map_or(scope.modes.rest.mode, |port| scope.modes.at(port).mode),
            retry: None,
            grpc_web: false,
            limits: rate_limit::filters(scope, None).collect(),
        }
    }

    fn chains(&self, scope: &Scope) -> Vec<Chain> {
        let tells_tls = scope.modes.any_mutual();
        let ways = ways(self.speaks, self.mode, tells_tls).into_iter();
        let http = self.handler(tells_tls);
        let chain = |way: Way| {
            let name = if way.http { &self.http } else { &self.opaque };
            Chain {
                name: format!("{name}{}", way.suffix()),
                tls: way.mutual.then(|| server::tls(&scope.settings.mtls)),
                filters: Vec::new(),
                handler: match way.http {
                    true => Handler::Http(http.clone()),
                    false => tcp(self.cluster.clone()),
                },
                matches: ChainMatch {
                    destination_port: self.port,
                    ..way.matches
                },
            }
        };
        ways.map(chain).collect()
    }

    /// Statistics are the port's, however its requests come in.
    fn handler(&self, tells_tls: bool) -> HttpHandler {
        let name = match self.cluster.as_str() {
            ClusterName::INBOUND_PASSTHROUGH => "0.0.0.0_0",
            _ => &self.http,
        };
        let mut handler = http(name, &self.host, &self.cluster, self.retry.clone());
        if self.grpc_web {
            handler.filters.insert(0, HttpFilter::GrpcWeb);
        }
        handler.filters.extend(self.limits.iter().cloned());
        if tells_tls {
            handler.options.client_certificate = ClientCertificateHeader::OF_SIDECARS;
        }
        handler
    }
}

/// One host, one route: everything to the workload. The table has the name of its cluster.
fn http(chain: &str, host: &str, cluster: &ClusterName, retry: Option<Retry>) -> HttpHandler {
    let mut route = default_route("default", cluster.clone(), retry);
    if let Action::Forward(forward) = &mut route.action {
        // The deadline of a gRPC caller ends the stream; there is no other limit.
        forward.grpc_timeout = GrpcTimeout::OfStream(Duration::ZERO);
    }
    let table = RouteTable {
        match_ports: false,
        name: cluster.as_str().into(),
        hosts: vec![VirtualHost {
            name: host.into(),
            domains: vec!["*".into()],
            without_attempt_count: true,
            routes: vec![route],
        }],
    };
    let routes = RouteSource::Inline(Arc::new(table));
    HttpHandler::new(format!("inbound_{chain}"), routes, "istio-envoy")
}
