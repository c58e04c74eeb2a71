//! Round trips of everything, refusals by name, and no panic whatever the bytes.

use std::time::Duration;

use envoy_types::pb::envoy::config::{
    cluster::v3 as clusters, listener::v3 as listeners, route::v3 as routes,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;
use crate::generate;

fn ours(kind: Kind, name: &str, body: &[u8]) -> Resource {
    decode(kind, name, body).unwrap()
}

proptest! {
    #![proptest_config(Config::with_cases(96))]

    #[test]
    fn a_cluster_survives_the_wire(cluster in generate::cluster()) {
        let body = encode_cluster(&cluster, Dialect::Amime);
        prop_assert_eq!(ours(Kind::Cluster, cluster.name.as_str(), &body), Resource::Cluster(cluster.clone()));
    }

    #[test]
    fn endpoints_survive_the_wire(endpoints in generate::endpoints()) {
        let body = encode_endpoints(&endpoints);
        prop_assert_eq!(ours(Kind::Endpoints, endpoints.name(), &body), Resource::Endpoints(endpoints.clone()));
    }

    #[test]
    fn a_listener_survives_the_wire(listener in generate::listener()) {
        let body = encode_listener(&listener, Dialect::Amime);
        prop_assert_eq!(ours(Kind::Listener, listener.name.as_str(), &body), Resource::Listener(listener.clone()));
    }

    #[test]
    fn a_route_table_survives_the_wire(table in generate::route_table()) {
        let body = encode_routes(&table);
        prop_assert_eq!(ours(Kind::Routes, table.name.as_str(), &body), Resource::Routes(table.clone()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        for kind in Kind::ALL {
            let _ = decode(kind, "x", &bytes);
        }
    }

    #[test]
    fn damaged_messages_never_panic(
        listener in generate::listener(),
        cluster in generate::cluster(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let bodies = [
            (Kind::Listener, encode_listener(&listener, Dialect::Amime)),
            (Kind::Cluster, encode_cluster(&cluster, Dialect::Amime)),
        ];
        for (kind, body) in bodies {
            let mut body = body.to_vec();
            for (place, byte) in &damage {
                let place = place.index(body.len());
                body[place] = *byte;
            }
            let _ = decode(kind, "x", &body);
        }
    }
}

fn reason(kind: Kind, message: &impl Message) -> String {
    decode(kind, "x", &message.encode_to_vec())
        .unwrap_err()
        .to_string()
}

#[test]
fn what_would_change_behaviour_is_refused_by_its_field() {
    let cluster = clusters::Cluster {
        name: "x".into(),
        outlier_detection: Some(Default::default()),
        ..Default::default()
    };
    assert_eq!(
        reason(Kind::Cluster, &cluster),
        "CDS x: OutlierDetection.enforcing_success_rate other than 0: is not supported"
    );

    let ring = clusters::cluster::RingHashLbConfig {
        minimum_ring_size: Some(envoy_types::pb::google::protobuf::UInt64Value { value: 2_000_000 }),
        ..Default::default()
    };
    let cluster = clusters::Cluster {
        name: "x".into(),
        lb_policy: clusters::cluster::LbPolicy::RingHash.into(),
        lb_config: Some(clusters::cluster::LbConfig::RingHashLbConfig(ring)),
        ..Default::default()
    };
    assert_eq!(
        reason(Kind::Cluster, &cluster),
        "CDS x: RingHashLbConfig.minimum_ring_size above 1048576: is not supported"
    );

    let rewrite = routes::RouteAction {
        path_rewrite: "/%PATH%".into(),
        ..Default::default()
    };
    let route = routes::Route {
        action: Some(routes::route::Action::Route(rewrite)),
        ..Default::default()
    };
    let table = routes::RouteConfiguration {
        name: "x".into(),
        virtual_hosts: vec![routes::VirtualHost {
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(
        reason(Kind::Routes, &table),
        "RDS x: RouteAction.path_rewrite: is not supported"
    );

    let matched = listeners::FilterChainMatch {
        address_suffix: "10.0.0.1".into(),
        ..Default::default()
    };
    let listener = listeners::Listener {
        name: "x".into(),
        traffic_direction: 2,
        address: proto::address("127.0.0.1:1".parse().unwrap()),
        filter_chains: vec![listeners::FilterChain {
            filter_chain_match: Some(matched),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(
        reason(Kind::Listener, &listener),
        "LDS x: FilterChainMatch.address_suffix: is not supported"
    );
}

fn route(name: &str, pattern: &str) -> snapshot::Route {
    snapshot::Route {
        name: name.into(),
        matches: snapshot::RouteMatch {
            path: Some(snapshot::route::StringMatch::Regex(pattern.into())),
            ..Default::default()
        },
        ..snapshot::Route::new(snapshot::Action::Respond(snapshot::route::DirectResponse {
            status: 200,
            body: String::new(),
        }))
    }
}

#[test]
fn a_route_with_a_bad_pattern_is_left_out_and_its_neighbours_are_not() {
    let table = RouteTable {
        match_ports: false,
        name: "x".into(),
        hosts: vec![snapshot::VirtualHost {
            name: "h".into(),
            without_attempt_count: false,
            domains: vec!["*".into()],
            routes: vec![route("bad", "a("), route("good", "a")],
        }],
    };
    let Ok(Resource::Routes(decoded)) = decode(Kind::Routes, "x", &encode_routes(&table)) else {
        panic!("the table is refused");
    };
    assert_eq!(decoded.hosts[0].routes, [route("good", "a")]);
}

#[test]
fn a_bad_pattern_of_others_is_refused_with_the_parsers_words() {
    let message = matching::to_proto(&route("bad", "a(").matches);
    let reason = matching::from_proto(message).unwrap_err();
    assert_eq!(reason.field, "RouteMatch.safe_regex");
    assert!(reason.problem.contains("unclosed group"), "{reason}");
}

#[test]
fn a_resource_under_another_name_is_refused() {
    let cluster = clusters::Cluster {
        name: "y".into(),
        ..Default::default()
    };
    assert_eq!(
        reason(Kind::Cluster, &cluster),
        "CDS x: name: is \"y\", not the resource's"
    );
}

#[test]
fn unlimited_is_the_largest_number_and_absence_is_envoys_default() {
    let message = circuit_breaker::to_proto(&snapshot::CircuitBreaker::default());
    assert_eq!(
        message.thresholds[0].max_connections,
        Some(UInt32Value { value: 4_294_967_295 })
    );
    let envoys = circuit_breaker::from_proto(None).unwrap();
    assert_eq!(
        (envoys.max_connections, envoys.max_retries),
        (Some(1024), Some(3))
    );
}

#[test]
fn no_timeout_is_zero_on_the_wire_and_absence_is_envoys_15_seconds() {
    assert_eq!(proto::limit(None), proto::duration(Duration::ZERO));
    let default = Duration::from_secs(15);
    assert_eq!(proto::to_limit(None, default, "f"), Ok(Some(default)));
    assert_eq!(proto::to_limit(proto::limit(None), default, "f"), Ok(None));
}

#[test]
fn envoy_is_spared_filters_that_only_our_proxy_has() {
    let names = |dialect| {
        let filters = filter::to_proto(&[snapshot::HttpFilter::Stats], dialect);
        filters.into_iter().map(|filter| filter.name).collect::<Vec<_>>()
    };
    let envoys = [fault::FILTER, cors::FILTER, "envoy.filters.http.router"];
    assert_eq!(names(Dialect::Envoy), envoys);
    let ours = ["amime.filters.http.stats"].into_iter().chain(envoys);
    assert!(names(Dialect::Amime).into_iter().eq(ours));
}
