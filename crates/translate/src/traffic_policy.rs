//! Which part of a DestinationRule counts for a subset and port.
//!
//! Blocks replace each other whole: subset over host. Settings of a port replace all blocks of their level, so
//! that a block which the port leaves out falls back to Istio's defaults, not to the level's own.

use resources::istio::destination_rule::{ConnectionPool, LoadBalancer, Subset, TrafficPolicy};

use crate::mesh::policies::Policy;

/// The blocks in effect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effective<'a> {
    pub(crate) load_balancer: Option<&'a LoadBalancer>,
    pub(crate) connection_pool: Option<&'a ConnectionPool>,
}

impl<'a> Effective<'a> {
    pub(crate) fn of(policy: &'a Policy, subset: Option<&'a Subset>, port: u16) -> Self {
        let top = policy
            .traffic_policy
            .as_ref()
            .map(|policy| Self::at_level(policy, port))
            .unwrap_or_default();
        let subset = subset.and_then(|subset| subset.traffic_policy.as_ref());
        let Some(subset) = subset else { return top };
        let own = Self::at_level(subset, port);
        Self {
            load_balancer: own.load_balancer.or(top.load_balancer),
            connection_pool: own.connection_pool.or(top.connection_pool),
        }
    }

    fn at_level(policy: &'a TrafficPolicy, port: u16) -> Self {
        let is_port = |number: u32| number == u32::from(port);
        let mut settings = policy.port_level_settings.iter();
        let for_port = settings.find(|settings| settings.port.is_some_and(|port| is_port(port.number)));
        match for_port {
            Some(settings) => Self {
                load_balancer: settings.load_balancer.as_ref(),
                connection_pool: settings.connection_pool.as_ref(),
            },
            None => Self {
                load_balancer: policy.load_balancer.as_ref(),
                connection_pool: policy.connection_pool.as_ref(),
            },
        }
    }
}
