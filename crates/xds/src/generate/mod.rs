//! Arbitrary snapshot data for the tests of this crate. Only what has one canonical form on the wire: a limit of
//! zero means none, `/` as a prefix means any path, the largest number means unlimited.

mod access_log;
mod authorization;
mod ext_authz;
mod jwt;
mod load_balancing;
mod local_rate_limit;
mod outlier_detection;
mod rate_limit;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use snapshot::HttpOptions;
use snapshot::cluster::{ServiceRef, UpstreamHttp};
use snapshot::endpoint::Workload;
use snapshot::fault::{Abort, AbortStatus, Delay};
use snapshot::http_options::{Edge, ServerHeader};
use snapshot::load_balancing::HashCookie;
use snapshot::route::{
    DirectResponse, Forward, HeaderMatch, PathRewrite, QueryMatch, Redirect, RedirectPath, StringMatch,
};
use snapshot::*;

use access_log::access_log;
use authorization::{authorization, network_filter};
use load_balancing::balancing;
use local_rate_limit::local_rate_limit;
use outlier_detection::outlier_detection;
use rate_limit::rate_limit;
use tls::{client_certificate, server_tls, ways};

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9|.:_-]{1,24}"
}

fn limit() -> impl Strategy<Value = Duration> {
    (0..100_000u64, 1..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn count() -> impl Strategy<Value = Option<u32>> {
    of(0..u32::MAX)
}

fn origin() -> impl Strategy<Value = Origin> {
    (name(), "[a-z.\\[\\]0-9]{0,12}").prop_map(|(resource, field)| Origin {
        resource: resource.into(),
        field: field.into(),
    })
}

fn text() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        "[a-z/]{0,9}".prop_map(StringMatch::Exact),
        "/[a-z]{1,9}".prop_map(StringMatch::Prefix),
        "[a-z]{1,5}(\\.\\*)?".prop_map(StringMatch::Regex),
    ]
}

fn matches() -> impl Strategy<Value = RouteMatch> {
    let header = (name(), of(text()), any::<bool>()).prop_map(|(name, value, invert)| HeaderMatch {
        name,
        value,
        invert,
    });
    let query = (name(), of(text())).prop_map(|(name, value)| QueryMatch { name, value });
    (of(text()), any::<bool>(), vec(header, 0..3), vec(query, 0..3)).prop_map(
        |(path, ignore_path_case, headers, query)| RouteMatch {
            path,
            ignore_path_case,
            headers,
            query,
        },
    )
}

fn retry() -> impl Strategy<Value = Retry> {
    (
        0..9u32,
        vec("[a-z-]{1,12}", 0..4),
        vec(100..600u16, 0..3),
        of(limit()),
        any::<(bool, bool)>(),
        prop_oneof![Just(BackOff::default()), back_off()],
    )
        .prop_map(
            |(
                attempts,
                on,
                status_codes,
                per_try_timeout,
                (avoid_previous_hosts, remote_localities),
                back_off,
            )| Retry {
                attempts,
                on,
                status_codes,
                per_try_timeout,
                avoid_previous_hosts,
                remote_localities,
                back_off,
            },
        )
}

fn back_off() -> impl Strategy<Value = BackOff> {
    (1..9_999u64, 0..9_999u64).prop_map(|(base, more)| BackOff {
        base: Duration::from_millis(base),
        longest: Duration::from_millis(base + more),
    })
}

fn share() -> impl Strategy<Value = Share> {
    (0..=1_000_000u32).prop_map(Share)
}

fn fault() -> impl Strategy<Value = Fault> {
    let delay = (limit(), share()).prop_map(|(duration, share)| Delay { duration, share });
    let status = prop_oneof![
        (200..600u16).prop_map(AbortStatus::Http),
        (0..17u32).prop_map(AbortStatus::Grpc),
    ];
    let abort = (status, share()).prop_map(|(status, share)| Abort { status, share });
    (of(delay), of(abort)).prop_map(|(delay, abort)| Fault { delay, abort })
}

fn cors() -> impl Strategy<Value = Cors> {
    let list = || "[a-z,]{0,9}";
    let lists = (list(), list(), list(), "[0-9]{0,4}");
    (vec(text(), 0..3), lists, any::<(bool, bool)>()).prop_map(
        |(allow_origins, (allow_methods, allow_headers, expose_headers, max_age), flags)| Cors {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
            allow_credentials: flags.0,
            answer_unmatched_preflights: flags.1,
        },
    )
}

