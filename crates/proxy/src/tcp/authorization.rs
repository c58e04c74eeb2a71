//! Who may connect: rules over connections, asked once, before anything is done for them. Envoy asks when the first
//! byte of the client comes; then a server that speaks first has spoken already.

use snapshot::NetworkFilter;
use snapshot::authorization::Subject;

use crate::http::filters::authorization::Authorization;
use crate::listen::accept::Ends;
use crate::telemetry::metrics::Metrics;
use crate::tls::peer::Peer;

/// The filters of a chain for connections, ready to run.
#[derive(Debug)]
pub(crate) struct NetworkFilters {
    /// What they were made of.
    facts: Vec<NetworkFilter>,
    filters: Vec<Authorization>,
}

/// What there is to know about a connection beside its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) peer: Option<&'a Peer>,
    /// The server name of its TLS; empty without one.
    pub(crate) server_name: &'a str,
}

impl NetworkFilters {
    pub(crate) fn new(facts: &[NetworkFilter]) -> Self {
        let filters = facts.iter().map(|filter| match filter {
            NetworkFilter::Authorization(facts) => Authorization::new(facts),
        });
        Self {
            filters: filters.collect(),
            facts: facts.to_vec(),
        }
    }

    /// Whether they were made of these facts.
    pub(crate) fn are(&self, facts: &[NetworkFilter]) -> bool {
        self.facts == facts
    }

    /// Why a connection is refused, in Envoy's words; `None` lets it pass.
    pub(crate) fn refuse(&self, ends: &Ends, caller: Caller<'_>, metrics: &Metrics) -> Option<String> {
        let peer = ends.peer.ip().to_canonical();
        let subject = Subject {
            request: None,
            identity: caller.peer.map(|peer| peer.uri.as_str()),
            peer,
            client: peer,
            destination: ends.destination,
            server_name: caller.server_name,
            claims: None,
        };
        self.filters.iter().find_map(|filter| {
            let decision = filter.decide(&subject, |denial, policy| metrics.denied(denial, policy));
            decision.denied
        })
    }
}
