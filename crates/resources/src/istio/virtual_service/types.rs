//! The fields of a VirtualService. Documentation comments become descriptions in the CRD.

use std::collections::BTreeMap;

use base64::Engine;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Meta;
use crate::istio::structural::AtMostOneOf;
use crate::istio::{Destination, Duration, Percent, StringMatch};

/// The object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VirtualService {
    pub metadata: Meta,
    pub spec: VirtualServiceSpec,
}

/// Routes for requests to one or more hosts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualServiceSpec {
    /// Hosts that the routes apply to: service names, other DNS names, or a wildcard such as `*.example.com`.
    pub hosts: Vec<String>,
    /// Gateways that apply the routes; `mesh` stands for all sidecars and is the default.
    pub gateways: Vec<String>,
    /// Routes for HTTP, HTTP/2 and gRPC; the first rule that matches decides.
    pub http: Vec<HttpRoute>,
    /// Routes for TLS that is passed through, chosen by server name.
    pub tls: Vec<TlsRoute>,
    /// Routes for opaque TCP.
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that may see this object; `.` is its own, `*` is every one and the default.
    pub export_to: Vec<String>,
}

/// One rule for HTTP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRoute {
    /// Name of the rule, as it appears in access logs.
    pub name: String,
    /// Conditions; one of them must hold. Without any the rule takes every request.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Where requests go, by weight.
    pub route: Vec<HttpDestination>,
    /// Answer with a redirect instead of forwarding.
    pub redirect: Option<HttpRedirect>,
    /// Answer with a fixed response instead of forwarding.
    pub direct_response: Option<DirectResponse>,
    /// Take the rules from another VirtualService.
    pub delegate: Option<Delegate>,
    /// Change path or host before forwarding.
    pub rewrite: Option<HttpRewrite>,
    /// Limit for the whole exchange, retries included. None by default.
    pub timeout: Option<Duration>,
    /// When and how often a failed request is tried again.
    pub retries: Option<HttpRetry>,
    /// Errors and delays that are made on purpose.
    pub fault: Option<HttpFault>,
    /// Send a copy of requests to another destination, whose answers are ignored.
    pub mirror: Option<Destination>,
    /// Send copies of requests to several other destinations.
    pub mirrors: Vec<HttpMirror>,
    /// Deprecated; use mirrorPercentage.
    pub mirror_percent: Option<u32>,
    /// Deprecated; use mirrorPercentage.
    #[serde(rename = "mirror_percent")]
    pub mirror_percent_snake_case: Option<u32>,
    /// Share of requests that are mirrored; all by default.
    pub mirror_percentage: Option<Percent>,
    /// Cross-origin resource sharing.
    pub cors_policy: Option<CorsPolicy>,
    /// Changes to headers.
    pub headers: Option<Headers>,
}

/// Conditions on a request, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    /// Name of the condition; it is appended to the name of the rule.
    pub name: String,
    /// Path without query.
    pub uri: Option<StringMatch>,
    /// Scheme.
    pub scheme: Option<StringMatch>,
    /// Method.
    pub method: Option<StringMatch>,
    /// Host and port as the client sent them; case matters.
    pub authority: Option<StringMatch>,
    /// Headers by lower-case name. An empty condition asks that the header is present.
    pub headers: BTreeMap<String, StringMatch>,
    /// Port of the host that the request was sent to.
    pub port: Option<u32>,
    /// Labels of the workload that sends the request.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways that apply this condition; replaces the list of the object.
    pub gateways: Vec<String>,
    /// Query parameters by name. An empty condition asks that the parameter is present.
    pub query_params: BTreeMap<String, StringMatch>,
    /// Ignore the case of the path, for exact and prefix.
    pub ignore_uri_case: bool,
    /// Headers that must not match.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Namespace of the workload that sends the request.
    pub source_namespace: String,
    /// Prefix of statistics for requests that match.
    pub stat_prefix: String,
}

/// One target of a rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct HttpDestination {
    /// Where requests go.
    pub destination: Destination,
    /// Share relative to the other targets of the rule; a single target takes everything.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub weight: i32,
    /// Changes to headers for this target.
    pub headers: Option<Headers>,
}

/// Changes to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Headers {
    /// Of the request, before it is forwarded.
    pub request: Option<HeaderOperations>,
    /// Of the response, before it is returned.
    pub response: Option<HeaderOperations>,
}

/// Changes to the headers of one message: remove, then set, then add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HeaderOperations {
    /// Replace values.
    pub set: BTreeMap<String, String>,
    /// Append values.
    pub add: BTreeMap<String, String>,
    /// Remove headers.
    pub remove: Vec<String>,
}

/// A redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = AtMostOneOf("port derivePort"))]
pub struct HttpRedirect {
    /// Replaces the whole path.
    pub uri: String,
    /// Replaces the prefix that matched.
    pub prefix_rewrite: String,
    /// Replaces the host.
    pub authority: String,
    /// Replaces the port.
    pub port: Option<u32>,
    /// Where to take the port from.
    pub derive_port: Option<DerivePort>,
    /// Replaces the scheme.
    pub scheme: String,
    /// Status; 301 by default.
    pub redirect_code: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DerivePort {
    FromProtocolDefault,
    FromRequestPort,
}

/// A fixed response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DirectResponse {
    /// HTTP status.
    pub status: u32,
    /// Body; empty by default.
    pub body: Option<HttpBody>,
}