fn mirror() -> impl Strategy<Value = Mirror> {
    (name(), share(), any::<bool>()).prop_map(|(cluster, share, shadow_suffix)| Mirror {
        cluster: cluster.into(),
        share,
        shadow_suffix,
    })
}

fn header_field() -> impl Strategy<Value = HeaderField> {
    let value = prop_oneof!["[a-z ]{1,9}", Just("%PROTOCOL% of %REQ(a?b):9% 100%%".to_owned()),];
    ("x-[a-z0-9]{0,9}", value).prop_map(|(name, value)| HeaderField::new(&name, &value).unwrap())
}

fn header_operations() -> impl Strategy<Value = HeaderOperations> {
    let fields = vec(header_field(), 0..2).boxed();
    let depending = (fields.clone(), fields.clone());
    (vec(name(), 0..2), fields.clone(), fields, depending).prop_map(|(remove, set, add, depending)| {
        HeaderOperations {
            remove,
            set,
            add,
            add_if_absent: depending.0,
            overwrite: depending.1,
        }
    })
}

fn path_rewrite() -> impl Strategy<Value = PathRewrite> {
    let regex = ("[a-z]{1,5}", "[a-z]{0,5}").prop_map(|(pattern, substitution)| PathRewrite::Regex {
        pattern,
        substitution,
    });
    prop_oneof!["/[a-z]{0,5}".prop_map(PathRewrite::Matched), regex]
}

fn redirect() -> impl Strategy<Value = Redirect> {
    let path = prop_oneof![
        "/[a-z]{0,5}".prop_map(RedirectPath::Replace),
        path_rewrite().prop_map(RedirectPath::Rewrite),
    ];
    let status = proptest::sample::select(vec![301, 302, 303, 307, 308]);
    (
        status,
        of(name()),
        of(name()),
        of(1..u16::MAX),
        of(path),
        any::<bool>(),
    )
        .prop_map(|(status, scheme, host, port, path, strip_query)| Redirect {
            strip_query,
            status,
            scheme,
            host,
            port,
            path,
        })
}

fn weighted() -> impl Strategy<Value = Weighted> {
    let operations = (header_operations(), header_operations());
    (name(), 0..101u32, operations, of(name())).prop_map(
        |(cluster, weight, (request_headers, response_headers), authority_rewrite)| Weighted {
            request_headers,
            response_headers,
            authority_rewrite,
            ..Weighted::new(cluster.into(), weight)
        },
    )
}

fn hash() -> impl Strategy<Value = HashPolicy> {
    let attributes = vec((name(), "[a-z]{0,5}"), 0..3);
    let cookie =
        (name(), of(limit()), "(/[a-z]{1,5})?", attributes).prop_map(|(name, ttl, path, attributes)| {
            HashCookie {
                name,
                ttl,
                path,
                attributes,
            }
        });
    let key = prop_oneof![
        name().prop_map(HashKey::Header),
        cookie.prop_map(HashKey::Cookie),
        Just(HashKey::SourceAddress),
        name().prop_map(HashKey::QueryParameter),
    ];
    (key, any::<bool>()).prop_map(|(key, terminal)| HashPolicy { key, terminal })
}

fn action() -> impl Strategy<Value = Action> {
    let rewrites = (of(path_rewrite()), of(name()));
    let forward = (
        vec(weighted(), 1..4),
        route_timeouts(),
        of(retry()),
        rewrites,
        vec(hash(), 0..3),
        vec(mirror(), 0..2),
    )
        .prop_map(|(clusters, timeouts, retry, rewrites, hash, mirrors)| {
            let (timeout, grpc_timeout, idle_timeout, max_stream_duration) = timeouts;
            Action::Forward(Forward {
                hash,
                timeout,
                grpc_timeout,
                idle_timeout,
                max_stream_duration,
                retry,
                path_rewrite: rewrites.0,
                authority_rewrite: rewrites.1,
                mirrors,
                ..Forward::to(clusters)
            })
        });
    let respond = (200..600u16, "[a-z ]{0,9}")
        .prop_map(|(status, body)| Action::Respond(DirectResponse { status, body }));
    prop_oneof![forward, respond, redirect().prop_map(Action::Redirect)]
}

