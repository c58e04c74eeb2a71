//! How one endpoint is picked ⇄ `Cluster.lb_policy`, `Cluster.lb_config` and `Cluster.common_lb_config`.

use envoy_types::pb::envoy::config::cluster::v3::cluster as pb;
use envoy_types::pb::envoy::config::core::v3::RuntimeDouble;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt64Value;
use pb::LbConfig;
use pb::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig};
use pb::ring_hash_lb_config::HashFunction;
use snapshot::{Cluster, LoadBalancing, LocalityBalancing, SlowStart};

use super::proto::{duration, refuse, to_duration};
use crate::rejected::Reason;

/// Envoy's panic threshold where none is stated.
const PANIC_PERCENT: u8 = 50;
/// Envoy's least number of endpoints that are told apart by zone.
const MINIMUM_ZONE_SIZE: u64 = 6;
/// Envoy wants a name under which an operator could change the number; Istio's is as hard to guess.
const AGGRESSION_KEY: &str = "slow_start.aggression";

pub(super) fn to_proto(policy: LoadBalancing) -> pb::LbPolicy {
    match policy {
        LoadBalancing::LeastRequest => pb::LbPolicy::LeastRequest,
        LoadBalancing::Random => pb::LbPolicy::Random,
        LoadBalancing::RoundRobin => pb::LbPolicy::RoundRobin,
        LoadBalancing::RingHash { .. } => pb::LbPolicy::RingHash,
        LoadBalancing::Maglev { .. } => pb::LbPolicy::Maglev,
    }
}

/// What the policy by itself does not say; absent where Envoy's defaults say the same.
pub(super) fn details(cluster: &Cluster) -> Option<LbConfig> {
    let slow_start_config = cluster.slow_start.map(slow_start_to_proto);
    let number = |value| Some(UInt64Value { value });
    match cluster.load_balancing {
        LoadBalancing::LeastRequest => slow_start_config.map(|slow_start| {
            LbConfig::LeastRequestLbConfig(pb::LeastRequestLbConfig {
                slow_start_config: Some(slow_start),
                ..Default::default()
            })
        }),
        LoadBalancing::RoundRobin => slow_start_config.map(|slow_start| {
            LbConfig::RoundRobinLbConfig(pb::RoundRobinLbConfig {
                slow_start_config: Some(slow_start),
            })
        }),
        LoadBalancing::Random => None,
        LoadBalancing::RingHash {
            minimum_size,
            maximum_size,
        } => Some(LbConfig::RingHashLbConfig(pb::RingHashLbConfig {
            minimum_ring_size: number(minimum_size),
            maximum_ring_size: number(maximum_size)
                .filter(|size| size.value != LoadBalancing::MAXIMUM_RING_SIZE),
            ..Default::default()
        })),
        LoadBalancing::Maglev { table_size } => Some(LbConfig::MaglevLbConfig(pb::MaglevLbConfig {
            table_size: number(table_size).filter(|size| size.value != LoadBalancing::MAGLEV_TABLE_SIZE),
        })),
    }
}

pub(super) fn from_proto(
    policy: i32,
    details: Option<&LbConfig>,
) -> Result<(LoadBalancing, Option<SlowStart>), Reason> {
    let policy = pb::LbPolicy::try_from(policy)
        .map_err(|_| Reason::unsupported(format!("Cluster.lb_policy {policy}")))?;
    match (policy, details) {
        (pb::LbPolicy::LeastRequest, None) => Ok((LoadBalancing::LeastRequest, None)),
        (pb::LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(details))) => {
            refuse!(details, "LeastRequestLbConfig", [active_request_bias]);
            if details.choice_count.is_some_and(|count| count.value != 2) {
                return Err(Reason::unsupported(
                    "LeastRequestLbConfig.choice_count other than 2",
                ));
            }
            let slow_start = details.slow_start_config.as_ref().map(slow_start_from_proto);
            Ok((LoadBalancing::LeastRequest, slow_start.transpose()?))
        }
        (pb::LbPolicy::RoundRobin, None) => Ok((LoadBalancing::RoundRobin, None)),
        (pb::LbPolicy::RoundRobin, Some(LbConfig::RoundRobinLbConfig(details))) => {
            let slow_start = details.slow_start_config.as_ref().map(slow_start_from_proto);
            Ok((LoadBalancing::RoundRobin, slow_start.transpose()?))
        }
        (pb::LbPolicy::Random, None) => Ok((LoadBalancing::Random, None)),
        (pb::LbPolicy::RingHash, None) => Ok((ring(&pb::RingHashLbConfig::default())?, None)),
        (pb::LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(details))) => Ok((ring(details)?, None)),
        (pb::LbPolicy::Maglev, None) => Ok((maglev(None)?, None)),
        (pb::LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(details))) => {
            Ok((maglev(details.table_size)?, None))
        }
        (pb::LbPolicy::ClusterProvided | pb::LbPolicy::LoadBalancingPolicyConfig, _) => Err(
            Reason::unsupported(format!("Cluster.lb_policy {}", policy.as_str_name())),
        ),
        (_, Some(_)) => Err(Reason::new("Cluster.lb_config", "is for another lb_policy")),
    }
}

