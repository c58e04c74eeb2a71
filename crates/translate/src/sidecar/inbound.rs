//! Inbound: `virtualInbound`, with chains for each port that services declare, and passage for the other ports.
//!
//! Requests go on to the address they were sent to (the pod's own), as the application's neighbours would reach it;
//! they leave from 127.0.0.6, by which the capture rules know them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use snapshot::chain::RouteSource;
use snapshot::{
    Action, Chain, ChainMatch, Cluster, ClusterName, Direction, Discovery, GrpcTimeout, Handler, HttpFilter,
    HttpHandler, Listener, Retry, RouteTable, Snapshot, VirtualHost,
};

use super::clusters::{plain, special};
use super::{INBOUND_PORT, default_route, detected_http, tcp};
use crate::Protocol;
use crate::connection_pool;
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
        handler: tcp(ClusterName::BLACK_HOLE.into()),
    }];
    for port in &scope.inbound {
        snapshot.clusters.insert(cluster(scope, port));
        chains.extend(
            port_chains(port)
                .into_iter()
                .map(|chain| limited(scope, chain, Some(port))),
        );
    }
    chains.push(limited(scope, catch_all_http(), None));
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), INBOUND_PORT);
    snapshot.listeners.insert(Listener {
        bind: true,
        detect_http: true,
        chains,
        default_chain: Some(Chain {
            name: "virtualInbound".into(),
            matches: ChainMatch::default(),
            tls: None,
            handler: tcp(ClusterName::INBOUND_PASSTHROUGH.into()),
        }),
        ..Listener::new("virtualInbound".into(), address, Direction::Inbound)
    });
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

fn port_chains(port: &InboundPort) -> Vec<Chain> {
    let name = format!("0.0.0.0_{}", port.target);
    let cluster = ClusterName::inbound(port.target);
    let host = format!("inbound|http|{}", port.service_port);
    // gRPC and HTTP/2 tell by themselves which requests were not handled.
    let http2 = matches!(port.protocol, Protocol::Http2 | Protocol::GrpcWeb);
    let retry = (!http2).then(inbound_retry);
    let matches = ChainMatch {
        destination_port: Some(port.target),
        ..ChainMatch::default()
    };
    let as_http = |matches: ChainMatch, name: String| Chain {
        tls: None,
        handler: Handler::Http(http(&name, &host, &cluster, retry.clone())),
        name,
        matches,
    };
    let as_tcp = |matches: ChainMatch| Chain {
        name: name.clone(),
        matches,
        tls: None,
        handler: tcp(cluster.clone()),
    };
    match port.protocol {
        Protocol::Http | Protocol::Http2 => vec![as_http(matches, name.clone())],
        Protocol::GrpcWeb => {
            let mut handler = http(&name, &host, &cluster, retry.clone());
            handler.filters.insert(0, HttpFilter::GrpcWeb);
            vec![Chain {
                name: name.clone(),
                matches,
                tls: None,
                handler: Handler::Http(handler),
            }]
        }
        Protocol::Unknown => {
            let detected = ChainMatch {
                application_protocols: detected_http(),
                ..matches.clone()
            };
            vec![as_http(detected, format!("{name}-http")), as_tcp(matches)]
        }
        Protocol::Tcp | Protocol::Tls | Protocol::Udp => vec![as_tcp(matches)],
    }
}

/// A chain that serves HTTP, with the limits that are for its port.
fn limited(scope: &Scope, mut chain: Chain, port: Option<&InboundPort>) -> Chain {
    if let Handler::Http(handler) = &mut chain.handler {
        handler.filters.extend(rate_limit::filters(scope, port));
    }
    chain
}

/// HTTP to ports that no service declares.
fn catch_all_http() -> Chain {
    let cluster: ClusterName = ClusterName::INBOUND_PASSTHROUGH.into();
    Chain {
        name: "virtualInbound-catchall-http".into(),
        matches: ChainMatch {
            application_protocols: detected_http(),
            ..ChainMatch::default()
        },
        tls: None,
        handler: Handler::Http(http("0.0.0.0_0", "inbound|http|0", &cluster, None)),
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
