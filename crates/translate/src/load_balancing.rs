//! `loadBalancer.simple` → how an endpoint is picked. Nothing said is LEAST_REQUEST.

use resources::istio::destination_rule::{LoadBalancer, SimpleLoadBalancer};
use snapshot::{Discovery, LoadBalancing};

/// How an endpoint is picked.
pub(crate) fn load_balancing(settings: Option<&LoadBalancer>) -> LoadBalancing {
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