pub(crate) fn route_table() -> impl Strategy<Value = RouteTable> {
    let operations = (header_operations(), header_operations());
    let said = (
        of(fault()),
        of(cors()),
        of(local_rate_limit()),
        of(ext_authz::of_route()),
        "[a-z]{0,5}",
    );
    let route = (name(), matches(), action(), operations, said, of(origin()))
        .prop_map(
            |(
                name,
                matches,
                action,
                (request_headers, response_headers),
                (fault, cors, local_rate_limit, ext_authz, stat_prefix),
                origin,
            )| {
                Route {
                    name,
                    matches,
                    request_headers,
                    response_headers,
                    stat_prefix,
                    fault,
                    cors,
                    local_rate_limit,
                    ext_authz: ext_authz.map(Box::new),
                    origin,
                    ..Route::new(action)
                }
            },
        )
        .boxed();
    let domains = vec("[a-z.*]{1,9}", 1..4);
    let host = (name(), domains, vec(route, 0..4), any::<bool>()).prop_map(
        |(name, domains, routes, without_attempt_count)| VirtualHost {
            name,
            domains,
            without_attempt_count,
            routes,
        },
    );
    (name(), vec(host, 0..4)).prop_map(|(name, hosts)| RouteTable {
        name: name.into(),
        match_ports: false,
        hosts,
    })
}

fn http_options() -> BoxedStrategy<HttpOptions> {
    let server = prop_oneof![
        Just(ServerHeader::Overwrite),
        Just(ServerHeader::AppendIfAbsent),
        Just(ServerHeader::PassThrough)
    ];
    let edge = of((0..5_u32, any::<bool>()));
    let told = (server, client_certificate());
    (any::<[bool; 5]>(), edge, of(1..=u32::MAX), told)
        .prop_map(
            |([raw_paths, merge_slashes, no_id, keep_id, answer_id], edge, max_streams, told)| HttpOptions {
                raw_paths,
                merge_slashes,
                without_request_id: no_id,
                keep_external_request_id: keep_id,
                answer_request_id: answer_id,
                edge: edge.map(|(trusted_hops, without_append)| Edge {
                    trusted_hops,
                    without_append,
                }),
                max_streams,
                server_header: told.0,
                client_certificate: told.1,
            },
        )
        .boxed()
}

fn handler() -> impl Strategy<Value = Handler> {
    let routes = prop_oneof![
        name().prop_map(|name| RouteSource::Named(name.into())),
        route_table().prop_map(|table| RouteSource::Inline(Arc::new(table))),
    ];
    let filter = prop_oneof![
        Just(HttpFilter::Stats),
        Just(HttpFilter::GrpcWeb),
        of(local_rate_limit().prop_map(Box::new)).prop_map(HttpFilter::LocalRateLimit),
        authorization().prop_map(|filter| HttpFilter::Authorization(Arc::new(filter))),
        ext_authz::http_filter(),
        jwt::jwt().prop_map(|jwt| HttpFilter::Jwt(Arc::new(jwt))),
        rate_limit().prop_map(|policy| HttpFilter::RateLimit(Box::new(policy))),
    ];
    let http = (
        name(),
        routes,
        vec(filter, 0..2),
        name(),
        of(limit()),
        (timeouts(), access_log(), http_options()),
    )
        .prop_map(
            |(
                stat_prefix,
                routes,
                filters,
                server_name,
                stream_idle_timeout,
                (timeouts, access_log, options),
            )| {
                Handler::Http(HttpHandler {
                    stat_prefix,
                    routes,
                    filters,
                    server_name,
                    stream_idle_timeout,
                    timeouts,
                    access_log,
                    options,
                })
            },
        );
    // Boxed, or the stack of a test would not hold all of it.
    prop_oneof![http.boxed(), tcp_handler().prop_map(Handler::Tcp).boxed()]
}

