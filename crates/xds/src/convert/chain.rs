//! Chains ⇄ `FilterChain` with an HTTP connection manager or a TCP proxy in it.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_types::pb::google::protobuf::Any;
use hcm::HttpConnectionManager;
use hcm::http_connection_manager::{RouteSpecifier, UpgradeConfig};
use pb::filter::ConfigType;
use snapshot::{
    Chain, ChainMatch, Handler, HttpHandler, NetworkFilter, RouteSource, Subnet, TcpHandler, TcpTarget,
    TransportProtocol, Tunnel, WeightedCluster,
};
use tcp::tcp_proxy::weighted_cluster::ClusterWeight;
use tcp::tcp_proxy::{ClusterSpecifier, TunnelingConfig};

use super::proto::{
    aggregated, check_aggregated, duration, limit, number, pack, refuse, to_duration, to_limit, unpack,
};
use super::{
    Dialect, access_log, authorization, ext_authz, filter, hash, http_options, protocol, route, server_tls,
    timeouts,
};
use crate::rejected::Reason;

const HTTP: &str = "envoy.filters.network.http_connection_manager";
const TCP: &str = "envoy.filters.network.tcp_proxy";
/// Envoy's longest silence on a stream where none is stated.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const WEBSOCKET: &str = "websocket";
const RAW_BUFFER: &str = "raw_buffer";
const TLS: &str = "tls";

pub(super) fn to_proto(chain: &Chain, dialect: Dialect) -> pb::FilterChain {
    let (name, config) = match &chain.handler {
        Handler::Http(http) => (HTTP, pack(http_to_proto(http, dialect))),
        Handler::Tcp(handler) => (TCP, pack(tcp_to_proto(handler))),
    };
    let mut filters: Vec<_> = chain.filters.iter().map(network_to_proto).collect();
    filters.push(named(name, config));
    let matches = &chain.matches;
    pb::FilterChain {
        name: chain.name.clone(),
        filter_chain_match: (*matches != ChainMatch::default()).then(|| pb::FilterChainMatch {
            destination_port: matches.destination_port.map(u32::from).and_then(number),
            prefix_ranges: matches.destination_subnets.iter().map(range).collect(),
            server_names: matches.server_names.clone(),
            transport_protocol: matches.transport_protocol.map_or("", transport).to_owned(),
            application_protocols: matches.application_protocols.clone(),
            ..Default::default()
        }),
        filters,
        transport_socket: chain.tls.as_ref().map(server_tls::to_proto),
        transport_socket_connect_timeout: chain
            .tls
            .as_ref()
            .and_then(|tls| tls.handshake_timeout)
            .and_then(duration),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: pb::FilterChain) -> Result<Chain, Reason> {
    refuse!(message, "FilterChain", [use_proxy_proto]);
    let matches = match_from_proto(message.filter_chain_match.unwrap_or_default())?;
    let tls = server_tls::from_proto(message.transport_socket, message.transport_socket_connect_timeout)?;
    let (filters, handler) = filters_from_proto(message.filters)?;
    Ok(Chain {
        name: message.name,
        matches,
        tls,
        filters,
        handler,
    })
}

fn match_from_proto(message: pb::FilterChainMatch) -> Result<ChainMatch, Reason> {
    refuse!(
        message,
        "FilterChainMatch",
        [
            address_suffix,
            suffix_len,
            direct_source_prefix_ranges,
            source_type,
            source_prefix_ranges,
            source_ports,
        ]
    );
    let transport_protocol = match message.transport_protocol.as_str() {
        "" => None,
        RAW_BUFFER => Some(TransportProtocol::RawBuffer),
        TLS => Some(TransportProtocol::Tls),
        _ => return Err(Reason::unsupported("FilterChainMatch.transport_protocol")),
    };
    let subnets = message.prefix_ranges.iter().map(range_from_proto);
    let port = message
        .destination_port
        .map(|port| u16::try_from(port.value))
        .transpose();
    Ok(ChainMatch {
        destination_port: port.map_err(|_| Reason::new("FilterChainMatch.destination_port", "is no port"))?,
        destination_subnets: subnets.collect::<Result<_, _>>()?,
        server_names: message.server_names,
        transport_protocol,
        application_protocols: message.application_protocols,
    })
}

fn transport(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::RawBuffer => RAW_BUFFER,
        TransportProtocol::Tls => TLS,
    }
}

fn range(subnet: &Subnet) -> CidrRange {
    CidrRange {
        address_prefix: subnet.address().to_string(),
        prefix_len: number(subnet.length().into()),
    }
}

fn range_from_proto(range: &CidrRange) -> Result<Subnet, Reason> {
    let wrong = || Reason::new("FilterChainMatch.prefix_ranges", "is no network");
    let address = range.address_prefix.parse().map_err(|_| wrong())?;
    // Left out, it is zero.
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    u8::try_from(length)
        .ok()
        .and_then(|length| Subnet::new(address, length))
        .ok_or_else(wrong)
}

fn named(name: &str, config: Any) -> pb::Filter {
    pb::Filter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
    }
}

