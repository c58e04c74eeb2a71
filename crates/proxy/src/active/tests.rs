//! Chains and listeners are chosen as Envoy chooses them; what lives on survives Snapshots.

use snapshot::{
    Arrival, Chain as Fact, ChainMatch, Direction, Handler, Listener as ListenerFact, Snapshot, TcpHandler,
    TransportProtocol,
};

use super::Active;
use super::compile::{Chain, Compiled};
use crate::listen::sniff::Protocol;
use crate::random::Random;

fn chain(name: &str, port: Option<u16>, protocols: &[&str]) -> Fact {
    Fact {
        name: name.to_owned(),
        matches: ChainMatch {
            destination_port: port,
            application_protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
            ..ChainMatch::default()
        },
        tls: None,
        filters: Vec::new(),
        handler: Handler::Tcp(TcpHandler::to(name.into())),
    }
}

fn listener(name: &str, address: &str, bind: bool, chains: Vec<Fact>) -> ListenerFact {
    ListenerFact {
        bind,
        use_original_destination: bind,
        detect_http: true,
        chains,
        default_chain: Some(chain(name, None, &[])),
        ..ListenerFact::new(name.into(), address.parse().unwrap(), Direction::Outbound)
    }
}

fn compiled(listeners: Vec<ListenerFact>) -> Compiled {
    let snapshot = Snapshot {
        listeners: listeners.into_iter().collect(),
        ..Snapshot::default()
    };
    Compiled::next(&snapshot.into(), None)
}

fn chosen(compiled: &Compiled, destination: &str, protocol: Protocol) -> String {
    let destination: std::net::SocketAddr = destination.parse().unwrap();
    let listener = compiled.listener(Direction::Outbound, destination).unwrap();
    let arrival = Arrival {
        destination,
        server_name: "",
        transport_protocol: TransportProtocol::RawBuffer,
        application_protocols: &protocol.name().into_iter().collect::<Vec<_>>(),
    };
    match listener.choose(&arrival) {
        Some(Chain::Tcp(chain)) => chain.handler.stat_prefix.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_exact_address_goes_before_the_port_and_the_port_before_the_rest() {
    let compiled = compiled(vec![
        listener("virtual", "0.0.0.0:15001", true, Vec::new()),
        listener("port", "0.0.0.0:80", false, Vec::new()),
        listener("address", "10.96.0.1:80", false, Vec::new()),
    ]);
    for (destination, expected) in [
        ("10.96.0.1:80", "address"),
        ("10.96.0.2:80", "port"),
        ("10.96.0.1:81", "virtual"),
    ] {
        assert_eq!(chosen(&compiled, destination, Protocol::Other), expected);
    }
    let inbound = compiled.listener(Direction::Inbound, "10.96.0.1:80".parse().unwrap());
    assert!(inbound.is_none(), "no listener captures inbound here");
}

#[test]
fn chains_are_chosen_by_port_and_then_by_protocol_and_never_back() {
    let chains = vec![
        chain("8080-http", Some(8080), &["http/1.1", "h2c"]),
        chain("9090", Some(9090), &[]),
        chain("any-http", None, &["http/1.1"]),
    ];
    let compiled = compiled(vec![listener("default", "0.0.0.0:15001", true, chains)]);
    for (port, protocol, expected) in [
        (8080, Protocol::Http11, "8080-http"),
        (8080, Protocol::Http2, "8080-http"),
        (8080, Protocol::Other, "default"),
        (9090, Protocol::Http11, "9090"),
        (7070, Protocol::Http11, "any-http"),
        (7070, Protocol::Http2, "default"),
    ] {
        assert_eq!(
            chosen(&compiled, &format!("10.0.0.1:{port}"), protocol),
            expected,
            "{port} {protocol:?}"
        );
    }
    let asked = |destination: &str| {
        let destination = destination.parse().unwrap();
        let listener = compiled.listener(Direction::Outbound, destination).unwrap();
        listener.asked(destination).application_protocol
    };
    assert!(
        !asked("10.0.0.1:9090"),
        "the protocol would change nothing: a server may begin"
    );
    assert!(asked("10.0.0.1:8080"));
}

#[test]
fn what_did_not_change_is_taken_over() {
    let cluster = |timeout| snapshot::Cluster {
        connect_timeout: std::time::Duration::from_secs(timeout),
        ..snapshot::Cluster::new("c".into(), snapshot::Discovery::Endpoints)
    };
    let endpoints = |addresses: &[&str]| snapshot::Endpoints {
        cluster: "c".into(),
        localities: vec![snapshot::LocalityEndpoints {
            weight: 1,
            endpoints: addresses
                .iter()
                .map(|address| snapshot::Endpoint::new(address.parse().unwrap()))
                .collect(),
            ..snapshot::LocalityEndpoints::default()
        }],
    };
    let adopt = |timeout, addresses: &[&str], before: Option<&Active>| {
        let mut snapshot = Snapshot::default();
        snapshot.clusters.insert(cluster(timeout));
        snapshot.endpoints.insert(endpoints(addresses));
        Active::adopt(
            Compiled::next(&snapshot.into(), None).into(),
            before,
            &Random::seeded(1),
        )
    };
    let pools = |active: &Active| {
        let mut pools = Vec::new();
        active
            .cluster(&"c".into())
            .unwrap()
            .every_endpoint(|endpoint| pools.push(endpoint.pool.clone()));
        pools
    };
    let first = adopt(1, &["10.0.0.1:80", "10.0.0.2:80"], None);
    let second = adopt(2, &["10.0.0.2:80", "10.0.0.3:80"], Some(&first));
    assert!(
        std::rc::Rc::ptr_eq(&pools(&first)[1], &pools(&second)[0]),
        "the endpoint stayed"
    );
    assert!(!std::rc::Rc::ptr_eq(&pools(&first)[0], &pools(&second)[1]));
    let live = |active: &Active| active.cluster(&"c".into()).unwrap().live.clone();
    assert!(
        std::rc::Rc::ptr_eq(&live(&first), &live(&second)),
        "counters go on"
    );
}
