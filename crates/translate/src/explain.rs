//! What would happen to a call: walks a Snapshot as the proxy would, without sockets. It asks the same compiled route
//! table as the data path, so that what it says is what the proxy does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use snapshot::chain::RouteSource;
use snapshot::rate_limit::{CallerView, CompiledRateLimit};
use snapshot::route::{CompiledTable, RequestView};
use snapshot::{
    Action, Arrival, Chain, ChainTable, ClusterName, Direction, Discovery, Fault, Handler, Health,
    HttpFilter, Listener, Mirror, Origin, RouteTable, Snapshot, TransportProtocol, Weighted,
};

/// A call, as the proxy would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub direction: Direction,
    /// Where the connection was going before it was captured. Without a known address, an unspecified one with the
    /// port will do for HTTP.
    pub destination: SocketAddr,
    /// The server name of a ClientHello that the connection begins with, empty if it has none; `None` without TLS.
    pub server_name: Option<String>,
    /// The request; `None` for a connection that does not speak HTTP.
    pub request: Option<Request>,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// With query.
    pub path: String,
    pub authority: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub listener: String,
    pub chain: String,
    /// The virtual host, for HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The rule that decided; `None` when it was a default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The path that the upstream gets, when it is another one than the client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Limits on requests that this one counts for, in the order of asking.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<CountedBy>,
    /// Errors and delays made on purpose, before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Who gets a copy of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    pub answer: Answer,
}

/// A limit that a call counts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountedBy {
    /// `shop/backend each`.
    pub limit: String,
    /// The policy, and the place in it.
    pub origin: Origin,
    /// `60 per 60s, at once 60`.
    pub rate: String,
    /// What callers are told apart by; empty where all are one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What a caller over it is answered; `None` for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One of these, by weight.
    Forward(Vec<Target>),
    /// The proxy itself, with Envoy's flag for the reason, if there is one.
    Respond { status: u16, flag: String, body: String },
    /// The proxy itself: elsewhere.
    Redirect { status: u16, location: String },
    /// Nobody: the connection is closed.
    Close,
}

/// A cluster that a call may go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    pub cluster: ClusterName,
    pub weight: u32,
    /// The authority that it gets, when it is another one than the client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Who may be picked; empty for the original destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// Why the call fails if it goes here: `NC` (no such cluster) or `UH` (no healthy endpoint), both 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<&'static str>,
}

impl RequestView for Request {
    fn method(&self) -> &str {
        &self.method
    }

    fn path_and_query(&self) -> &str {
        &self.path
    }

    fn authority(&self) -> &str {
        &self.authority
    }

    fn scheme(&self) -> &str {
        "http"
    }

    fn header(&self, name: &str, each: &mut dyn FnMut(&str)) {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .for_each(|(_, value)| each(value));
    }
}

/// What would happen to that call. `None` when the snapshot has no listener for its direction.
pub fn explain(snapshot: &Snapshot, call: &Call) -> Option<Outcome> {
    let listener = find_listener(snapshot, call)?;
    let mut outcome = Outcome {
        listener: listener.name.to_string(),
        chain: String::new(),
        host: None,
        route: None,
        origin: None,
        path: None,
        limits: Vec::new(),
        fault: None,
        mirrors: Vec::new(),
        answer: Answer::Close,
    };
    let Some(chain) = find_chain(listener, call) else {
        return Some(outcome);
    };
    outcome.chain = chain.name.clone();
    match (&chain.handler, &call.request) {
        (Handler::Tcp(tcp), _) => {
            let targets = tcp.target.weighted().filter(|(_, weight)| *weight > 0);
            let targets: Vec<_> = targets
                .map(|(cluster, weight)| target(snapshot, &Weighted::new(cluster.clone(), weight), None))
                .collect();
            // A connection cannot be told that nobody is there.
            let closed = targets.iter().all(|target| target.failure.is_some());
            outcome.answer = if closed {
                Answer::Close
            } else {
                Answer::Forward(targets)
            };
        }
        (Handler::Http(_), None) => outcome.answer = respond(400, "DPE"),
        (Handler::Http(http), Some(request)) => {
            let table = match &http.routes {
                RouteSource::Inline(table) => Some(table),
                RouteSource::Named(name) => snapshot.routes.get(name.as_str()),
            };
            route(snapshot, table, request, &mut outcome);
            // As in the proxy, a request without a route meets no filter.
            if outcome.route.is_some() {
                outcome.limits = limits(&http.filters, request);
            }
        }
    }
    Some(outcome)
}

