//! Limits of policies in one listener, with their buckets.
//!
//! A port has several chains, one for each way into it: mutual TLS and plain text, HTTP found out and HTTP known. A
//! limit counts what comes in through all of them, so chains of one destination port share it; and who had used it up
//! does not begin anew because something else has changed, be it the chains themselves.

use std::sync::Arc;

use foldhash::HashMap;
use snapshot::{Handler, HttpFilter, RateLimit};

use crate::http::filters::rate_limit::Limiter;

/// By destination port; chains of no certain port have one set together.
#[derive(Debug, Default)]
pub(super) struct Limiters(HashMap<Option<u16>, Vec<Arc<Limiter>>>);

impl Limiters {
    /// Those of a chain in the order of its filters: another chain's of its port, or those that were there `before`.
    pub(super) fn of(&mut self, chain: &snapshot::Chain, before: Option<&Self>) -> Vec<Arc<Limiter>> {
        let Handler::Http(handler) = &chain.handler else {
            return Vec::new();
        };
        let policies = handler.filters.iter().filter_map(|filter| match filter {
            HttpFilter::RateLimit(policy) => Some(policy.as_ref()),
            _ => None,
        });
        let port = chain.matches.destination_port;
        policies
            .map(|policy| self.limiter(port, policy, before))
            .collect()
    }

    fn limiter(&mut self, port: Option<u16>, policy: &RateLimit, before: Option<&Self>) -> Arc<Limiter> {
        if let Some(known) = self.known(port, policy) {
            return known.clone();
        }
        let known = before.and_then(|before| before.known(port, policy));
        let limiter = known.cloned().unwrap_or_else(|| Arc::new(Limiter::new(policy)));
        self.0.entry(port).or_default().push(limiter.clone());
        limiter
    }

    fn known(&self, port: Option<u16>, policy: &RateLimit) -> Option<&Arc<Limiter>> {
        let mut limiters = self.0.get(&port)?.iter();
        limiters.find(|limiter| limiter.facts() == policy)
    }
}

#[cfg(test)]
mod tests {
    use snapshot::rate_limit::TOO_MANY_REQUESTS;
    use snapshot::{Chain, ChainMatch, HttpHandler, RouteSource};

    use super::*;

    fn policy(name: &str, status: u16) -> RateLimit {
        RateLimit {
            policy: name.into(),
            limits: Vec::new(),
            status,
            body: None,
            says_limits: false,
            says_x_limits: false,
            server: None,
        }
    }

    fn chain(name: &str, port: Option<u16>, policies: &[RateLimit]) -> Chain {
        let mut handler = HttpHandler::new(name.into(), RouteSource::Named("80".into()), "x");
        let filters = policies.iter().cloned().map(Box::new);
        handler.filters = filters.map(HttpFilter::RateLimit).collect();
        Chain {
            name: name.into(),
            matches: ChainMatch {
                destination_port: port,
                ..ChainMatch::default()
            },
            tls: None,
            filters: Vec::new(),
            handler: Handler::Http(handler),
        }
    }

    #[test]
    fn chains_of_a_port_share_limits_and_ports_do_not() {
        let all = [policy("a", TOO_MANY_REQUESTS), policy("b", TOO_MANY_REQUESTS)];
        let mut limiters = Limiters::default();
        let mut of = |port, policies: &[RateLimit]| limiters.of(&chain("x", port, policies), None);
        let plain = of(Some(9090), &all);
        let mutual = of(Some(9090), &all[1..]);
        assert!(Arc::ptr_eq(&plain[1], &mutual[0]), "by policy, not by position");
        for (port, shared) in [(Some(9090), true), (Some(9091), false), (None, false)] {
            assert_eq!(Arc::ptr_eq(&plain[0], &of(port, &all)[0]), shared, "{port:?}");
        }
    }

    #[test]
    fn limits_outlive_their_chains_and_not_their_port_or_their_change() {
        let old = policy("a", TOO_MANY_REQUESTS);
        let mut first = Limiters::default();
        let before = first.of(
            &chain("0.0.0.0_9090", Some(9090), std::slice::from_ref(&old)),
            None,
        );
        let mut next = Limiters::default();
        for (name, port, policy, stays) in [
            ("0.0.0.0_9090-mtls", Some(9090), &old, true),
            ("0.0.0.0_9090", Some(9091), &old, false),
            ("0.0.0.0_9090", Some(9090), &policy("a", 503), false),
        ] {
            let after = next.of(&chain(name, port, std::slice::from_ref(policy)), Some(&first));
            assert_eq!(Arc::ptr_eq(&before[0], &after[0]), stays, "{name} {port:?}");
        }
        let mut last = Limiters::default();
        assert!(last.of(&chain("x", Some(9090), &[]), Some(&next)).is_empty());
        assert!(last.0.is_empty(), "what no chain has is forgotten");
    }
}
