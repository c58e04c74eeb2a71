//! Which limits a request counts for, without counting.

use std::net::{IpAddr, Ipv4Addr};

use snapshot::HttpFilter;
use snapshot::rate_limit::{CallerView, CompiledRateLimit};

use super::{CountedBy, Request};

/// A caller of whom nothing is known: any token or certificate may be its.
struct Anybody;

impl CallerView for Anybody {
    fn claim(&self, _: &str) -> Option<&str> {
        Some("")
    }

    fn peer_identity(&self) -> Option<&str> {
        Some("")
    }

    fn source_address(&self) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// Limits that a request counts for, in the order of asking.
pub(super) fn limits(filters: &[HttpFilter], request: &Request) -> Vec<CountedBy> {
    let policies = filters.iter().filter_map(|filter| match filter {
        HttpFilter::RateLimit(policy) => Some(policy),
        _ => None,
    });
    let mut counted = Vec::new();
    for policy in policies {
        let (compiled, _) = CompiledRateLimit::new(policy);
        for position in compiled.matching(request) {
            let limit = &policy.limits[position];
            if !limit.visit(request, &Anybody, &mut |_, _| {}) {
                continue;
            }
            counted.push(CountedBy {
                limit: format!("{} {}", policy.policy, limit.name),
                origin: limit.origin.clone(),
                rate: format!(
                    "{} per {:?}, at once {}",
                    limit.requests, limit.interval, limit.burst
                ),
                global: limit.global,
                keys: limit.keys.iter().map(|key| key.entry()).collect(),
                status: (!limit.dry_run).then_some(policy.status),
            });
        }
    }
    counted
}
