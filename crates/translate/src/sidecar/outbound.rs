//! Outbound: `virtualOutbound`, one wildcard listener and one route table for each HTTP port, and listeners of their
//! own for the addresses of TCP services and of services that do not say what they speak.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use resources::istio::has_wildcard;
use snapshot::chain::RouteSource;
use snapshot::route::DirectResponse;
use snapshot::{
    Action, Chain, ChainMatch, ClusterName, Direction, Handler, Host, HttpFilter, HttpHandler, Listener,
    Route, RouteTable, RouteTableName, Snapshot, VirtualHost,
};

use super::hosts::{domains, host_domains};
use super::{OUTBOUND_PORT, default_route, detected_http, tcp};
use crate::Protocol;
use crate::load_balancing::key_of_service;
use crate::mesh::routes::specificity;
use crate::mesh::services::ServicePort;
use crate::retry::retry;
use crate::routes::{http_routes, opaque_routes};
use crate::scope::{Scope, VisibleService};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Where the HTTP routes of hosts that no service has are found: Istio puts them on port 80 only.
const UNKNOWN_HOSTS_PORT: u16 = 80;

pub(super) fn add(scope: &Scope, snapshot: &mut Snapshot) {
    snapshot.listeners.insert(virtual_outbound(scope));
    // Whether a service speaks gRPC-Web there.
    let mut http_ports = BTreeMap::new();
    for seen in scope
        .services
        .iter()
        .filter(|seen| seen.service.external_name.is_none())
    {
        for port in &seen.service.ports {
            match port.protocol {
                Protocol::Http | Protocol::Http2 => drop(http_ports.entry(port.port).or_insert(false)),
                Protocol::GrpcWeb => drop(http_ports.insert(port.port, true)),
                Protocol::Tcp | Protocol::Tls => add_tcp(scope, seen, port, snapshot),
                Protocol::Unknown if seen.service.is_headless => add_tcp(scope, seen, port, snapshot),
                Protocol::Unknown => add_detected(scope, seen, port, snapshot),
                Protocol::Udp => {}
            }
        }
    }
    let aliases = aliases(scope);
    for (port, grpc_web) in http_ports {
        snapshot.listeners.insert(wildcard_http(port, grpc_web));
        snapshot.routes.insert(route_table(scope, port, &aliases));
    }
}

fn virtual_outbound(scope: &Scope) -> Listener {
    Listener {
        bind: true,
        use_original_destination: true,
        // Somebody who connects to the port itself would make the proxy call itself without end.
        chains: vec![Chain {
            name: "virtualOutbound-blackhole".into(),
            matches: ChainMatch {
                destination_port: Some(OUTBOUND_PORT),
                ..ChainMatch::default()
            },
            tls: None,
            filters: Vec::new(),
            handler: tcp(ClusterName::BLACK_HOLE.into()),
        }],
        default_chain: Some(Chain {
            name: "virtualOutbound-catchall-tcp".into(),
            matches: ChainMatch::default(),
            tls: None,
            filters: Vec::new(),
            handler: tcp(elsewhere(scope)),
        }),
        ..Listener::new(
            "virtualOutbound".into(),
            SocketAddr::new(ANY, OUTBOUND_PORT),
            Direction::Outbound,
        )
    }
}

/// The listener that all HTTP services with that port share: requests are told apart by their host.
fn wildcard_http(port: u16, grpc_web: bool) -> Listener {
    let name = format!("0.0.0.0_{port}");
    let mut handler = http(&name, port.to_string().into());
    if grpc_web {
        handler.filters.insert(0, HttpFilter::GrpcWeb);
    }
    let chain = Chain {
        name: name.clone(),
        matches: ChainMatch::default(),
        tls: None,
        filters: Vec::new(),
        handler: Handler::Http(handler),
    };
    virtual_listener(name, SocketAddr::new(ANY, port), vec![], chain)
}

fn http(listener: &str, table: RouteTableName) -> HttpHandler {
    let stat_prefix = format!("outbound_{listener}");
    HttpHandler::new(stat_prefix, RouteSource::Named(table), "envoy")
}