fn tcp_handler() -> impl Strategy<Value = TcpHandler> {
    let weighted = (name(), 1..101u32).prop_map(|(cluster, weight)| WeightedCluster {
        cluster: cluster.into(),
        weight,
    });
    let target = prop_oneof![
        name().prop_map(|cluster| TcpTarget::Cluster(cluster.into())),
        vec(weighted, 1..4).prop_map(TcpTarget::Clusters),
    ];
    let tunnel = (name(), any::<bool>()).prop_map(|(target, post)| Tunnel { target, post });
    (
        name(),
        target,
        (of(limit()), of(limit())),
        of(1..9u32),
        of(tunnel),
        (any::<bool>(), access_log()),
    )
        .prop_map(
            |(
                stat_prefix,
                target,
                limits,
                max_connect_attempts,
                tunnel,
                (hash_source_address, access_log),
            )| TcpHandler {
                hash_source_address,
                access_log,
                idle_timeout: limits.0,
                max_connection_duration: limits.1,
                max_connect_attempts,
                tunnel,
                ..TcpHandler::new(stat_prefix, target)
            },
        )
}

fn chain() -> impl Strategy<Value = Chain> {
    let protocols = vec(prop_oneof!["http/1.1", "h2c"], 0..3);
    let subnet = (any::<IpAddr>(), 0..=32u8)
        .prop_map(|(address, length)| Subnet::new(address, length).expect("short enough for both"));
    let transport = prop_oneof![
        Just(None),
        Just(Some(TransportProtocol::RawBuffer)),
        Just(Some(TransportProtocol::Tls))
    ];
    let of_tls = (vec(subnet, 0..3), vec(name(), 0..3), transport);
    (
        name(),
        of(any::<u16>()),
        of_tls,
        protocols,
        of(server_tls()),
        (
            vec(prop_oneof![network_filter(), ext_authz::network_filter()], 0..3),
            handler(),
        ),
    )
        .prop_map(
            |(name, destination_port, of_tls, application_protocols, tls, (filters, handler))| Chain {
                name,
                matches: ChainMatch {
                    destination_port,
                    destination_subnets: of_tls.0,
                    server_names: of_tls.1,
                    transport_protocol: of_tls.2,
                    application_protocols,
                },
                tls,
                filters,
                handler,
            },
        )
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address, port))
}

pub(crate) fn listener() -> impl Strategy<Value = Listener> {
    let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let flags = any::<(bool, bool, bool, bool, bool)>();
    (
        name(),
        address(),
        flags,
        direction,
        vec(chain(), 0..3),
        of(chain()),
        access_log(),
    )
        .prop_map(
            |(
                name,
                address,
                (bind, direct, use_original_destination, detect_http, detect_tls),
                direction,
                chains,
                default_chain,
                access_log,
            )| Listener {
                name: name.into(),
                address,
                bind,
                // What is captured says so by what restores its destination.
                direct: direct && bind && !use_original_destination,
                use_original_destination,
                direction,
                detect_http,
                detect_tls,
                chains,
                default_chain,
                access_log,
            },
        )
}

fn circuit_breaker() -> impl Strategy<Value = CircuitBreaker> {
    let budget =
        (0.0..100.0, any::<u32>(), of(limit())).prop_map(|(percent, min_retry_concurrency, interval)| {
            RetryBudget {
                percent,
                min_retry_concurrency,
                interval,
            }
        });
    let (counts, limits) = (
        (count(), count(), count(), count(), count()),
        (of(limit()), of(limit())),
    );
    (counts, limits, of(budget)).prop_map(
        |(
            (connections, pending, requests, retries, per_connection),
            (idle_timeout, max_connection_duration),
            retry_budget,
        )| CircuitBreaker {
            max_connections: connections,
            max_pending_requests: pending,
            max_requests: requests,
            max_retries: retries,
            max_requests_per_connection: per_connection,
            idle_timeout,
            retry_budget,
            max_connection_duration,
        },
    )
}

