//! `config.bootstrap.v3.Bootstrap`, and what only static resources say: members that stand in the cluster.
//!
//! What shapes statistics, watchdogs and logs is let through. Everything else that is not done is refused.

use std::time::Duration;

use cluster_pb::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig};
use core::api_config_source::ApiType;
use core::config_source::ConfigSourceSpecifier;
use core::grpc_service::TargetSpecifier;
use envoy_types::pb::envoy::config::bootstrap::v3 as pb;
use envoy_types::pb::envoy::config::cluster::v3 as cluster_pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::listener::v3 as listener_pb;
use envoy_types::pb::google::protobuf::value::Kind;
use pb::runtime_layer::LayerSpecifier;
use snapshot::{Cluster, Endpoints, Listener};

use super::proto::{aggregated, refuse, to_address, to_duration};
use super::{Node, cluster as clusters, endpoint, listener as listeners};
use crate::bootstrap::{Bootstrap, Dynamic, Family, Names};
use crate::rejected::Reason;

/// Envoy's interval where none is stated.
const DNS_REFRESH: Duration = Duration::from_secs(5);

/// Everything but listeners and clusters.
pub(crate) fn rest(message: pb::Bootstrap) -> Result<Bootstrap, Reason> {
    refuse!(
        message,
        "Bootstrap",
        [
            hds_config,
            stats_sinks,
            tracing,
            overload_manager,
            header_prefix,
            use_tcp_for_dns_lookups,
            dns_resolution_config,
            typed_dns_resolver_config,
            bootstrap_extensions,
            fatal_actions,
            config_sources,
            default_config_source,
            default_socket_interface,
            certificate_provider_instances,
            default_regex_engine,
            xds_delegate_extension,
            listener_manager,
        ]
    );
    if let Some(cluster_manager) = &message.cluster_manager {
        refuse!(
            cluster_manager,
            "ClusterManager",
            [
                local_cluster_name,
                outlier_detection,
                upstream_bind_config,
                load_stats_config
            ]
        );
    }
    check_runtime(message.layered_runtime.as_ref())?;
    let static_resources = message.static_resources.unwrap_or_default();
    refuse!(static_resources, "StaticResources", [secrets]);
    let admin = match message.admin {
        None => None,
        Some(admin) => {
            refuse!(admin, "Admin", [socket_options, allow_paths]);
            admin
                .address
                .map(|address| to_address(Some(address), "Admin.address"))
                .transpose()?
        }
    };
    Ok(Bootstrap {
        admin,
        dynamic: message.dynamic_resources.map(dynamic).transpose()?.flatten(),
        node: Node::from_proto(&message.node.unwrap_or_default()),
        ..Bootstrap::default()
    })
}

/// Runtime values change what everything else means. Known are the page that sets them (which we do not have),
/// and limits that protect Envoy from itself.
fn check_runtime(runtime: Option<&pb::LayeredRuntime>) -> Result<(), Reason> {
    for layer in runtime.iter().flat_map(|runtime| &runtime.layers) {
        match &layer.layer_specifier {
            None | Some(LayerSpecifier::AdminLayer(_)) => {}
            Some(LayerSpecifier::StaticLayer(values)) => {
                for (name, value) in &values.fields {
                    let nested = matches!(value.kind, Some(Kind::StructValue(_)));
                    if !["overload", "re2"].contains(&name.split('.').next().unwrap_or_default()) || nested {
                        return Err(Reason::unsupported(format!("RuntimeLayer.static_layer {name:?}")));
                    }
                }
            }
            Some(LayerSpecifier::DiskLayer(_)) => return Err(Reason::unsupported("RuntimeLayer.disk_layer")),
            Some(LayerSpecifier::RtdsLayer(_)) => return Err(Reason::unsupported("RuntimeLayer.rtds_layer")),
        }
    }
    Ok(())
}

fn dynamic(message: pb::bootstrap::DynamicResources) -> Result<Option<Dynamic>, Reason> {
    refuse!(
        message,
        "DynamicResources",
        [lds_resources_locator, cds_resources_locator]
    );
    let clusters = from_ads(message.cds_config, "DynamicResources.cds_config")?;
    let listeners = from_ads(message.lds_config, "DynamicResources.lds_config")?;
    let Some(ads) = message.ads_config else {
        return match clusters || listeners {
            true => Err(Reason::missing("DynamicResources.ads_config")),
            false => Ok(None),
        };
    };
    refuse!(
        ads,
        "ApiConfigSource",
        [
            cluster_names,
            request_timeout,
            rate_limit_settings,
            config_validators
        ]
    );
    let whole = match ads.api_type() {
        ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc => false,
        ApiType::Grpc | ApiType::AggregatedGrpc => true,
        other => {
            return Err(Reason::unsupported(format!(
                "ApiConfigSource.api_type {}",
                other.as_str_name()
            )));
        }
    };
    let [service] = ads.grpc_services.as_slice() else {
        return Err(match ads.grpc_services.is_empty() {
            true => Reason::missing("ApiConfigSource.grpc_services"),
            false => Reason::unsupported("ApiConfigSource.grpc_services with several servers"),
        });
    };
    refuse!(service, "GrpcService", [initial_metadata, retry_policy]);
    match &service.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(target)) => {
            refuse!(target, "EnvoyGrpc", [authority, retry_policy]);
            Ok(Some(Dynamic {
                server: target.cluster_name.as_str().into(),
                clusters,
                listeners,
                whole,
            }))
        }
        Some(TargetSpecifier::GoogleGrpc(_)) => Err(Reason::unsupported("GrpcService.google_grpc")),
        None => Err(Reason::missing("GrpcService.envoy_grpc")),
    }
}

