//! Limits on requests, of one policy. `RateLimit` of our own group; Envoy: `envoy.filters.http.local_ratelimit` and
//! `envoy.filters.http.ratelimit`.
//!
//! [`CompiledRateLimit`] says which limits are for a request, and what its caller is told apart by; the data path and
//! `explain` both ask it. Who counts, and how, is the proxy's business.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::route::{Conditions, RequestView};
use crate::{ClusterName, Origin, RouteMatch};

/// Status of requests over a limit, unless a policy states another one.
pub const TOO_MANY_REQUESTS: u16 = 429;
/// Key of the entry that names the limit; the first of every descriptor.
pub const LIMIT_ENTRY: &str = "limit";

/// Limits that a request has to pass, every one that is for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// The policy: `shop/backend`.
    pub policy: String,
    /// Its limits, in the order of the policy.
    pub limits: Vec<Limit>,
    /// Status of requests over a limit.
    pub status: u16,
    /// Body of those that a limit of this proxy refuses; `None` is Envoy's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Responses tell limits in `RateLimit-Policy` and `RateLimit`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub says_limits: bool,
    /// Responses tell limits in `x-ratelimit-*`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub says_x_limits: bool,
    /// Who counts for limits that are [`Limit::global`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<LimitServer>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Unique in its policy.
    pub name: String,
    /// Which requests it is for.
    #[serde(default)]
    pub matches: RouteMatch,
    /// Each combination of values has a bucket of its own; a request that lacks a value is not for this limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<LimitKey>,
    /// Requests per interval.
    pub requests: u32,
    /// The interval.
    pub interval: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// What one request takes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub cost: u32,
    /// A server counts, for all proxies together.
    #[serde(default, skip_serializing_if = "is_false")]
    pub global: bool,
    /// Requests over the limit are written down, and pass.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// The field of the policy.
    pub origin: Origin,
}

/// What callers are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKey {
    /// The first value of that header; lower case.
    Header(String),
    /// The first value of that query parameter.
    QueryParameter(String),
    /// That claim of a verified token, if it is a text.
    Claim(String),
    /// The path, without its query.
    Path,
    /// The method.
    Method,
    /// The host that was asked for.
    Host,
    /// The SPIFFE identity of the caller.
    PeerIdentity,
    /// Where the connection comes from.
    SourceAddress,
    /// Always this.
    Value(String),
}

/// A server that speaks `envoy.service.ratelimit.v3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitServer {
    /// How it is reached.
    pub cluster: ClusterName,
    /// Authority of calls.
    pub authority: String,
    /// What the server is told to count under.
    pub domain: String,
    /// Longest time that it may take.
    pub timeout: Duration,
    /// Requests are refused while it cannot be asked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fails_closed: bool,
    /// The mesh's own, which asks proxies who they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own: bool,
}

/// What is known of a caller besides the head of its request.
pub trait CallerView {
    /// A claim of its verified token, if that is a text.
    fn claim(&self, name: &str) -> Option<&str>;
    /// The identity that its connection proves.
    fn peer_identity(&self) -> Option<&str>;
    /// Where its connection comes from.
    fn source_address(&self) -> Option<std::net::IpAddr>;
}

/// Takes a key with its value.
pub type EachValue<'a> = dyn FnMut(&LimitKey, &str) + 'a;

impl LimitKey {
    /// Key of its entry in a descriptor. `remote_address` is Envoy's own, which no configuration changes.
    pub fn entry(&self) -> String {
        match self {
            Self::Header(name) => format!("header:{name}"),
            Self::QueryParameter(name) => format!("query:{name}"),
            Self::Claim(name) => format!("claim:{name}"),
            Self::Path => "path".to_owned(),
            Self::Method => "method".to_owned(),
            Self::Host => "host".to_owned(),
            Self::PeerIdentity => "peer".to_owned(),
            Self::SourceAddress => "remote_address".to_owned(),
            Self::Value(_) => "value".to_owned(),
        }
    }

