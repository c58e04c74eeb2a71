//! `loadBalancer` → how an endpoint is picked, and the keys of consistent choices. Nothing said is LEAST_REQUEST.

use resources::istio::destination_rule::{
    ConsistentHash, LoadBalancer, SimpleLoadBalancer, Subset, TrafficPolicy,
};
use resources::istio::{Destination, resolve_host};
use snapshot::load_balancing::HashCookie;
use snapshot::{Discovery, HashKey, HashPolicy, LoadBalancing, SlowStart};

use crate::DOMAIN;
use crate::scope::Scope;

/// How an endpoint is picked. A consistent choice goes before a simple one.
pub(crate) fn load_balancing(settings: Option<&LoadBalancer>) -> LoadBalancing {
    if let Some(hash) = settings.and_then(|settings| settings.consistent_hash.as_ref()) {
        return consistent(hash);
    }
    match settings.and_then(|settings| settings.simple) {
        Some(SimpleLoadBalancer::Random) => LoadBalancing::Random,
        Some(SimpleLoadBalancer::RoundRobin) => LoadBalancing::RoundRobin,
        Some(
            SimpleLoadBalancer::Unspecified
            | SimpleLoadBalancer::LeastConn
            | SimpleLoadBalancer::LeastRequest
            | SimpleLoadBalancer::Passthrough,
        )
        | None => LoadBalancing::LeastRequest,
    }
}

/// Sizes that no proxy would take are brought into bounds; `analyze` says so. 0 is the default, as in Istio.
fn consistent(hash: &ConsistentHash) -> LoadBalancing {
    if let Some(maglev) = &hash.maglev {
        let size = maglev.table_size.filter(|size| *size > 0);
        return LoadBalancing::Maglev {
            table_size: size
                .filter(|size| LoadBalancing::can_be_maglev(*size))
                .unwrap_or(LoadBalancing::MAGLEV_TABLE_SIZE),
        };
    }
    let size = match &hash.ring_hash {
        Some(ring) => ring.minimum_ring_size,
        None => hash.minimum_ring_size,
    };
    LoadBalancing::RingHash {
        minimum_size: size
            .filter(|size| *size > 0)
            .unwrap_or(LoadBalancing::MINIMUM_RING_SIZE)
            .min(LoadBalancing::LARGEST_RING),
        maximum_size: LoadBalancing::MAXIMUM_RING_SIZE,
    }
}

/// `warmup`, for the algorithms that know turns. The deprecated field gives the length only.
pub(crate) fn slow_start(settings: Option<&LoadBalancer>) -> Option<SlowStart> {
    let by_turns = [LoadBalancing::LeastRequest, LoadBalancing::RoundRobin];
    let settings = settings.filter(|_| by_turns.contains(&load_balancing(settings)))?;
    match (&settings.warmup, settings.warmup_duration_secs) {
        (Some(warmup), _) => Some(SlowStart {
            window: warmup.duration.0,
            aggression: warmup.aggression.unwrap_or(1.0),
            minimum_percent: warmup.minimum_percent.unwrap_or(10.0),
        }),
        (None, Some(window)) => Some(SlowStart {
            window: window.0,
            aggression: 1.0,
            minimum_percent: 10.0,
        }),
        (None, None) => None,
    }
}

/// `PASSTHROUGH` sends each connection where its client meant it to go.
pub(crate) fn discovery(settings: Option<&LoadBalancer>, is_headless: bool) -> Discovery {
    let passthrough =
        settings.is_some_and(|settings| settings.simple == Some(SimpleLoadBalancer::Passthrough));
    if is_headless || passthrough {
        Discovery::OriginalDestination
    } else {
        Discovery::Endpoints
    }
}

/// The key for a destination of an HTTP rule. Settings of a port count only if the rule names the port.
pub(crate) fn key_of_destination(
    scope: &Scope,
    destination: &Destination,
    namespace: &str,
) -> Option<HashPolicy> {
    let host = resolve_host(&destination.host, namespace, DOMAIN);
    let policy = scope.service(&host)?.policy.as_ref()?;
    let port = destination.port.map(|port| port.number);
    let subset = destination.subset.as_ref().and_then(|name| policy.subset(name));
    let own = |policy: &TrafficPolicy| hash_of(policy.load_balancer.as_ref()).cloned();
    let of_port = |policy: &TrafficPolicy| port.and_then(|port| hash_at_port(policy, port)).cloned();
    let subset = subset.and_then(|subset: &Subset| subset.traffic_policy.as_ref());
    let top = policy.traffic_policy.as_ref();
    let hash = subset
        .and_then(|subset| of_port(subset).or_else(|| own(subset)))
        .or_else(|| top.and_then(|top| of_port(top).or_else(|| own(top))))?;
    key(&hash)
}

/// The key for a service that no rule is for.
pub(crate) fn key_of_service(scope: &Scope, host: &str, port: u16) -> Option<HashPolicy> {
    let top = scope.service(host)?.policy.as_ref()?.traffic_policy.as_ref()?;
    let hash = hash_at_port(top, port.into()).or_else(|| hash_of(top.load_balancer.as_ref()))?;
    key(hash)
}

/// Whether connections to a host are told apart by the address of their client. Settings of ports do not count here,
/// as in Istio.
pub(crate) fn hashes_source_address(scope: &Scope, host: &str, subset: &str) -> bool {
    let Some(policy) = scope.service(host).and_then(|seen| seen.policy.as_ref()) else {
        return false;
    };
    let subset = policy
        .subset(subset)
        .and_then(|subset| subset.traffic_policy.as_ref());
    let own = subset.and_then(|policy| policy.load_balancer.as_ref());
    let top = policy
        .traffic_policy
        .as_ref()
        .and_then(|policy| policy.load_balancer.as_ref());
    hash_of(own.or(top)).is_some_and(|hash| hash.use_source_ip == Some(true))
}

fn hash_of(settings: Option<&LoadBalancer>) -> Option<&ConsistentHash> {
    settings.and_then(|settings| settings.consistent_hash.as_ref())
}

fn hash_at_port(policy: &TrafficPolicy, port: u32) -> Option<&ConsistentHash> {
    let mut settings = policy.port_level_settings.iter();
    let settings = settings.find(|settings| settings.port.is_some_and(|known| known.number == port))?;
    hash_of(settings.load_balancer.as_ref())
}

fn key(hash: &ConsistentHash) -> Option<HashPolicy> {
    let key = if let Some(name) = &hash.http_header_name {
        HashKey::Header(name.to_ascii_lowercase())
    } else if let Some(cookie) = &hash.http_cookie {
        let attributes = cookie.attributes.iter();
        HashKey::Cookie(HashCookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.map(|ttl| ttl.0),
            path: cookie.path.clone(),
            attributes: attributes
                .map(|attribute| (attribute.name.clone(), attribute.value.clone()))
                .collect(),
        })
    } else if hash.use_source_ip == Some(true) {
        HashKey::SourceAddress
    } else {
        HashKey::QueryParameter(hash.http_query_parameter_name.clone()?)
    };
    Some(HashPolicy { key, terminal: false })
}