pub(crate) fn cluster() -> impl Strategy<Value = Cluster> {
    let plain = prop_oneof![
        Just(LoadBalancing::LeastRequest),
        Just(LoadBalancing::Random),
        Just(LoadBalancing::RoundRobin)
    ];
    let by_name = balancing().prop_map(|balancing| (Discovery::Endpoints, balancing));
    let by_nobody = plain.prop_map(|policy| (Discovery::Nobody, policy.into()));
    let discovery = prop_oneof![
        by_name,
        by_nobody,
        Just((Discovery::OriginalDestination, LoadBalancing::default().into())),
    ];
    let http = prop_oneof![
        Just((UpstreamHttp::Http1, Http2Options::default())),
        http2_options().prop_map(|options| (UpstreamHttp::Http2, options)),
        http2_options().prop_map(|options| (UpstreamHttp::Downstream, options)),
    ];
    let service = (name(), name(), name()).prop_map(|(host, name, namespace)| ServiceRef {
        host,
        name,
        namespace,
    });
    let facts = (
        of(any::<IpAddr>()),
        of(service),
        of(origin()),
        of(outlier_detection()),
        of(tcp_keepalive()),
    );
    let proxy_protocol = prop_oneof![Just(ProxyProtocol::V1), Just(ProxyProtocol::V2)];
    let transport = (ways(), of(proxy_protocol));
    (
        name(),
        discovery,
        http,
        limit(),
        circuit_breaker(),
        facts,
        transport,
    )
        .prop_map(
            |(
                name,
                (discovery, balancing),
                (http, http2),
                connect_timeout,
                circuit_breaker,
                facts,
                transport,
            )| Cluster {
                name: name.into(),
                discovery,
                load_balancing: balancing.policy,
                slow_start: balancing.slow_start,
                locality: balancing.locality,
                panic_percent: balancing.panic_percent,
                outlier_detection: facts.3,
                http,
                connect_timeout,
                circuit_breaker,
                tcp_keepalive: facts.4,
                http2,
                source_address: facts.0,
                tls: transport.0.0,
                auto_tls: transport.0.1,
                proxy_protocol: transport.1,
                service: facts.1,
                origin: facts.2,
            },
        )
}

fn workload() -> impl Strategy<Value = Workload> {
    let part = || "[a-z0-9-]{0,9}";
    (part(), part(), part(), part(), part()).prop_map(
        |(name, namespace, canonical_name, canonical_revision, cluster)| Workload {
            name,
            namespace,
            canonical_name,
            canonical_revision,
            cluster,
        },
    )
}

pub(crate) fn endpoints() -> impl Strategy<Value = Endpoints> {
    let health = prop_oneof![
        Just(Health::Healthy),
        Just(Health::Draining),
        Just(Health::Unhealthy)
    ];
    let endpoint = (address(), 1..u32::MAX, health, workload(), any::<bool>()).prop_map(
        |(address, weight, health, workload, mutual)| Endpoint {
            address,
            weight,
            health,
            workload,
            mutual,
        },
    );
    let locality = (name(), name(), name()).prop_map(|(region, zone, sub_zone)| Locality {
        region,
        zone,
        sub_zone,
    });
    let group = (locality, 0..9u32, any::<u32>(), vec(endpoint, 0..4)).prop_map(
        |(locality, priority, weight, endpoints)| LocalityEndpoints {
            locality,
            priority,
            weight,
            endpoints,
        },
    );
    (name(), vec(group, 0..3)).prop_map(|(cluster, localities)| Endpoints {
        cluster: cluster.into(),
        localities,
    })
}

fn timeouts() -> impl Strategy<Value = HttpTimeouts> {
    let limits = (of(limit()), of(limit()), of(limit()), of(limit()), of(limit()));
    limits.prop_map(|(idle, connection, stream, request, request_head)| HttpTimeouts {
        idle,
        connection,
        stream,
        request,
        request_head,
    })
}

/// Timeout, deadline of gRPC callers, silence and life of a stream.
type RouteTimeouts = (Option<Duration>, GrpcTimeout, Option<Duration>, Option<Duration>);

fn route_timeouts() -> impl Strategy<Value = RouteTimeouts> {
    let grpc = prop_oneof![
        Just(GrpcTimeout::WithinTimeout),
        limit().prop_map(GrpcTimeout::Within),
        limit().prop_map(GrpcTimeout::OfStream),
        Just(GrpcTimeout::Ignored),
    ];
    (of(limit()), grpc, of(limit()), of(limit()))
}

fn tcp_keepalive() -> impl Strategy<Value = TcpKeepalive> {
    (count(), count(), count()).prop_map(|(probes, time, interval)| TcpKeepalive {
        probes,
        time,
        interval,
    })
}

fn http2_options() -> impl Strategy<Value = Http2Options> {
    let keepalive =
        (of(limit()), limit()).prop_map(|(interval, timeout)| Http2Keepalive { interval, timeout });
    (count(), of(keepalive)).prop_map(|(max_concurrent_streams, keepalive)| Http2Options {
        max_concurrent_streams,
        keepalive,
    })
}