    /// Hands its value to `each`; `false` where the request has none.
    fn visit(
        &self,
        request: &impl RequestView,
        caller: &impl CallerView,
        each: &mut dyn FnMut(&str),
    ) -> bool {
        let given = match self {
            Self::Header(name) => {
                let mut first = true;
                request.header(name, &mut |value| {
                    if std::mem::take(&mut first) {
                        each(value);
                    }
                });
                return !first;
            }
            Self::SourceAddress => {
                let address = caller.source_address();
                if let Some(address) = address {
                    each(&address.to_canonical().to_string());
                }
                return address.is_some();
            }
            Self::QueryParameter(name) => query_parameter(request.path_and_query(), name),
            Self::Claim(name) => caller.claim(name),
            Self::Path => Some(path_of(request.path_and_query())),
            Self::Method => Some(request.method()),
            Self::Host => Some(request.authority()),
            Self::PeerIdentity => caller.peer_identity(),
            Self::Value(text) => Some(text.as_str()),
        };
        if let Some(value) = given {
            each(value);
        }
        given.is_some()
    }
}

impl Limit {
    /// Hands the values of all keys to `each`, in order; `false` where one is missing, and the limit is not for the
    /// request.
    pub fn visit(
        &self,
        request: &impl RequestView,
        caller: &impl CallerView,
        each: &mut EachValue<'_>,
    ) -> bool {
        self.keys
            .iter()
            .all(|key| key.visit(request, caller, &mut |value| each(key, value)))
    }

    /// Keys and values that the server is told; `None` where a value is missing.
    pub fn descriptor(
        &self,
        request: &impl RequestView,
        caller: &impl CallerView,
    ) -> Option<Vec<(String, String)>> {
        let mut entries = vec![(LIMIT_ENTRY.to_owned(), self.name.clone())];
        let complete = self.visit(request, caller, &mut |key, value| {
            entries.push((key.entry(), value.to_owned()));
        });
        complete.then_some(entries)
    }

    /// Whole requests per second. Limits with fewer are asked first, as Envoy does.
    pub fn per_second(&self) -> u64 {
        u64::from(self.requests) / self.interval.as_secs().max(1)
    }
}

/// A policy in the form that answers requests.
#[derive(Clone, Debug)]
pub struct CompiledRateLimit {
    /// By position of the limit; `None` where something cannot be compiled: never for any request.
    conditions: Vec<Option<Conditions>>,
    /// Positions in the order of asking: those of the proxy itself first, the strictest of them first.
    order: Vec<usize>,
}

impl CompiledRateLimit {
    /// Compiles a policy. A limit that cannot be compiled is for no request, and reported.
    pub fn new(policy: &RateLimit) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let conditions = policy.limits.iter().map(|limit| {
            Conditions::new(&limit.matches)
                .map_err(|reason| problems.push(format!("{} {}: {reason}", policy.policy, limit.name)))
                .ok()
        });
        let conditions = conditions.collect();
        let mut order: Vec<usize> = (0..policy.limits.len()).collect();
        order.sort_by_key(|position| {
            let limit = &policy.limits[*position];
            (limit.global, limit.per_second())
        });
        (Self { conditions, order }, problems)
    }

    /// Positions of the limits whose conditions hold for the request, in the order of asking.
    pub fn matching<'a>(&'a self, request: &'a impl RequestView) -> impl Iterator<Item = usize> + 'a {
        let holds = |position: &usize| {
            let conditions = self.conditions.get(*position).and_then(Option::as_ref);
            conditions.is_some_and(|conditions| conditions.match_request(request))
        };
        self.order.iter().copied().filter(holds)
    }
}

fn path_of(path_and_query: &str) -> &str {
    let end = path_and_query.find(['?', '#']).unwrap_or(path_and_query.len());
    &path_and_query[..end]
}

/// As it was sent, without decoding.
fn query_parameter<'a>(path_and_query: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path_and_query.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(before, _)| before);
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

fn is_false(value: &bool) -> bool {
    !value
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

#[cfg(test)]
mod tests;