fn virtual_listener(name: String, address: SocketAddr, chains: Vec<Chain>, default_chain: Chain) -> Listener {
    let asks = |asks: fn(&ChainMatch) -> bool| chains.iter().any(|chain| asks(&chain.matches));
    Listener {
        detect_http: asks(|matches| !matches.application_protocols.is_empty()),
        detect_tls: asks(|matches| !matches.server_names.is_empty()),
        chains,
        default_chain: Some(default_chain),
        ..Listener::new(name.into(), address, Direction::Outbound)
    }
}

/// Chains for the connections to a port that are not HTTP, and the one for the rest. What nobody wants passes
/// through, as it would if the mesh did not know the address.
fn opaque_chains(
    scope: &Scope,
    seen: &VisibleService,
    port: &ServicePort,
    listener: &str,
) -> (Vec<Chain>, Chain) {
    let (all, some): (Vec<_>, Vec<_>) = opaque_routes(scope, seen, port)
        .into_iter()
        .partition(|(matches, _)| *matches == ChainMatch::default());
    let chains = some
        .into_iter()
        .enumerate()
        .map(|(index, (matches, handler))| Chain {
            name: format!("{listener}-{index}"),
            matches,
            tls: None,
            filters: Vec::new(),
            handler: Handler::Tcp(handler),
        });
    let default = match all.into_iter().next() {
        Some((matches, handler)) => Chain {
            name: listener.to_owned(),
            matches,
            tls: None,
            filters: Vec::new(),
            handler: Handler::Tcp(handler),
        },
        None => Chain {
            name: "PassthroughFilterChain".into(),
            matches: ChainMatch::default(),
            tls: None,
            filters: Vec::new(),
            handler: tcp(elsewhere(scope)),
        },
    };
    (chains.collect(), default)
}

/// A listener for each address of the service; without address of its own, for each of its endpoints.
fn add_tcp(scope: &Scope, seen: &VisibleService, port: &ServicePort, snapshot: &mut Snapshot) {
    let addresses: BTreeSet<IpAddr> = if seen.service.is_headless {
        let members = seen
            .members
            .iter()
            .flat_map(|members| members.of_port(&port.name));
        members.map(|(address, _)| address.ip()).collect()
    } else {
        seen.service.addresses.iter().copied().collect()
    };
    for address in addresses {
        let name = format!("{address}_{}", port.port);
        let (chains, default) = opaque_chains(scope, seen, port, &name);
        let address = SocketAddr::new(address, port.port);
        insert_unless_taken(snapshot, virtual_listener(name, address, chains, default));
    }
}

/// HTTP if the first bytes look like it, else opaque.
fn add_detected(scope: &Scope, seen: &VisibleService, port: &ServicePort, snapshot: &mut Snapshot) {
    let host = &seen.service.host;
    let table: RouteTableName = format!("{host}:{}", port.port).into();
    for address in &seen.service.addresses {
        let name = format!("{address}_{}", port.port);
        let detected = Chain {
            name: format!("{name}-http"),
            matches: ChainMatch {
                application_protocols: detected_http(),
                ..ChainMatch::default()
            },
            tls: None,
            filters: Vec::new(),
            handler: Handler::Http(http(&name, table.clone())),
        };
        let (mut chains, default) = opaque_chains(scope, seen, port, &name);
        chains.push(detected);
        let address = SocketAddr::new(*address, port.port);
        insert_unless_taken(snapshot, virtual_listener(name, address, chains, default));
    }
    let only_host = VirtualHost {
        name: table.to_string(),
        without_attempt_count: false,
        domains: vec!["*".into()],
        routes: service_routes(scope, seen, port.port),
    };
    snapshot.routes.insert(RouteTable {
        match_ports: false,
        name: table,
        hosts: vec![only_host],
    });
}

/// Services come oldest first, and the oldest keeps an address that several claim.
fn insert_unless_taken(snapshot: &mut Snapshot, listener: Listener) {
    if snapshot.listeners.get(listener.name.as_str()).is_none() {
        snapshot.listeners.insert(listener);
    }
}

