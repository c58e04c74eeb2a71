//! What would happen to a call: walks a Snapshot as the proxy would, without sockets. It asks the same compiled route
//! table as the data path, so that what it says is what the proxy does.

mod asked;
mod details;
mod limits;
mod onward;
mod tokens;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use resources::{Key, Kind};
use serde::Serialize;
use serde_json::Value;
use snapshot::authorization::{CompiledRules, RequestFacts, RuleAction, Subject, Verdict};
use snapshot::chain::RouteSource;
use snapshot::route::{CompiledTable, RequestView};
use snapshot::{
    Action, Arrival, Authorization, Chain, ChainTable, ClusterName, Direction, Discovery, Fault, Handler,
    Health, HttpFilter, Listener, Mirror, NetworkFilter, Origin, RouteTable, Snapshot, TransportProtocol,
    Weighted,
};

use crate::authorization::{RuleReference, SHADOW_CUSTOM};
use crate::mtls;

pub use asked::Asked;
pub use details::Details;
use limits::limits;
pub use onward::onward;
pub use tokens::BEARER;
use tokens::token_rules;

/// A call, as the proxy would see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub direction: Direction,
    /// Where the connection was going before it was captured. Without a known address, an unspecified one with the
    /// port will do for HTTP.
    pub destination: SocketAddr,
    /// The server name of a ClientHello that the connection begins with, empty if it has none; `None` without TLS.
    pub server_name: Option<String>,
    /// The client is a proxy of the mesh that begins with mutual TLS, under which the request or the bytes come.
    pub mutual: bool,
    /// The request; `None` for a connection that does not speak HTTP.
    pub request: Option<Request>,
    /// Who calls.
    pub caller: Caller,
}

/// Who calls, as far as policies ask for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The address that the connection comes from.
    pub address: IpAddr,
    /// The name in its certificate; `None` in plain text.
    pub identity: Option<String>,
    /// The content of the token that it shows.
    pub claims: Option<Value>,
}

impl Default for Caller {
    /// Somebody without a name, from nowhere.
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            identity: None,
            claims: None,
        }
    }
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
    /// Who may have signed a token that the request carries. With another one, or a bad one, the answer is 401.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenRule>,
    /// Limits on requests that this one counts for, in the order of asking.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<CountedBy>,
    /// Errors and delays made on purpose, before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Who gets a copy of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Whether an inbound connection came under mutual TLS, and why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<String>,
    /// Who else is asked before that whether the call may pass; the answer is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// The rule because of which it is not refused, where some have to allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Origin>,
    /// What rules that are tried out would refuse it for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Denied>,
    /// Why the call is refused, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<Denied>,
    pub answer: Answer,
}

/// Why a policy refuses a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// Envoy's details, as access logs have them.
    pub details: String,
    /// The rule that refuses; `None` where none allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Tokens of one issuer, as a proxy judges them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenRule {
    /// As Istio names it: `origins-0`. [`crate::jwt::origins`] tells the rule behind it.
    pub provider: String,
    /// Empty for any.
    pub issuer: String,
    /// One of these, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Where tokens are looked for.
    pub places: Vec<String>,
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
    /// A server counts, for all proxies together.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub global: bool,
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
    /// The route or the target changes headers on the way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub changes_headers: bool,
    /// Whether the connection is under mutual TLS, and why; `None` when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<String>,
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
        tokens: Vec::new(),
        limits: Vec::new(),
        fault: None,
        mirrors: Vec::new(),
        security: None,
        asked: Vec::new(),
        allowed: None,
        tried: Vec::new(),
        denied: None,
        answer: Answer::Close,
    };
    let chain = find_chain(listener, call);
    if call.direction == Direction::Inbound {
        let identity = call.caller.identity.as_deref();
        outcome.security = Some(mtls::inbound(listener, chain, identity));
    }
    let Some(chain) = chain else {
        return Some(outcome);
    };
    outcome.chain = chain.name.clone();
    if mtls::is_stranger(Some(chain), call.caller.identity.as_deref()) {
        return Some(outcome);
    }
    outcome.asked = asked::asked(chain, call);
    if let Handler::Http(http) = &chain.handler {
        outcome.tokens = http.filters.iter().flat_map(token_rules).collect();
    }
    judge(chain, call, &mut outcome);
    if outcome.denied.is_some() {
        if let (Handler::Http(_), Some(_)) = (&chain.handler, &call.request) {
            outcome.answer = Answer::Respond {
                status: 403,
                flag: "-".into(),
                body: "RBAC: access denied".into(),
            };
        }
        return Some(outcome);
    }
    forward(snapshot, chain, call, &mut outcome);
    Some(outcome)
}

/// Where a call goes that nobody refused.
fn forward(snapshot: &Snapshot, chain: &Chain, call: &Call, outcome: &mut Outcome) {
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
            route(snapshot, table, request, outcome);
            // As in the proxy, a request without a route meets no filter.
            if outcome.route.is_some() {
                outcome.limits = limits(&http.filters, request);
            }
        }
    }
}

