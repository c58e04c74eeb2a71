//! Routes: virtual hosts, matches and actions, with the pure matchers that data path and `explain` share.
//!
//! Semantics are Envoy's: domains are tried exact, then longest suffix wildcard (`*.shop`), then longest prefix
//! wildcard (`shop.*`), then `*`; the port of the authority is ignored; the first route that matches wins.

mod compiled;
mod matcher;
mod redirect;
mod rewrite;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ext_authz::RouteExtAuthz;
use crate::{
    ClusterName, Cors, Fault, GrpcTimeout, HashPolicy, HeaderOperations, LocalRateLimit, Mirror, Named,
    Origin, Retry, RouteTableName,
};

pub use compiled::{CompiledTable, Found, RouteProblem, can_compile, host_without_port, pick};
pub use matcher::{Conditions, HeaderView, RequestView, compile_regex};
pub use redirect::{Redirect, RedirectPath};
pub use rewrite::PathRewrite;

/// All routes of one outbound port, or of one inbound chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its name.
    pub name: RouteTableName,
    /// The port of a request's host counts. In a mesh it does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub match_ports: bool,
    /// Virtual hosts; no two share a domain.
    pub hosts: Vec<VirtualHost>,
}

impl Named for RouteTable {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

/// Routes for a set of domains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// `backend.shop.svc.cluster.local:9090`, `allow_any`, `inbound|http|9090`.
    pub name: String,
    /// Lower case, without port: `backend`, `*.shop`, `shop.*`, `*`.
    pub domains: Vec<String>,
    /// The upstream is not told which try it gets, or is told what the proxy before said (Istio: inbound).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_attempt_count: bool,
    /// First match wins.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// `http[].name` of the VirtualService, `default` without one, `allow_any` for passthrough.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Which requests it takes.
    #[serde(default)]
    pub matches: RouteMatch,
    /// What happens to them.
    pub action: Action,
    /// Changes to the request, after those of the chosen target.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub request_headers: HeaderOperations,
    /// Changes to the response, after those of the chosen target; a redirect or a direct response gets them too.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub response_headers: HeaderOperations,
    /// Prefix of statistics of their own for the requests it takes (Istio: `statPrefix`); empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stat_prefix: String,
    /// Errors and delays made on purpose; before everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Answers for scripts of other origins; only where the action forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// A limit of its own on requests; instead of that of its listener, and only where that has the filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_rate_limit: Option<LocalRateLimit>,
    /// What services are told that decide about its requests, where its listener asks some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext_authz: Option<Box<RouteExtAuthz>>,
    /// What its virtual host and then its table change, after itself. Only files say so, never a mesh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outer_headers: Vec<OuterHeaders>,
    /// The rule that made it; `None` for defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Route {
    /// A route without name that takes every request.
    pub fn new(action: Action) -> Self {
        Self {
            name: String::new(),
            matches: RouteMatch::default(),
            action,
            request_headers: HeaderOperations::default(),
            response_headers: HeaderOperations::default(),
            stat_prefix: String::new(),
            fault: None,
            cors: None,
            local_rate_limit: None,
            ext_authz: None,
            outer_headers: Vec::new(),
            origin: None,
        }
    }
}

impl Route {
    /// Changes to a request that goes to `target`, in order.
    pub fn request_changes<'a>(&'a self, target: &'a Weighted) -> impl Iterator<Item = &'a HeaderOperations> {
        let own = [&target.request_headers, &self.request_headers];
        let outer = self.outer_headers.iter().map(|outer| &outer.request);
        own.into_iter()
            .chain(outer)
            .filter(|operations| !operations.is_empty())
    }

    /// Changes to a response, in order; those of a target come before.
    pub fn response_changes(&self) -> impl Iterator<Item = &HeaderOperations> {
        let outer = self.outer_headers.iter().map(|outer| &outer.response);
        let own = std::iter::once(&self.response_headers);
        own.chain(outer).filter(|operations| !operations.is_empty())
    }
}

/// Changes to the headers of whole groups of routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OuterHeaders {
    /// Of requests.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub request: HeaderOperations,
    /// Of responses.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub response: HeaderOperations,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "nearly every route forwards")]
pub enum Action {
    /// Forwarded to one of several clusters by weight.
    Forward(Forward),
    /// Answered by the proxy.
    Respond(DirectResponse),
    /// Sent elsewhere.
    Redirect(Redirect),
}

/// How a request is forwarded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// At least one; a weight of 0 receives nothing.
    pub clusters: Vec<Weighted>,
    /// Limit of the whole exchange including retries, from the end of the request on; `None` is no limit (Istio's
    /// default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What `grpc-timeout` of a gRPC request does.
    #[serde(default, skip_serializing_if = "GrpcTimeout::is_default")]
    pub grpc_timeout: GrpcTimeout,
    /// Longest silence on a stream; `None` is the chain's, zero is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Longest life of a stream; `None` is the chain's, zero is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stream_duration: Option<Duration>,
    /// Retries; `None` never retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Another path for the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_rewrite: Option<PathRewrite>,
    /// Another authority for the upstream; it wins over one of the chosen target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_rewrite: Option<String>,
    /// Keys for clusters that choose consistently.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<HashPolicy>,
    /// Who gets a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

impl Forward {
    /// Forwards to these, without limit, retry or change.
    pub fn to(clusters: Vec<Weighted>) -> Self {
        Self {
            clusters,
            timeout: None,
            grpc_timeout: GrpcTimeout::default(),
            idle_timeout: None,
            max_stream_duration: None,
            retry: None,
            path_rewrite: None,
            authority_rewrite: None,
            hash: Vec::new(),
            mirrors: Vec::new(),
        }
    }
}

/// One target of a weighted route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighted {
    /// The target.
    pub cluster: ClusterName,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// Changes to a request that goes there.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub request_headers: HeaderOperations,
    /// Changes to its response.
    #[serde(default, skip_serializing_if = "HeaderOperations::is_empty")]
    pub response_headers: HeaderOperations,
    /// Another authority for a request that goes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_rewrite: Option<String>,
}

impl Weighted {
    /// A target that changes nothing.
    pub fn new(cluster: ClusterName, weight: u32) -> Self {
        Self {
            cluster,
            weight,
            request_headers: HeaderOperations::default(),
            response_headers: HeaderOperations::default(),
            authority_rewrite: None,
        }
    }
}

/// An answer that the proxy gives by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectResponse {
    /// HTTP status.
    pub status: u16,
    /// Body; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
}

/// Which requests a route takes; all conditions must hold, and an empty match takes every request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteMatch {
    /// The path without query. `Prefix` here is Envoy's plain text prefix; Istio's path-segment rule is
    /// already resolved by translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<StringMatch>,
    /// Path matching ignores ASCII case (Istio: `ignoreUriCase`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_path_case: bool,
    /// Request headers, pseudo-headers (`:method`, `:authority`, `:scheme`) included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Query parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
}

/// A condition on text. Regular expressions are RE2 syntax and match the whole text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StringMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches as a whole.
    Regex(String),
}

/// A condition on one header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// On its value (several are joined by a comma); `None` asks only that it is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<StringMatch>,
    /// The condition must not hold (Istio: `withoutHeaders`). An absent header then counts as an empty value
    /// (Envoy: `treat_missing_header_as_empty`), so it satisfies all but conditions that take empty text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
}

/// A condition on one query parameter; the first of that name counts, case matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    /// Name.
    pub name: String,
    /// On its value; `None` asks only that it is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<StringMatch>,
}