/// The virtual listener of the original destination, else that of its port, else the one that captured it.
fn find_listener<'a>(snapshot: &'a Snapshot, call: &Call) -> Option<&'a Listener> {
    let at = |address: SocketAddr| {
        let virtual_ones = snapshot.listeners.iter().filter(|listener| !listener.bind);
        virtual_ones
            .filter(|listener| listener.direction == call.direction)
            .find(|listener| listener.address == address)
    };
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), call.destination.port());
    let bound = || {
        snapshot
            .listeners
            .iter()
            .find(|listener| listener.bind && listener.direction == call.direction)
    };
    at(call.destination)
        .or_else(|| at(any))
        .or_else(bound)
        .map(Arc::as_ref)
}

/// The chain that the listener's table gives for what the proxy would find out.
fn find_chain<'a>(listener: &'a Listener, call: &Call) -> Option<&'a Chain> {
    let detected = call.request.is_some() && call.server_name.is_none() && listener.detect_http;
    let server_name = call.server_name.as_deref().filter(|_| listener.detect_tls);
    let arrival = Arrival {
        destination: call.destination,
        server_name: server_name.unwrap_or_default(),
        transport_protocol: match server_name {
            Some(_) => TransportProtocol::Tls,
            None => TransportProtocol::RawBuffer,
        },
        application_protocols: if detected { &["http/1.1"] } else { &[] },
    };
    let found = ChainTable::new(&listener.chains).find(&arrival);
    found
        .map(|position| &listener.chains[position])
        .or(listener.default_chain.as_ref())
}

fn route(snapshot: &Snapshot, table: Option<&Arc<RouteTable>>, request: &Request, outcome: &mut Outcome) {
    let compiled = table.map(|table| CompiledTable::new(table.clone()).0);
    let Some(found) = compiled.as_ref().and_then(|table| table.find(request)) else {
        outcome.answer = respond(404, "NR");
        return;
    };
    outcome.host = Some(found.host.name.clone());
    outcome.route = Some(found.route.name.clone());
    outcome.origin.clone_from(&found.route.origin);
    outcome.fault.clone_from(&found.route.fault);
    let path = found.rewrite(&request.path);
    outcome.answer = match &found.route.action {
        Action::Redirect(redirect) => Answer::Redirect {
            status: redirect.status,
            location: redirect.location(request, &path),
        },
        Action::Respond(response) => Answer::Respond {
            status: response.status,
            flag: "-".into(),
            body: response.body.clone(),
        },
        Action::Forward(forward) => {
            outcome.mirrors.clone_from(&forward.mirrors);
            outcome.path = Some(path.into_owned()).filter(|path| *path != request.path);
            let authority = forward.authority_rewrite.as_ref();
            let targets = forward.clusters.iter();
            Answer::Forward(
                targets
                    .map(|weighted| target(snapshot, weighted, authority))
                    .collect(),
            )
        }
    };
}

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

fn limits(filters: &[HttpFilter], request: &Request) -> Vec<CountedBy> {
    let policies = filters.iter().filter_map(|filter| match filter {
        HttpFilter::RateLimit(policy) => Some(policy),
        HttpFilter::Stats | HttpFilter::GrpcWeb | HttpFilter::LocalRateLimit(_) => None,
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
                keys: limit.keys.iter().map(|key| key.entry()).collect(),
                status: (!limit.dry_run).then_some(policy.status),
            });
        }
    }
    counted
}

fn respond(status: u16, flag: &str) -> Answer {
    Answer::Respond {
        status,
        flag: flag.into(),
        body: String::new(),
    }
}

fn target(snapshot: &Snapshot, weighted: &Weighted, authority: Option<&String>) -> Target {
    let name = weighted.cluster.as_str();
    let discovery = snapshot.clusters.get(name).map(|cluster| cluster.discovery);
    let members = snapshot.endpoints.get(name);
    let groups = members.iter().flat_map(|members| &members.localities);
    let healthy = groups.flat_map(|group| {
        let healthy = group.endpoints.iter().filter(|one| one.health == Health::Healthy);
        healthy.map(|one| (group.priority, one.address))
    });
    // Those of a later priority only help out.
    let first = healthy.clone().map(|(priority, _)| priority).min();
    let endpoints: Vec<_> = healthy
        .filter(|(priority, _)| Some(*priority) == first)
        .map(|(_, address)| address)
        .collect();
    let failure = match discovery {
        None => Some("NC"),
        Some(Discovery::Nobody) => Some("UH"),
        Some(Discovery::Endpoints) if endpoints.is_empty() => Some("UH"),
        Some(Discovery::Endpoints | Discovery::OriginalDestination) => None,
    };
    Target {
        cluster: weighted.cluster.clone(),
        weight: weighted.weight,
        authority: authority.or(weighted.authority_rewrite.as_ref()).cloned(),
        endpoints,
        failure,
    }
}
