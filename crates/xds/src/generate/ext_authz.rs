//! Services that decide about requests and connections.

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use snapshot::ext_authz::{
    AuthorizationService, CheckedBody, CheckedPath, ExtAuthz, GrpcService, HttpService, MetadataCondition,
    NamePattern, RouteExtAuthz, TcpExtAuthz,
};
use snapshot::local_rate_limit::ALL;
use snapshot::{HttpFilter, NetworkFilter};

use super::{header_field, limit, name};

pub(super) fn http_filter() -> impl Strategy<Value = HttpFilter> {
    let numbers = (0..=ALL, 100..600_u16, any::<u32>());
    let told = (
        of(names()),
        names(),
        vec("[a-z.]{1,9}", 0..2),
        of(body()),
        of(condition()),
    );
    (service(), numbers, any::<[bool; 7]>(), told, "[a-z]{0,5}")
        .prop_map(|(service, numbers, flags, told, stat_prefix)| ExtAuthz {
            service,
            share: numbers.0,
            status_on_error: numbers.1,
            longest_body: numbers.2,
            deny_unasked: flags[0],
            fail_open: flags[1],
            marks_failures: flags[2],
            routes_anew: flags[3],
            raw_headers: flags[4],
            ignores_metadata: flags[5],
            validates: flags[6],
            headers: told.0,
            withheld_headers: told.1,
            metadata: told.2,
            body: told.3,
            when: told.4,
            stat_prefix,
        })
        .prop_map(|filter| HttpFilter::ExtAuthz(Box::new(filter)))
        .boxed()
}

pub(super) fn network_filter() -> impl Strategy<Value = NetworkFilter> {
    (grpc(), of(condition()), any::<bool>(), "[a-z.]{1,5}").prop_map(
        |(service, when, fail_open, stat_prefix)| {
            NetworkFilter::ExtAuthz(Box::new(TcpExtAuthz {
                service,
                when,
                fail_open,
                stat_prefix,
            }))
        },
    )
}

pub(super) fn of_route() -> impl Strategy<Value = RouteExtAuthz> {
    let said = (
        btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..3),
        any::<bool>(),
        of(body()),
    );
    let said = said.prop_map(|(context, without_body, body)| RouteExtAuthz {
        disabled: false,
        context,
        without_body,
        body,
    });
    let disabled = RouteExtAuthz {
        disabled: true,
        ..RouteExtAuthz::default()
    };
    prop_oneof![Just(disabled), said]
}

fn service() -> impl Strategy<Value = AuthorizationService> {
    prop_oneof![
        grpc().prop_map(AuthorizationService::Grpc),
        http().prop_map(AuthorizationService::Http)
    ]
}

fn grpc() -> impl Strategy<Value = GrpcService> {
    (name(), "[a-z.]{0,9}", of(limit()), vec(header_field(), 0..2)).prop_map(
        |(cluster, authority, timeout, metadata)| GrpcService {
            cluster: cluster.into(),
            authority,
            timeout,
            metadata,
        },
    )
}

fn http() -> impl Strategy<Value = HttpService> {
    let path = prop_oneof![
        "(/[a-z]{1,5})?".prop_map(CheckedPath::Prefix),
        "/[a-z]{1,5}".prop_map(CheckedPath::Instead)
    ];
    let names = (names(), names(), names(), names(), names());
    let told = (of(limit()), path, vec(header_field(), 0..2));
    (name(), "http://[a-z]{1,9}", told, names).prop_map(|(cluster, uri, told, names)| HttpService {
        timeout: told.0,
        path: told.1,
        add: told.2,
        to_upstream: names.0,
        append_to_upstream: names.1,
        // An empty list and none are the same on the wire.
        to_client_on_deny: Some(names.2).filter(|names| !names.is_empty()),
        to_client_on_allow: names.3,
        to_metadata: names.4,
        ..HttpService::new(cluster.into(), uri)
    })
}

fn names() -> impl Strategy<Value = Vec<NamePattern>> {
    let text = || "[a-z-]{1,5}";
    let pattern = prop_oneof![
        text().prop_map(NamePattern::Exact),
        text().prop_map(NamePattern::Prefix),
        text().prop_map(NamePattern::Suffix),
        text().prop_map(NamePattern::Contains)
    ];
    vec(pattern, 0..3)
}

fn body() -> impl Strategy<Value = CheckedBody> {
    (1..=u32::MAX, any::<bool>(), any::<bool>()).prop_map(|(most, partial, as_bytes)| CheckedBody {
        most,
        partial,
        as_bytes,
    })
}

fn condition() -> impl Strategy<Value = MetadataCondition> {
    ("[a-z.]{1,9}", vec("[a-z_]{1,9}", 1..3), "[a-z-]{1,9}")
        .prop_map(|(filter, path, prefix)| MetadataCondition { filter, path, prefix })
}
