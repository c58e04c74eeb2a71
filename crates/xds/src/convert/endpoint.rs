//! Endpoints ⇄ `ClusterLoadAssignment`.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as pb;
use pb::lb_endpoint::HostIdentifier;
use snapshot::{Endpoint, Endpoints, Health, Locality, LocalityEndpoints};

use super::metadata;
use super::proto::{address, number, refuse, to_address};
use crate::rejected::Reason;

pub(super) fn to_proto(endpoints: &Endpoints) -> pb::ClusterLoadAssignment {
    pb::ClusterLoadAssignment {
        cluster_name: endpoints.cluster.to_string(),
        endpoints: endpoints.localities.iter().map(group_to_proto).collect(),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: pb::ClusterLoadAssignment) -> Result<Endpoints, Reason> {
    refuse!(message, "ClusterLoadAssignment", [named_endpoints]);
    if let Some(policy) = &message.policy {
        refuse!(
            policy,
            "ClusterLoadAssignment.Policy",
            [drop_overloads, endpoint_stale_after, weighted_priority_health]
        );
        // 140 is Envoy's default.
        if policy
            .overprovisioning_factor
            .is_some_and(|factor| factor.value != 140)
        {
            return Err(Reason::unsupported(
                "ClusterLoadAssignment.Policy.overprovisioning_factor",
            ));
        }
    }
    Ok(Endpoints {
        cluster: message.cluster_name.into(),
        localities: message
            .endpoints
            .into_iter()
            .map(group_from_proto)
            .collect::<Result<_, _>>()?,
    })
}

fn group_to_proto(group: &LocalityEndpoints) -> pb::LocalityLbEndpoints {
    pb::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: group.locality.region.clone(),
            zone: group.locality.zone.clone(),
            sub_zone: group.locality.sub_zone.clone(),
        }),
        lb_endpoints: group.endpoints.iter().map(endpoint_to_proto).collect(),
        // Envoy refuses 0 and takes absence for it.
        load_balancing_weight: number(group.weight).filter(|weight| weight.value > 0),
        priority: group.priority,
        ..Default::default()
    }
}

fn group_from_proto(message: pb::LocalityLbEndpoints) -> Result<LocalityEndpoints, Reason> {
    refuse!(message, "LocalityLbEndpoints", [proximity, lb_config]);
    let locality = message.locality.unwrap_or_default();
    Ok(LocalityEndpoints {
        locality: Locality {
            region: locality.region,
            zone: locality.zone,
            sub_zone: locality.sub_zone,
        },
        priority: message.priority,
        weight: message.load_balancing_weight.map_or(0, |weight| weight.value),
        endpoints: message
            .lb_endpoints
            .into_iter()
            .map(endpoint_from_proto)
            .collect::<Result<_, _>>()?,
    })
}

fn endpoint_to_proto(endpoint: &Endpoint) -> pb::LbEndpoint {
    let health = match endpoint.health {
        Health::Healthy => core::HealthStatus::Healthy,
        Health::Draining => core::HealthStatus::Draining,
        Health::Unhealthy => core::HealthStatus::Unhealthy,
    };
    pb::LbEndpoint {
        health_status: health.into(),
        metadata: metadata::of_endpoint(endpoint),
        load_balancing_weight: number(endpoint.weight.max(1)),
        host_identifier: Some(HostIdentifier::Endpoint(pb::Endpoint {
            address: address(endpoint.address),
            ..Default::default()
        })),
    }
}

fn endpoint_from_proto(message: pb::LbEndpoint) -> Result<Endpoint, Reason> {
    let health = match message.health_status() {
        core::HealthStatus::Unknown | core::HealthStatus::Healthy => Health::Healthy,
        core::HealthStatus::Draining => Health::Draining,
        core::HealthStatus::Unhealthy | core::HealthStatus::Timeout => Health::Unhealthy,
        core::HealthStatus::Degraded => return Err(Reason::unsupported("LbEndpoint.health_status DEGRADED")),
    };
    let host = match message.host_identifier {
        Some(HostIdentifier::Endpoint(host)) => host,
        Some(HostIdentifier::EndpointName(_)) => return Err(Reason::unsupported("LbEndpoint.endpoint_name")),
        None => return Err(Reason::missing("LbEndpoint.endpoint")),
    };
    refuse!(host, "Endpoint", [health_check_config, additional_addresses]);
    Ok(Endpoint {
        address: to_address(host.address, "Endpoint.address")?,
        weight: message
            .load_balancing_weight
            .map_or(1, |weight| weight.value.max(1)),
        health,
        workload: metadata::workload(message.metadata.as_ref()),
        mutual: metadata::is_mutual(message.metadata.as_ref()),
    })
}