fn ring(details: &pb::RingHashLbConfig) -> Result<LoadBalancing, Reason> {
    if details.hash_function() != HashFunction::XxHash {
        return Err(Reason::unsupported(
            "RingHashLbConfig.hash_function MURMUR_HASH_2",
        ));
    }
    let size = |value: Option<UInt64Value>, default, field| match value.map_or(default, |value| value.value) {
        size @ ..=LoadBalancing::MAXIMUM_RING_SIZE => Ok(size),
        _ => Err(Reason::new(field, "is more than 8388608")),
    };
    let minimum_size = size(
        details.minimum_ring_size,
        LoadBalancing::MINIMUM_RING_SIZE,
        "RingHashLbConfig.minimum_ring_size",
    )?;
    let maximum_size = size(
        details.maximum_ring_size,
        LoadBalancing::MAXIMUM_RING_SIZE,
        "RingHashLbConfig.maximum_ring_size",
    )?;
    if minimum_size > maximum_size {
        return Err(Reason::new(
            "RingHashLbConfig.minimum_ring_size",
            "is more than maximum_ring_size",
        ));
    }
    if minimum_size > LoadBalancing::LARGEST_RING {
        let field = "RingHashLbConfig.minimum_ring_size above 1048576";
        return Err(Reason::unsupported(field));
    }
    Ok(LoadBalancing::RingHash {
        minimum_size,
        maximum_size,
    })
}

fn maglev(size: Option<UInt64Value>) -> Result<LoadBalancing, Reason> {
    let table_size = size.map_or(LoadBalancing::MAGLEV_TABLE_SIZE, |size| size.value);
    if LoadBalancing::can_be_maglev(table_size) {
        Ok(LoadBalancing::Maglev { table_size })
    } else {
        Err(Reason::new(
            "MaglevLbConfig.table_size",
            "is not a prime number up to 5000011",
        ))
    }
}

fn slow_start_to_proto(slow_start: SlowStart) -> pb::SlowStartConfig {
    pb::SlowStartConfig {
        slow_start_window: duration(slow_start.window),
        aggression: Some(RuntimeDouble {
            default_value: slow_start.aggression,
            runtime_key: AGGRESSION_KEY.into(),
        }),
        min_weight_percent: Some(Percent {
            value: slow_start.minimum_percent,
        }),
    }
}

fn slow_start_from_proto(message: &pb::SlowStartConfig) -> Result<SlowStart, Reason> {
    let window = message.slow_start_window.unwrap_or_default();
    Ok(SlowStart {
        window: to_duration(window, "SlowStartConfig.slow_start_window")?,
        aggression: message
            .aggression
            .as_ref()
            .map_or(1.0, |value| value.default_value),
        minimum_percent: message.min_weight_percent.map_or(10.0, |percent| percent.value),
    })
}

pub(super) fn options(cluster: &Cluster) -> pb::CommonLbConfig {
    let percent = |value: u8| Some(Percent { value: value.into() });
    pb::CommonLbConfig {
        healthy_panic_threshold: percent(cluster.panic_percent),
        locality_config_specifier: match cluster.locality {
            LocalityBalancing::Ignored => None,
            LocalityBalancing::Weighted => Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig {},
            )),
            LocalityBalancing::ZoneAware {
                enabled_percent,
                minimum_size,
            } => Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
                routing_enabled: percent(enabled_percent).filter(|_| enabled_percent != 100),
                min_cluster_size: Some(UInt64Value { value: minimum_size })
                    .filter(|size| size.value != MINIMUM_ZONE_SIZE),
                fail_traffic_on_panic: false,
            })),
        },
        ..Default::default()
    }
}

/// What places count for, and the panic threshold.
pub(super) fn options_from_proto(
    options: Option<&pb::CommonLbConfig>,
) -> Result<(LocalityBalancing, u8), Reason> {
    let Some(options) = options else {
        return Ok((LocalityBalancing::Ignored, PANIC_PERCENT));
    };
    refuse!(
        options,
        "CommonLbConfig",
        [
            ignore_new_hosts_until_first_hc,
            close_connections_on_host_set_change,
            consistent_hashing_lb_config,
            override_host_status
        ]
    );
    let panic_percent = percent(
        options.healthy_panic_threshold,
        PANIC_PERCENT,
        "CommonLbConfig.healthy_panic_threshold",
    )?;
    let locality = match options.locality_config_specifier {
        None => LocalityBalancing::Ignored,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => LocalityBalancing::Weighted,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) => {
            refuse!(zones, "ZoneAwareLbConfig", [fail_traffic_on_panic]);
            LocalityBalancing::ZoneAware {
                enabled_percent: percent(zones.routing_enabled, 100, "ZoneAwareLbConfig.routing_enabled")?,
                minimum_size: zones
                    .min_cluster_size
                    .map_or(MINIMUM_ZONE_SIZE, |size| size.value),
            }
        }
    };
    Ok((locality, panic_percent))
}

/// A percentage, rounded as Envoy rounds it.
fn percent(value: Option<Percent>, default: u8, field: &str) -> Result<u8, Reason> {
    match value {
        None => Ok(default),
        Some(Percent { value }) if (0.0..=100.0).contains(&value) => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within 0 to 100"
            )]
            let whole = value.round() as u8;
            Ok(whole)
        }
        Some(_) => Err(Reason::new(field, "is not a percentage")),
    }
}