/// Whether that kind comes over the aggregated stream.
fn from_ads(source: Option<core::ConfigSource>, field: &str) -> Result<bool, Reason> {
    match source.map(|source| source.config_source_specifier) {
        None => Ok(false),
        Some(Some(ConfigSourceSpecifier::Ads(_))) => Ok(true),
        Some(_) => Err(Reason::unsupported(format!("{field} from elsewhere than ads"))),
    }
}

/// A listener of the file. `ads` says whether there is a stream that named resources can come over.
pub(crate) fn listener(message: listener_pb::Listener, ads: bool) -> Result<Listener, Reason> {
    let listener = listeners::from_proto(message)?;
    if !ads && let Some(table) = crate::encoded::tables_of(&listener).first() {
        return Err(Reason::new(
            "Rds.config_source",
            format!("asks for {table:?} over ads, and dynamic_resources.ads_config is not there: add it"),
        ));
    }
    Ok(listener)
}

/// A cluster of the file with the members that stand in it.
pub(crate) struct StaticCluster {
    pub(crate) cluster: Cluster,
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) names: Option<Names>,
}

/// Members that stand in the file are those of a cluster that discovers them, discovered already.
pub(crate) fn cluster(mut message: cluster_pb::Cluster, ads: bool) -> Result<StaticCluster, Reason> {
    let kind = match &message.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).unwrap_or_default(),
        Some(ClusterDiscoveryType::ClusterType(_)) => {
            return Err(Reason::unsupported("Cluster.cluster_type"));
        }
    };
    if message.name.is_empty() {
        return Err(Reason::missing("Cluster.name"));
    }
    if !matches!(
        kind,
        DiscoveryType::Static | DiscoveryType::StrictDns | DiscoveryType::LogicalDns
    ) {
        if kind == DiscoveryType::Eds && !ads {
            return Err(Reason::new(
                "Cluster.type",
                "is EDS over ads, and dynamic_resources.ads_config is not there: add it, or list the members with type STATIC",
            ));
        }
        return Ok(StaticCluster {
            cluster: clusters::from_proto(message)?,
            endpoints: None,
            names: None,
        });
    }
    let mut members = message
        .load_assignment
        .take()
        .ok_or_else(|| Reason::missing("Cluster.load_assignment"))?;
    members.cluster_name.clone_from(&message.name);
    let family = family(&message)?;
    let refresh = message.dns_refresh_rate.map_or(Ok(DNS_REFRESH), |value| {
        to_duration(value, "Cluster.dns_refresh_rate")
    })?;
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
    message.eds_cluster_config = Some(EdsClusterConfig {
        eds_config: aggregated(),
        service_name: String::new(),
    });
    let cluster = clusters::from_proto(message)?;
    if kind == DiscoveryType::Static {
        return Ok(StaticCluster {
            cluster,
            endpoints: Some(endpoint::from_proto(members)?),
            names: None,
        });
    }
    let hosts = take_hosts(&mut members);
    if kind == DiscoveryType::LogicalDns && hosts.len() != 1 {
        return Err(Reason::new(
            "Cluster.load_assignment",
            "must have one endpoint for LOGICAL_DNS: leave the others out, or use STRICT_DNS",
        ));
    }
    let names = Names {
        endpoints: endpoint::from_proto(members)?,
        hosts,
        logical: kind == DiscoveryType::LogicalDns,
        family,
        refresh,
    };
    Ok(StaticCluster {
        endpoints: None,
        cluster,
        names: Some(names),
    })
}

fn family(message: &cluster_pb::Cluster) -> Result<Family, Reason> {
    refuse!(
        message,
        "Cluster",
        [dns_resolution_config, typed_dns_resolver_config]
    );
    match message.dns_lookup_family() {
        DnsLookupFamily::Auto => Ok(Family::Auto),
        DnsLookupFamily::V4Only => Ok(Family::V4),
        DnsLookupFamily::V6Only => Ok(Family::V6),
        DnsLookupFamily::V4Preferred => Ok(Family::PreferV4),
        DnsLookupFamily::All => Ok(Family::All),
    }
}

/// Takes the names of the members out; what stays are addresses.
fn take_hosts(members: &mut ClusterLoadAssignment) -> Vec<String> {
    let endpoints = members
        .endpoints
        .iter_mut()
        .flat_map(|group| &mut group.lb_endpoints);
    endpoints
        .map(|endpoint| {
            let Some(HostIdentifier::Endpoint(host)) = &mut endpoint.host_identifier else {
                return String::new();
            };
            match host.address.as_mut().and_then(|address| address.address.as_mut()) {
                Some(core::address::Address::SocketAddress(address)) => {
                    std::mem::replace(&mut address.address, "0.0.0.0".to_owned())
                }
                _ => String::new(),
            }
        })
        .collect()
}
