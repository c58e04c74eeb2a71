//! The bootstrap of an Envoy, with Istio's node, ports and static pages: everything else comes by delta discovery.
//!
//! The shape is that of Istio's own bootstrap; the connection to the controller, which Istio's agent keeps there, is
//! Envoy's own here. Readiness is Envoy's: it is ready once it has its first clusters and listeners.

use std::net::SocketAddr;

use proxy::settings::Settings;
use serde_json::{Value, json};

const HTTP_OPTIONS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
/// The cluster of the controller, under the name that dashboards know.
const CONTROLLER: &str = "xds-grpc";
const ADMIN: &str = "prometheus_stats";

pub(super) fn bootstrap(settings: &Settings, token: &str) -> Value {
    let listen = &settings.listen;
    json!({
        "node": node(settings),
        "admin": {"address": socket(listen.admin)},
        "layered_runtime": {"layers": [{"name": "global config", "static_layer": {
            "overload.global_downstream_max_connections": "2147483647",
            "re2.max_program_size.error_level": "32768",
            "envoy.reloadable_features.http_reject_path_with_fragment": false,
        }}]},
        "dynamic_resources": {
            "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{
                    "envoy_grpc": {"cluster_name": CONTROLLER},
                    "initial_metadata": [{"key": "authorization", "value": format!("Bearer {token}")}],
                }],
            },
        },
        "static_resources": {
            "clusters": [controller(settings), admin(listen.admin)],
            "listeners": [
                page(listen.health, "health", "/healthz/ready", "/ready"),
                page(listen.metrics, "stats", "/stats/prometheus", "/stats/prometheus"),
            ],
        },
    })
}

fn node(settings: &Settings) -> Value {
    let introduction = proxy::introduction(&settings.node);
    let mut metadata = json!(introduction.metadata);
    metadata["LABELS"] = json!(introduction.labels);
    json!({
        "id": introduction.id,
        "cluster": format!("{}.{}", settings.node.workload().canonical_name, settings.node.namespace),
        "metadata": metadata,
    })
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn controller(settings: &Settings) -> Value {
    let discovery = &settings.discovery;
    let (host, port) = discovery
        .address
        .rsplit_once(':')
        .unwrap_or((&discovery.address, "15012"));
    let port: u16 = port.parse().unwrap_or(15012);
    json!({
        "name": CONTROLLER,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "respect_dns_ttl": true,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": CONTROLLER, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": host, "port_value": port}},
        }}]}]},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": TLS,
            "sni": host,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "validation_context": {
                    "trusted_ca": {"filename": discovery.root},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
                },
            },
        }},
    })
}

fn admin(address: SocketAddr) -> Value {
    json!({
        "name": ADMIN,
        "type": "STATIC",
        "connect_timeout": "0.250s",
        "load_assignment": {"cluster_name": ADMIN, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": socket(address),
        }}]}]},
    })
}

/// One of the admin's pages, for everybody.
fn page(address: SocketAddr, name: &str, path: &str, shows: &str) -> Value {
    json!({
        "name": name,
        "address": socket(address),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": MANAGER,
                "stat_prefix": name,
                "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [{
                    "match": {"path": path},
                    "route": {"cluster": ADMIN, "prefix_rewrite": shows},
                }]}]},
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
            },
        }]}],
    })
}