/// A body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(transform = AtMostOneOf("string bytes"))]
pub struct HttpBody {
    /// As text.
    pub string: Option<String>,
    /// As base64.
    #[schemars(extend("format" = "byte"))]
    pub bytes: Option<String>,
}

impl HttpBody {
    /// The body as text; `None` for none, and for bytes that are no base64 or no UTF-8.
    pub fn text(&self) -> Option<String> {
        let decoded = |text: &String| base64::engine::general_purpose::STANDARD.decode(text).ok();
        match (&self.string, &self.bytes) {
            (Some(text), _) => Some(text.clone()),
            (None, bytes) => String::from_utf8(bytes.as_ref().and_then(decoded)?).ok(),
        }
    }
}

/// Another VirtualService.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; that of this object by default.
    pub namespace: String,
}

/// A change of path or host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRewrite {
    /// Replaces the prefix that matched, or the whole path.
    pub uri: String,
    /// Replaces the host.
    pub authority: String,
    /// Replaces parts of the path by a regular expression.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A replacement by regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RegexRewrite {
    /// What is replaced (RE2 syntax).
    #[serde(rename = "match")]
    pub pattern: String,
    /// By what; `\1` is the first group.
    pub rewrite: String,
}

/// Retries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRetry {
    /// Tries after the first one; 0 switches retries off.
    #[schemars(range(min = 0))]
    pub attempts: i32,
    /// Limit of each try; that of the rule by default.
    pub per_try_timeout: Option<Duration>,
    /// Conditions, separated by commas: Envoy's names or HTTP statuses.
    pub retry_on: String,
    /// Also try endpoints of other localities.
    pub retry_remote_localities: Option<bool>,
    /// Prefer endpoints that the request has not tried; true by default.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// Pause before the first retry; it grows with each. 25ms by default.
    pub backoff: Option<Duration>,
}

/// Faults made on purpose.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpFault {
    /// Wait before forwarding.
    pub delay: Option<FaultDelay>,
    /// Answer with an error instead of forwarding.
    pub abort: Option<FaultAbort>,
}

/// A delay.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = AtMostOneOf("fixedDelay exponentialDelay"))]
pub struct FaultDelay {
    /// How long.
    pub fixed_delay: Option<Duration>,
    /// Not supported by Istio either.
    pub exponential_delay: Option<Duration>,
    /// Deprecated; use percentage.
    pub percent: Option<i32>,
    /// Share of requests.
    pub percentage: Option<Percent>,
}

/// An error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = AtMostOneOf("httpStatus grpcStatus http2Error"))]
pub struct FaultAbort {
    /// HTTP status.
    pub http_status: Option<i32>,
    /// gRPC status by name.
    pub grpc_status: Option<String>,
    /// Not supported by Istio either.
    pub http2_error: Option<String>,
    /// Share of requests.
    pub percentage: Option<Percent>,
}

/// A target of copies.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct HttpMirror {
    /// Where copies go.
    pub destination: Destination,
    /// Share of requests; all by default.
    pub percentage: Option<Percent>,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsPolicy {
    /// Deprecated; use allowOrigins.
    pub allow_origin: Vec<String>,
    /// Origins that may call.
    pub allow_origins: Vec<StringMatch>,
    /// Methods that may be used.
    pub allow_methods: Vec<String>,
    /// Headers that may be sent.
    pub allow_headers: Vec<String>,
    /// Headers that scripts may read.
    pub expose_headers: Vec<String>,
    /// How long a browser may remember the answer.
    pub max_age: Option<Duration>,
    /// Whether credentials may be sent.
    pub allow_credentials: Option<bool>,
    /// What happens to preflight requests of other origins.
    pub unmatched_preflights: Option<UnmatchedPreflights>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    Unspecified,
    Forward,
    Ignore,
}

/// One rule for TLS that is passed through.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct TlsRoute {
    /// Conditions; one of them must hold.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatch>,
    /// Where connections go, by weight.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// Conditions on a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsMatch {
    /// Server names.
    pub sni_hosts: Vec<String>,
    /// Addresses or networks of the destination.
    #[serde(default)]
    pub destination_subnets: Vec<String>,
    /// Port of the destination.
    pub port: Option<u32>,
    /// Labels of the workload that connects.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways that apply this condition.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Namespace of the workload that connects.
    #[serde(default)]
    pub source_namespace: String,
}

/// One rule for TCP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpRoute {
    /// Conditions; one of them must hold. Without any the rule takes every connection.
    #[serde(rename = "match")]
    pub matches: Vec<TcpMatch>,
    /// Where connections go, by weight.
    pub route: Vec<RouteDestination>,
}

/// Conditions on a TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpMatch {
    /// Addresses or networks of the destination.
    pub destination_subnets: Vec<String>,
    /// Port of the destination.
    pub port: Option<u32>,
    /// Not enforced by Istio either.
    pub source_subnet: String,
    /// Labels of the workload that connects.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways that apply this condition.
    pub gateways: Vec<String>,
    /// Namespace of the workload that connects.
    pub source_namespace: String,
}

/// One target of a TLS or TCP rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RouteDestination {
    /// Where connections go.
    pub destination: Destination,
    /// Share relative to the other targets of the rule; a single target takes everything.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub weight: i32,
}

impl VirtualServiceSpec {
    /// Whether sidecars apply the object at all.
    pub fn applies_to_mesh(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == "mesh")
    }
}