fn network_to_proto(filter: &NetworkFilter) -> pb::Filter {
    match filter {
        NetworkFilter::Authorization(filter) => named(
            authorization::NETWORK_FILTER,
            pack(authorization::network_to_proto(filter)),
        ),
        NetworkFilter::ExtAuthz(filter) => named(
            ext_authz::NETWORK_FILTER,
            pack(ext_authz::network_to_proto(filter)),
        ),
    }
}

/// The last filter handles the connection. Those before it decide about it, or are Istio's bookkeeping.
fn filters_from_proto(mut messages: Vec<pb::Filter>) -> Result<(Vec<NetworkFilter>, Handler), Reason> {
    let last = messages
        .pop()
        .ok_or_else(|| Reason::missing("FilterChain.filters"))?;
    let filters: Vec<_> = messages
        .iter()
        .filter_map(|message| network_from_proto(message).transpose())
        .collect::<Result<_, _>>()?;
    let handler = handler_from_proto(last)?;
    Ok((filters, handler))
}

fn network_from_proto(message: &pb::Filter) -> Result<Option<NetworkFilter>, Reason> {
    match (message.name.as_str(), &message.config_type) {
        ("istio.stats" | "istio.metadata_exchange" | "envoy.filters.network.metadata_exchange", _) => {
            Ok(None)
        }
        (authorization::NETWORK_FILTER, Some(ConfigType::TypedConfig(any))) => {
            let filter = authorization::network_from_proto(unpack(any, "Filter.typed_config")?)?;
            Ok(Some(NetworkFilter::Authorization(Arc::new(filter))))
        }
        (authorization::NETWORK_FILTER, _) => Err(Reason::missing("Filter.typed_config")),
        (ext_authz::NETWORK_FILTER, Some(ConfigType::TypedConfig(any))) => {
            let filter = ext_authz::network_from_proto(unpack(any, "Filter.typed_config")?)?;
            Ok(Some(NetworkFilter::ExtAuthz(Box::new(filter))))
        }
        (ext_authz::NETWORK_FILTER, _) => Err(Reason::missing("Filter.typed_config")),
        (other, _) => Err(Reason::unsupported(format!("FilterChain.filters {other:?}"))),
    }
}

fn handler_from_proto(last: pb::Filter) -> Result<Handler, Reason> {
    let Some(ConfigType::TypedConfig(any)) = last.config_type else {
        return Err(Reason::missing("Filter.typed_config"));
    };
    match last.name.as_str() {
        HTTP => Ok(Handler::Http(http_from_proto(unpack(
            &any,
            "Filter.typed_config",
        )?)?)),
        TCP => Ok(Handler::Tcp(tcp_from_proto(unpack(
            &any,
            "Filter.typed_config",
        )?)?)),
        other => Err(Reason::unsupported(format!("FilterChain.filters {other:?}"))),
    }
}

pub(super) fn http_to_proto(handler: &HttpHandler, dialect: Dialect) -> HttpConnectionManager {
    let routes = match &handler.routes {
        RouteSource::Named(name) => RouteSpecifier::Rds(hcm::Rds {
            config_source: aggregated(),
            route_config_name: name.to_string(),
        }),
        RouteSource::Inline(table) => RouteSpecifier::RouteConfig(route::to_proto(table)),
    };
    let mut message = HttpConnectionManager {
        stat_prefix: handler.stat_prefix.clone(),
        route_specifier: Some(routes),
        http_filters: filter::to_proto(&handler.filters, dialect),
        server_name: handler.server_name.clone(),
        stream_idle_timeout: limit(handler.stream_idle_timeout),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: WEBSOCKET.into(),
            ..Default::default()
        }],
        // Istio leaves the answer to `expect: 100-continue` to the workload.
        proxy_100_continue: true,
        access_log: access_log::to_proto(&handler.access_log),
        ..Default::default()
    };
    timeouts::to_proto(&handler.timeouts, &mut message);
    http_options::to_proto(&handler.options, &mut message);
    message
}

fn http_from_proto(message: HttpConnectionManager) -> Result<HttpHandler, Reason> {
    check_unsupported(&message)?;
    let timeouts = timeouts::from_proto(&message)?;
    let options = http_options::from_proto(&message)?;
    let routes = match message.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            check_aggregated(rds.config_source, "Rds.config_source")?;
            RouteSource::Named(rds.route_config_name.into())
        }
        Some(RouteSpecifier::RouteConfig(table)) => RouteSource::Inline(Arc::new(route::from_proto(table)?)),
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            return Err(Reason::unsupported("HttpConnectionManager.scoped_routes"));
        }
        None => return Err(Reason::missing("HttpConnectionManager.route_specifier")),
    };
    Ok(HttpHandler {
        stat_prefix: message.stat_prefix,
        routes,
        filters: filter::from_proto(message.http_filters)?,
        server_name: match message.server_name.is_empty() {
            true => "envoy".into(),
            false => message.server_name,
        },
        stream_idle_timeout: to_limit(
            message.stream_idle_timeout,
            STREAM_IDLE_TIMEOUT,
            "HttpConnectionManager.stream_idle_timeout",
        )?,
        timeouts,
        access_log: access_log::from_proto(message.access_log)?,
        options,
    })
}