/// Asks every filter that decides who may do what, in their order, up to the first that refuses.
fn judge(chain: &Chain, call: &Call, outcome: &mut Outcome) {
    let of_requests = match &chain.handler {
        Handler::Http(http) => http.filters.as_slice(),
        Handler::Tcp(_) => &[],
    };
    let of_connections = chain.filters.iter().filter_map(|filter| match filter {
        NetworkFilter::Authorization(filter) => Some((filter, false)),
        NetworkFilter::ExtAuthz(_) => None,
    });
    let of_requests = of_requests.iter().filter_map(|filter| match filter {
        HttpFilter::Authorization(filter) => Some((filter, true)),
        _ => None,
    });
    for (filter, of_requests) in of_connections.chain(of_requests) {
        judge_by(filter, &subject(of_requests, call), outcome);
        if outcome.denied.is_some() {
            outcome.allowed = None;
            return;
        }
    }
}

fn judge_by(filter: &Authorization, subject: &Subject<'_>, outcome: &mut Outcome) {
    // Those that find out whether somebody has to be asked try nothing out.
    let shadow = filter.shadow.as_ref();
    if let Some(rules) = shadow.filter(|_| filter.shadow_prefix != SHADOW_CUSTOM) {
        let (rules, _) = CompiledRules::new(rules);
        outcome.tried.extend(denied_by(&rules.judge(subject)));
    }
    let Some(rules) = &filter.rules else { return };
    let (rules, _) = CompiledRules::new(rules);
    let verdict = rules.judge(subject);
    outcome.denied = denied_by(&verdict);
    if verdict.allowed && rules.action() == RuleAction::Allow {
        outcome.allowed = verdict.policy.and_then(origin);
    }
}

fn denied_by(verdict: &Verdict<'_>) -> Option<Denied> {
    (!verdict.allowed).then(|| Denied {
        details: Details::of_policy(verdict.policy),
        origin: verdict.policy.and_then(origin),
    })
}

/// Who asks for what, in a request or with the connection alone.
fn subject(of_requests: bool, call: &Call) -> Subject<'_> {
    let request = call.request.as_ref().filter(|_| of_requests);
    let Caller {
        address,
        identity,
        claims,
    } = &call.caller;
    let forwarded = request.and_then(|request| {
        let said = request
            .headers
            .iter()
            .rfind(|(name, _)| name == "x-forwarded-for");
        said?.1.rsplit(',').next()?.trim().parse().ok()
    });
    Subject {
        request: request.map(|request| RequestFacts::new(request)),
        identity: identity.as_deref(),
        peer: *address,
        client: forwarded.unwrap_or(*address),
        destination: call.destination,
        server_name: call.server_name.as_deref().unwrap_or_default(),
        claims: claims.as_ref(),
        // What filters find out is only known where they run.
        findings: None,
    }
}

/// The rule of that name.
fn origin(name: &str) -> Option<Origin> {
    let rule = RuleReference::parse(name)?;
    let key = Key::new(Kind::AuthorizationPolicy, &rule.namespace, &rule.policy);
    Some(Origin {
        resource: key.path().into(),
        field: format!("spec.rules[{}]", rule.rule).into(),
    })
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
    let plain = call.server_name.is_none() && !call.mutual;
    let tells_tls = listener.detect_tls && !plain;
    let server_name = call.server_name.as_deref().filter(|_| tells_tls);
    let arrival = Arrival {
        destination: call.destination,
        server_name: server_name.unwrap_or_default(),
        transport_protocol: match tells_tls {
            true => TransportProtocol::Tls,
            false => TransportProtocol::RawBuffer,
        },
        application_protocols: match call.request {
            Some(_) if call.mutual && tells_tls => &["istio-http/1.1", "istio", "http/1.1"],
            None if call.mutual && tells_tls => &["istio"],
            Some(_) if plain && listener.detect_http => &["http/1.1"],
            Some(_) | None => &[],
        },
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
                    .map(|weighted| Target {
                        changes_headers: found.route.request_changes(weighted).next().is_some(),
                        ..target(snapshot, weighted, authority)
                    })
                    .collect(),
            )
        }
    };
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
    let cluster = snapshot.clusters.get(name);
    let discovery = cluster.map(|cluster| cluster.discovery);
    let members = snapshot.endpoints.get(name);
    let groups = members.iter().flat_map(|members| &members.localities);
    let healthy = groups.flat_map(|group| {
        let healthy = group.endpoints.iter().filter(|one| one.health == Health::Healthy);
        healthy.map(|one| (group.priority, one))
    });
    // Those of a later priority only help out.
    let first = healthy.clone().map(|(priority, _)| priority).min();
    let members: Vec<_> = healthy
        .filter(|(priority, _)| Some(*priority) == first)
        .map(|(_, member)| member)
        .collect();
    let endpoints: Vec<_> = members.iter().map(|member| member.address).collect();
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
        changes_headers: false,
        security: cluster
            .filter(|_| failure.is_none())
            .map(|cluster| mtls::outbound(cluster, &members)),
        failure,
    }
}
