//! Clusters ⇄ `config.cluster.v3.Cluster`.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::BindConfig;
use pb::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy};
use snapshot::{Cluster, ClusterName, Discovery, LoadBalancing};

use super::proto::{
    aggregated, check_aggregated, duration, refuse, socket_address, to_duration, to_socket_address,
};
use super::{circuit_breaker, connection_pool, http, load_balancing, metadata, outlier_detection, tls};
use crate::rejected::Reason;

/// Envoy's limit where none is stated.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn to_proto(cluster: &Cluster) -> pb::Cluster {
    let (kind, policy) = match cluster.discovery {
        Discovery::Endpoints => (
            DiscoveryType::Eds,
            load_balancing::to_proto(cluster.load_balancing),
        ),
        Discovery::OriginalDestination => (DiscoveryType::OriginalDst, LbPolicy::ClusterProvided),
        Discovery::Nobody => (
            DiscoveryType::Static,
            load_balancing::to_proto(cluster.load_balancing),
        ),
    };
    let by_name = cluster.discovery == Discovery::Endpoints;
    pb::Cluster {
        name: cluster.name.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        eds_cluster_config: by_name.then(|| EdsClusterConfig {
            eds_config: aggregated(),
            service_name: cluster.name.to_string(),
        }),
        lb_policy: policy.into(),
        lb_config: by_name.then(|| load_balancing::details(cluster)).flatten(),
        common_lb_config: by_name.then(|| load_balancing::options(cluster)),
        outlier_detection: cluster
            .outlier_detection
            .as_ref()
            .map(outlier_detection::to_proto),
        connect_timeout: duration(cluster.connect_timeout),
        circuit_breakers: Some(circuit_breaker::to_proto(&cluster.circuit_breaker)),
        typed_extension_protocol_options: outlier_detection::with_error_statuses(
            http::to_proto(cluster),
            cluster.outlier_detection.as_ref(),
        ),
        upstream_connection_options: cluster.tcp_keepalive.map(connection_pool::keepalive_to_proto),
        transport_socket: tls::to_proto(cluster),
        transport_socket_matches: tls::matches_to_proto(cluster),
        upstream_bind_config: cluster.source_address.map(|address| BindConfig {
            source_address: Some(socket_address(address, 0)),
            ..Default::default()
        }),
        metadata: metadata::of(cluster.origin.as_ref(), cluster.service.as_ref()),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: pb::Cluster) -> Result<Cluster, Reason> {
    check_unsupported(&message)?;
    let (locality, panic_percent) = load_balancing::options_from_proto(message.common_lb_config.as_ref())?;
    let name = ClusterName::from(message.name.as_str());
    let discovery = discovery_from_proto(&message)?;
    let (load_balancing, slow_start) = match discovery {
        // There is nothing to choose from.
        Discovery::OriginalDestination => (LoadBalancing::default(), None),
        Discovery::Endpoints | Discovery::Nobody => {
            load_balancing::from_proto(message.lb_policy, message.lb_config.as_ref())?
        }
    };
    let outlier_detection = outlier_detection::from_proto(
        message.outlier_detection,
        &message.typed_extension_protocol_options,
    )?;
    let mut circuit_breaker = circuit_breaker::from_proto(message.circuit_breakers)?;
    let (http, http2) = http::from_proto(&message.typed_extension_protocol_options, &mut circuit_breaker)?;
    let transport = tls::from_proto(
        message.transport_socket,
        &message.transport_socket_matches,
        &message.typed_extension_protocol_options,
    )?;
    let tcp_keepalive = connection_pool::keepalive_from_proto(message.upstream_connection_options)?;
    let connect_timeout = message.connect_timeout.map_or(Ok(CONNECT_TIMEOUT), |value| {
        to_duration(value, "Cluster.connect_timeout")
    })?;
    let source_address = match message.upstream_bind_config {
        None => None,
        Some(bind) => bind_from_proto(&bind)?,
    };
    Ok(Cluster {
        name,
        discovery,
        load_balancing,
        slow_start,
        locality,
        // Only who chooses by health can panic.
        panic_percent: if discovery == Discovery::Endpoints {
            panic_percent
        } else {
            0
        },
        outlier_detection,
        http,
        connect_timeout,
        circuit_breaker,
        tcp_keepalive,
        http2,
        source_address,
        tls: transport.tls,
        auto_tls: transport.auto_tls,
        proxy_protocol: transport.proxy_protocol,
        service: metadata::service(message.metadata.as_ref()),
        origin: metadata::origin(message.metadata.as_ref()),
    })
}

fn bind_from_proto(bind: &BindConfig) -> Result<Option<std::net::IpAddr>, Reason> {
    refuse!(
        bind,
        "BindConfig",
        [
            freebind,
            socket_options,
            extra_source_addresses,
            additional_source_addresses,
            local_address_selector
        ]
    );
    let Some(address) = &bind.source_address else {
        return Ok(None);
    };
    let address = to_socket_address(address, "BindConfig.source_address")?;
    match address.port() {
        0 => Ok(Some(address.ip())),
        _ => Err(Reason::unsupported("BindConfig.source_address with a port")),
    }
}

fn discovery_from_proto(message: &pb::Cluster) -> Result<Discovery, Reason> {
    let kind = match &message.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => {
            DiscoveryType::try_from(*kind).map_err(|_| Reason::unsupported(format!("Cluster.type {kind}")))?
        }
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return Err(Reason::unsupported(format!(
                "Cluster.cluster_type {:?}",
                custom.name
            )));
        }
    };
    match kind {
        DiscoveryType::Eds => {
            let eds = message.eds_cluster_config.clone().unwrap_or_default();
            check_aggregated(eds.eds_config, "EdsClusterConfig.eds_config")?;
            match eds.service_name.is_empty() || eds.service_name == message.name {
                true => Ok(Discovery::Endpoints),
                false => Err(Reason::unsupported(
                    "EdsClusterConfig.service_name other than the cluster's",
                )),
            }
        }
        DiscoveryType::OriginalDst => Ok(Discovery::OriginalDestination),
        DiscoveryType::Static => match message.load_assignment.is_some() {
            true => Err(Reason::unsupported("Cluster.load_assignment")),
            false => Ok(Discovery::Nobody),
        },
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => Err(Reason::unsupported(format!(
            "Cluster.type {}",
            kind.as_str_name()
        ))),
    }
}

/// `alt_stat_name`, `stats_matcher`, `track_*`, `lrs_*` and buffer sizes shape statistics and memory only; DNS
/// fields mean nothing without a DNS type, which is refused above.
fn check_unsupported(message: &pb::Cluster) -> Result<(), Reason> {
    refuse!(
        message,
        "Cluster",
        [
            transport_socket_matcher,
            health_checks,
            max_requests_per_connection,
            dns_resolvers,
            upstream_http_protocol_options,
            common_http_protocol_options,
            http_protocol_options,
            http2_protocol_options,
            lb_subset_config,
            load_balancing_policy,
            protocol_selection,
            close_connections_on_host_health_failure,
            ignore_health_on_host_removal,
            filters,
            upstream_config,
            preconnect_policy,
            connection_pool_per_downstream_connection,
            queuing_policies,
        ]
    );
    Ok(())
}