/// Tracing and statistics are let through: they change what is written down, not what happens.
fn check_unsupported(message: &HttpConnectionManager) -> Result<(), Reason> {
    refuse!(
        message,
        "HttpConnectionManager",
        [
            codec_type,
            add_user_agent,
            scheme_header_transformation,
            max_request_headers_kb,
            original_ip_detection_extensions,
            early_header_mutation_extensions,
            via,
            forward_client_cert_matcher,
            request_id_extension,
            local_reply_config,
            strip_matching_host_port,
            strip_port_mode,
            path_normalization_options,
            strip_trailing_host_dot,
            proxy_status_config,
            append_x_forwarded_port,
            append_local_overload,
            forward_proto_config,
        ]
    );
    protocol::check(message)?;
    let upgrade = message
        .upgrade_configs
        .iter()
        .find(|upgrade| upgrade.upgrade_type != WEBSOCKET);
    if let Some(upgrade) = upgrade {
        let field = format!("HttpConnectionManager.upgrade_configs {:?}", upgrade.upgrade_type);
        return Err(Reason::unsupported(field));
    }
    Ok(())
}

fn tcp_to_proto(handler: &TcpHandler) -> tcp::TcpProxy {
    tcp::TcpProxy {
        stat_prefix: handler.stat_prefix.clone(),
        cluster_specifier: Some(target_to_proto(&handler.target)),
        idle_timeout: handler.idle_timeout.and_then(duration),
        hash_policy: hash::source_address_to_proto(handler.hash_source_address),
        max_downstream_connection_duration: handler.max_connection_duration.and_then(duration),
        max_connect_attempts: handler.max_connect_attempts.and_then(number),
        tunneling_config: handler.tunnel.as_ref().map(|tunnel| TunnelingConfig {
            hostname: tunnel.target.clone(),
            use_post: tunnel.post,
            ..Default::default()
        }),
        access_log: access_log::to_proto(&handler.access_log),
        ..Default::default()
    }
}

fn target_to_proto(target: &TcpTarget) -> ClusterSpecifier {
    match target {
        TcpTarget::Cluster(name) => ClusterSpecifier::Cluster(name.to_string()),
        TcpTarget::Clusters(targets) => {
            let clusters = targets.iter().map(|target| ClusterWeight {
                name: target.cluster.to_string(),
                weight: target.weight,
                ..Default::default()
            });
            ClusterSpecifier::WeightedClusters(tcp::tcp_proxy::WeightedCluster {
                clusters: clusters.collect(),
            })
        }
    }
}

fn target_from_proto(specifier: Option<ClusterSpecifier>) -> Result<TcpTarget, Reason> {
    let clusters = match specifier {
        Some(ClusterSpecifier::Cluster(name)) => return Ok(TcpTarget::Cluster(name.into())),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted.clusters,
        None => return Err(Reason::missing("TcpProxy.cluster")),
    };
    let clusters = clusters.into_iter().map(|target| {
        refuse!(target, "ClusterWeight", [metadata_match]);
        Ok(WeightedCluster {
            cluster: target.name.into(),
            weight: target.weight,
        })
    });
    Ok(TcpTarget::Clusters(clusters.collect::<Result<_, _>>()?))
}

fn tunnel_from_proto(message: TunnelingConfig) -> Result<Tunnel, Reason> {
    refuse!(
        message,
        "TunnelingConfig",
        [
            headers_to_add,
            propagate_response_headers,
            post_path,
            propagate_response_trailers
        ]
    );
    Ok(Tunnel {
        target: message.hostname,
        post: message.use_post,
    })
}

fn tcp_from_proto(message: tcp::TcpProxy) -> Result<TcpHandler, Reason> {
    refuse!(
        message,
        "TcpProxy",
        [
            on_demand,
            metadata_match,
            downstream_idle_timeout,
            upstream_idle_timeout,
            backoff_options,
            proxy_protocol_tlvs,
            upstream_connect_mode,
            access_log_options,
            flush_access_log_on_connected,
        ]
    );
    Ok(TcpHandler {
        stat_prefix: message.stat_prefix,
        target: target_from_proto(message.cluster_specifier)?,
        max_connect_attempts: message.max_connect_attempts.map(|attempts| attempts.value),
        tunnel: message.tunneling_config.map(tunnel_from_proto).transpose()?,
        idle_timeout: message
            .idle_timeout
            .map(|value| to_duration(value, "TcpProxy.idle_timeout"))
            .transpose()?,
        hash_source_address: hash::source_address_from_proto(&message.hash_policy)?,
        max_connection_duration: message
            .max_downstream_connection_duration
            .map(|value| to_duration(value, "TcpProxy.max_downstream_connection_duration"))
            .transpose()?,
        access_log: access_log::from_proto(message.access_log)?,
    })
}
