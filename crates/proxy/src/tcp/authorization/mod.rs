//! Who may connect: rules over connections, and others who decide about them, asked once, before anything is done for
//! them. Envoy asks when the first byte of the client comes; then a server that speaks first has spoken already.

mod ext_authz;

use std::borrow::Cow;
use std::rc::Rc;

use snapshot::NetworkFilter;
use snapshot::authorization::Subject;
use snapshot::ext_authz::TcpExtAuthz;

use crate::http::filters::authorization::Authorization;
use crate::listen::accept::Ends;
use crate::telemetry::flags::Flag;
use crate::telemetry::metrics::{Decider, Denial};
use crate::telemetry::record::Record;
use crate::tls::peer::Peer;
use crate::worker::Worker;

/// The filters of a chain for connections, ready to run.
#[derive(Debug)]
pub(crate) struct NetworkFilters {
    /// What they were made of.
    facts: Vec<NetworkFilter>,
    filters: Vec<Ready>,
}

#[derive(Debug)]
enum Ready {
    Authorization(Box<Authorization>),
    ExtAuthz(Box<TcpExtAuthz>),
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
            NetworkFilter::Authorization(facts) => Ready::Authorization(Box::new(Authorization::new(facts))),
            NetworkFilter::ExtAuthz(facts) => Ready::ExtAuthz(facts.clone()),
        });
        Self {
            filters: filters.collect(),
            facts: facts.to_vec(),
        }
    }

    /// Whether nobody is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether they were made of these facts.
    pub(crate) fn are(&self, facts: &[NetworkFilter]) -> bool {
        self.facts == facts
    }

    /// Whether a connection may go on; where it may not, the record says why, in Envoy's words.
    pub(crate) async fn pass(
        &self,
        worker: &Rc<Worker>,
        ends: Ends,
        caller: Caller<'_>,
        record: &mut Record,
    ) -> bool {
        for filter in &self.filters {
            let passes = match filter {
                Ready::Authorization(filter) => judge(worker, filter, (ends, caller), record),
                // Boxed: every connection would have room for a question that few need.
                Ready::ExtAuthz(filter) => {
                    match Box::pin(ext_authz::refuse(worker, filter, (ends, caller), record)).await {
                        None => true,
                        Some(details) => {
                            record.flag(Flag::UnauthorizedExternalService);
                            record.details = Cow::Borrowed(details);
                            let rule = record.told(filter.when.as_ref());
                            worker.metrics.denied(Decider::Custom, Denial::Enforced, rule);
                            false
                        }
                    }
                }
            };
            if !passes {
                return false;
            }
        }
        true
    }
}

fn judge(
    worker: &Worker,
    filter: &Authorization,
    (ends, caller): (Ends, Caller<'_>),
    record: &mut Record,
) -> bool {
    let peer = ends.peer.ip().to_canonical();
    let subject = Subject {
        request: None,
        identity: caller.peer.map(|peer| peer.uri.as_str()),
        peer,
        client: peer,
        destination: ends.destination,
        server_name: caller.server_name,
        claims: None,
        findings: Some(&*record),
    };
    let metrics = &worker.metrics;
    let decision = filter.decide(&subject, |denial, policy| {
        metrics.denied(Decider::Rule, denial, policy);
    });
    record.shadows.extend(decision.shadow);
    record.termination = decision.denied;
    record.termination.is_none()
}