/// Routes of its VirtualService; without one, or when none of its rules is for us, everything to the service.
pub(crate) fn service_routes(scope: &Scope, seen: &VisibleService, port: u16) -> Vec<Route> {
    let routes = seen
        .routes
        .as_ref()
        .map(|routes| http_routes(scope, routes, port))
        .unwrap_or_default();
    if routes.is_empty() {
        let cluster = ClusterName::outbound(port, "", &seen.service.host);
        let mut route = default_route("default", cluster, retry(scope.settings.retries.as_ref(), false));
        if let Action::Forward(forward) = &mut route.action {
            forward
                .hash
                .extend(key_of_service(scope, seen.service.host.as_str(), port));
        }
        return vec![route];
    }
    routes
}

/// All HTTP hosts of a port, and what becomes of the others. The first host to claim a domain keeps it.
fn route_table(scope: &Scope, port: u16, aliases: &BTreeMap<&Host, Vec<Host>>) -> RouteTable {
    let mut hosts = Vec::new();
    for seen in &scope.services {
        let known = seen
            .service
            .port(port.into())
            .filter(|port| port.protocol.is_http());
        if known.is_none() || seen.service.external_name.is_some() {
            continue;
        }
        let aliases = aliases.get(&seen.service.host).map_or(&[][..], Vec::as_slice);
        hosts.push(VirtualHost {
            name: format!("{}:{port}", seen.service.host),
            without_attempt_count: false,
            domains: domains(&seen.service, aliases, &scope.namespace),
            routes: service_routes(scope, seen, port),
        });
    }
    if port == UNKNOWN_HOSTS_PORT {
        hosts.extend(unknown_hosts(scope, port));
    }
    hosts.push(other_hosts(scope));
    let mut taken = BTreeSet::new();
    for host in &mut hosts {
        host.domains.retain(|domain| taken.insert(domain.clone()));
    }
    hosts.retain(|host| !host.domains.is_empty());
    RouteTable {
        match_ports: false,
        name: port.to_string().into(),
        hosts,
    }
}

/// What becomes of requests to a host that nobody knows.
fn other_hosts(scope: &Scope) -> VirtualHost {
    let (name, route) = if scope.settings.registry_only {
        let refusal = DirectResponse {
            status: 502,
            body: String::new(),
        };
        let route = Route {
            name: "block_all".into(),
            ..Route::new(Action::Respond(refusal))
        };
        ("block_all", route)
    } else {
        let route = default_route("allow_any", ClusterName::PASSTHROUGH.into(), None);
        ("allow_any", route)
    };
    VirtualHost {
        name: name.into(),
        without_attempt_count: false,
        domains: vec!["*".into()],
        routes: vec![route],
    }
}

/// Where connections go to whom nobody knows.
fn elsewhere(scope: &Scope) -> ClusterName {
    match scope.settings.registry_only {
        true => ClusterName::BLACK_HOLE.into(),
        false => ClusterName::PASSTHROUGH.into(),
    }
}

/// Hosts of VirtualServices that fit no service.
fn unknown_hosts(scope: &Scope, port: u16) -> Vec<VirtualHost> {
    let mut hosts = Vec::new();
    for routes in &scope.routes {
        for host in &routes.hosts {
            let fits = |seen: &VisibleService| specificity(host, seen.service.host.as_str()).is_some();
            let known = if has_wildcard(host) {
                scope.services.iter().any(fits)
            } else {
                scope.service(host).is_some()
            };
            if known {
                continue;
            }
            let routes = http_routes(scope, routes, port);
            if !routes.is_empty() {
                let domains = host_domains(host, &scope.namespace);
                hosts.push(VirtualHost {
                    name: format!("{host}:{port}"),
                    without_attempt_count: false,
                    domains,
                    routes,
                });
            }
        }
    }
    hosts
}

/// Names that ExternalName services give to services of the mesh.
fn aliases(scope: &Scope) -> BTreeMap<&Host, Vec<Host>> {
    let mut aliases: BTreeMap<&Host, Vec<Host>> = BTreeMap::new();
    for seen in &scope.services {
        if let Some(target) = &seen.service.external_name {
            aliases.entry(target).or_default().push(seen.service.host.clone());
        }
    }
    aliases
}
