//! The fields of a RateLimit. Documentation comments become descriptions in the CRD; those of variants would turn an
//! `enum` of the schema into something that no structural schema may have, so they are plain ones.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Meta;
use crate::istio::structural::AtMostOneOf;
use crate::istio::{Duration, StringMatch, WorkloadSelector};

/// The object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct RateLimit {
    #[serde(default)]
    pub metadata: Meta,
    pub spec: RateLimitSpec,
}

/// Limits on requests, kept by the proxies of those who are called.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = AtMostOneOf("targetRef selector"))]
pub struct RateLimitSpec {
    /// The service that the limits are for. Requests count whichever way they come to its workloads.
    pub target_ref: Option<TargetRef>,
    /// The workloads that the limits are for. Without this and without targetRef, all of the namespace; in the root
    /// namespace, all of the mesh.
    pub selector: Option<WorkloadSelector>,
    /// Limits. A request has to pass every one that is for it.
    #[schemars(length(min = 1, max = 32))]
    pub limits: Vec<Limit>,
    /// What a caller over a limit is answered.
    pub response: Option<Refusal>,
    /// Fields of responses that tell callers how much is left; none unless stated.
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub response_headers: Vec<ResponseHeaders>,
    /// Who keeps the limits of scope Global.
    pub global: Option<Global>,
}

/// An object that a policy is for, in its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// API group of the object; empty for a Service.
    #[serde(default)]
    pub group: String,
    /// Kind of the object: Service.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Name of a port of the service; all of its ports by default.
    pub section_name: Option<String>,
}

/// One limit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// Name, unique in the object; logs and response headers tell it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Which requests the limit is for; all by default.
    #[serde(rename = "match")]
    pub matches: Option<RequestMatch>,
    /// What callers are told apart by. Each combination of values has a bucket of its own; without keys there is one
    /// bucket. A request that lacks a key is not for this limit.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub keys: Vec<Key>,
    /// Requests per unit of time.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// The unit of time; Second by default.
    #[serde(default)]
    pub unit: Unit,
    /// Requests that may come at once after a time of silence; as many as `requests` by default.
    pub burst: Option<u32>,
    /// What each request takes of the limit; 1 by default.
    pub cost: Option<u32>,
    /// Who counts: each proxy for itself, or all together. Local by default.
    #[serde(default)]
    pub scope: LimitScope,
    /// Requests over the limit are counted and logged, and pass.
    #[serde(default)]
    pub dry_run: bool,
}

/// Conditions on a request; all that are stated must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestMatch {
    /// The path, without its query.
    pub path: Option<StringMatch>,
    /// One of these methods.
    #[schemars(length(max = 16))]
    pub methods: Vec<String>,
    /// Headers, by name in lower case; without a condition, the header must be there.
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, StringMatch>,
}

/// What callers are told apart by. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = AtMostOneOf("header queryParameter jwtClaim attribute value"))]
pub struct Key {
    /// The first value of this header.
    pub header: Option<String>,
    /// The first value of this query parameter.
    pub query_parameter: Option<String>,
    /// This claim of a token that a RequestAuthentication verified; texts only.
    pub jwt_claim: Option<String>,
    /// Something that every request has, or that its connection proves.
    pub attribute: Option<Attribute>,
    /// Always this text: limits of several objects that share it and a domain share a server's limit.
    pub value: Option<String>,
}

/// Something that a request has without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Attribute {
    // The path, without its query.
    Path,
    // The method.
    Method,
    // The host that was asked for, as the client wrote it.
    Host,
    // The SPIFFE identity of the calling workload; requests in plain text have none.
    PeerIdentity,
    // The address that the connection comes from.
    SourceAddress,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Unit {
    #[default]
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    /// How long it is.
    pub fn duration(self) -> std::time::Duration {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        };
        std::time::Duration::from_secs(seconds)
    }
}

/// Who counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum LimitScope {
    // Each proxy for itself, each port for itself.
    #[default]
    Local,
    // All proxies together, with the help of a server.
    Global,
}

/// What a caller over a limit is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Refusal {
    /// Status of an error; 429 by default. Callers that speak gRPC are told UNAVAILABLE.
    pub status: Option<u16>,
    /// Body of limits of scope Local, as text; `local_rate_limited` by default.
    #[schemars(length(max = 4096))]
    pub body: Option<String>,
}

/// Fields of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ResponseHeaders {
    // `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers), and `Retry-After` of refusals.
    RateLimit,
    // `x-ratelimit-limit`, `x-ratelimit-remaining`, `x-ratelimit-reset`, as Envoy has them.
    XRateLimit,
}

/// Who keeps the limits of scope Global.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Global {
    /// What becomes of requests while the server cannot be asked; Open by default.
    pub failure_mode: FailureMode,
    /// Longest time that the server may take; 20ms by default.
    pub timeout: Option<Duration>,
    /// Another server that speaks envoy.service.ratelimit.v3; the mesh's own by default.
    pub server: Option<Server>,
    /// Domain that the server is told; `NAMESPACE/NAME` of this object by default.
    pub domain: Option<String>,
}

/// What becomes of requests while the server cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum FailureMode {
    // They pass.
    #[default]
    Open,
    // They are answered with 500.
    Closed,
}

/// A server of limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Its service; a name without a dot is looked up in the namespace of this object.
    pub host: String,
    /// Port of the service.
    pub port: u16,
}
