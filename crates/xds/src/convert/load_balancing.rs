//! How one endpoint is picked ⇄ `Cluster.lb_policy`.

use envoy_types::pb::envoy::config::cluster::v3::cluster as pb;
use envoy_types::pb::envoy::r#type::v3::Percent;
use pb::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
use snapshot::LoadBalancing;

use super::proto::refuse;
use crate::rejected::Reason;

pub(super) fn to_proto(policy: LoadBalancing) -> pb::LbPolicy {
    match policy {
        LoadBalancing::LeastRequest => pb::LbPolicy::LeastRequest,
        LoadBalancing::Random => pb::LbPolicy::Random,
        LoadBalancing::RoundRobin => pb::LbPolicy::RoundRobin,
    }
}

pub(super) fn from_proto(policy: i32) -> Result<LoadBalancing, Reason> {
    match pb::LbPolicy::try_from(policy) {
        Ok(pb::LbPolicy::LeastRequest) => Ok(LoadBalancing::LeastRequest),
        Ok(pb::LbPolicy::Random) => Ok(LoadBalancing::Random),
        Ok(pb::LbPolicy::RoundRobin) => Ok(LoadBalancing::RoundRobin),
        Ok(other) => Err(Reason::unsupported(format!(
            "Cluster.lb_policy {}",
            other.as_str_name()
        ))),
        Err(_) => Err(Reason::unsupported(format!("Cluster.lb_policy {policy}"))),
    }
}

/// Never a panic mode that spills over to unhealthy endpoints; localities share by weight.
pub(super) fn options() -> pb::CommonLbConfig {
    pb::CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: 0.0 }),
        locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
            LocalityWeightedLbConfig {},
        )),
        ..Default::default()
    }
}

pub(super) fn check_options(options: Option<&pb::CommonLbConfig>) -> Result<(), Reason> {
    let Some(options) = options else { return Ok(()) };
    refuse!(
        options,
        "CommonLbConfig",
        [
            ignore_new_hosts_until_first_hc,
            consistent_hashing_lb_config,
            override_host_status
        ]
    );
    if options.close_connections_on_host_set_change {
        return Err(Reason::unsupported(
            "CommonLbConfig.close_connections_on_host_set_change",
        ));
    }
    if options
        .healthy_panic_threshold
        .is_some_and(|threshold| threshold.value > 0.0)
    {
        return Err(Reason::unsupported(
            "CommonLbConfig.healthy_panic_threshold above 0",
        ));
    }
    match options.locality_config_specifier {
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
            Err(Reason::unsupported("CommonLbConfig.zone_aware_lb_config"))
        }
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) | None => Ok(()),
    }
}
