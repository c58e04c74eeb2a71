//! Which part of a DestinationRule counts for a subset and port.
//!
//! Blocks replace each other whole: subset over host. Settings of a port replace the four blocks that they may have,
//! so that a block which the port leaves out falls back to Istio's defaults, not to any level above; and at the level
//! of the host they leave nothing of the other blocks (tunnel, PROXY protocol, retry budget) either.

use resources::istio::destination_rule::{
    ClientTls, ConnectionPool, LoadBalancer, OutlierDetection, ProxyProtocol, RetryBudget, Subset,
    TrafficPolicy, Tunnel,
};

use crate::mesh::policies::Policy;

/// The blocks in effect.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Effective<'a> {
    pub(crate) load_balancer: Option<&'a LoadBalancer>,
    pub(crate) connection_pool: Option<&'a ConnectionPool>,
    pub(crate) outlier_detection: Option<&'a OutlierDetection>,
    pub(crate) tls: Option<&'a ClientTls>,
    pub(crate) tunnel: Option<&'a Tunnel>,
    pub(crate) proxy_protocol: Option<&'a ProxyProtocol>,
    pub(crate) retry_budget: Option<&'a RetryBudget>,
}

impl<'a> Effective<'a> {
    /// The blocks in effect for a service, with or without a policy.
    pub(crate) fn of_service(policy: Option<&'a Policy>, subset: Option<&'a Subset>, port: u16) -> Self {
        policy
            .map(|policy| Self::of(policy, subset, port))
            .unwrap_or_default()
    }

    pub(crate) fn of(policy: &'a Policy, subset: Option<&'a Subset>, port: u16) -> Self {
        let host = policy.traffic_policy.as_ref();
        let top = host
            .map(|policy| Self::of_port(policy, port).unwrap_or_else(|| Self::of_level(policy)))
            .unwrap_or_default();
        let subset = subset.and_then(|subset| subset.traffic_policy.as_ref());
        let Some(subset) = subset else { return top };
        match Self::of_port(subset, port) {
            Some(port) => Self {
                tunnel: top.tunnel,
                proxy_protocol: top.proxy_protocol,
                retry_budget: top.retry_budget,
                ..port
            },
            None => Self::of_level(subset).or(top),
        }
    }

    fn of_port(policy: &'a TrafficPolicy, port: u16) -> Option<Self> {
        let mut settings = policy.port_level_settings.iter();
        let settings = settings.find(|settings| {
            settings
                .port
                .is_some_and(|selected| selected.number == u32::from(port))
        })?;
        Some(Self {
            load_balancer: settings.load_balancer.as_ref(),
            connection_pool: settings.connection_pool.as_ref(),
            outlier_detection: settings.outlier_detection.as_ref(),
            tls: settings.tls.as_ref(),
            ..Self::default()
        })
    }

    fn of_level(policy: &'a TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            tunnel: policy.tunnel.as_ref(),
            proxy_protocol: policy.proxy_protocol.as_ref(),
            retry_budget: policy.retry_budget.as_ref(),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(other.load_balancer),
            connection_pool: self.connection_pool.or(other.connection_pool),
            outlier_detection: self.outlier_detection.or(other.outlier_detection),
            tls: self.tls.or(other.tls),
            tunnel: self.tunnel.or(other.tunnel),
            proxy_protocol: self.proxy_protocol.or(other.proxy_protocol),
            retry_budget: self.retry_budget.or(other.retry_budget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend, namespace: shop}
spec:
  host: backend
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    outlierDetection: {interval: 1s}
    retryBudget: {percent: 5}
    portLevelSettings: [{port: {number: 80}, outlierDetection: {interval: 2s}}]
  subsets:
  - name: v1
    trafficPolicy:
      tls: {mode: DISABLE}
      portLevelSettings: [{port: {number: 90}, connectionPool: {tcp: {maxConnections: 3}}}]
";

    fn policy() -> Policy {
        let read = resources::yaml::read(RULE);
        let Some(resources::Resource::DestinationRule(rule)) = read.resources.first() else {
            panic!("{:?}", read.problems)
        };
        Policy {
            traffic_policy: rule.spec.traffic_policy.clone(),
            subsets: rule.spec.subsets.clone(),
            ..Policy::default()
        }
    }

    /// Which of load balancer, connection pool, outlier detection, TLS and retry budget there are.
    fn present(effective: &Effective<'_>) -> [bool; 5] {
        [
            effective.load_balancer.is_some(),
            effective.connection_pool.is_some(),
            effective.outlier_detection.is_some(),
            effective.tls.is_some(),
            effective.retry_budget.is_some(),
        ]
    }

    #[test]
    fn settings_of_a_port_leave_nothing_of_the_levels_above() {
        let policy = policy();
        let subset = policy.subset("v1");
        let at = |subset, port| present(&Effective::of(&policy, subset, port));
        assert_eq!(at(None, 79), [true, false, true, false, true], "the host");
        assert_eq!(
            at(None, 80),
            [false, false, true, false, false],
            "the port of the host"
        );
        assert_eq!(
            at(subset, 79),
            [true, false, true, true, true],
            "blocks of the subset over those of the host"
        );
        assert_eq!(
            at(subset, 80),
            [false, false, true, true, false],
            "the subset over the port of the host"
        );
        assert_eq!(
            at(subset, 90),
            [false, true, false, false, true],
            "the port of the subset replaces four blocks"
        );
    }
}
