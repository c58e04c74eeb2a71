//! Somebody else decides about requests: a service that is asked before a request goes on.
//! Envoy: `envoy.filters.http.ext_authz` and `envoy.filters.network.ext_authz`.
//!
//! Names of header fields are lower case here; patterns of them match without regard to case.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ClusterName, HeaderField};

/// Status of requests that could not be judged, unless another one is stated.
pub const FORBIDDEN: u16 = 403;
/// All of something, in millionths.
const ALL: u32 = crate::local_rate_limit::ALL;

/// A service that is asked about requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtAuthz {
    /// Who is asked, and how.
    pub service: AuthorizationService,
    /// Which requests it is asked about; the others pass. `None` asks about all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<MetadataCondition>,
    /// Millionths of requests that it is asked about.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub share: u32,
    /// Requests that it is not asked about are refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deny_unasked: bool,
    /// Requests pass that it does not answer for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fail_open: bool,
    /// Such requests say so upstream (`x-envoy-auth-failure-mode-allowed`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub marks_failures: bool,
    /// Status of requests that are refused because it does not answer.
    #[serde(default = "forbidden", skip_serializing_if = "is_forbidden")]
    pub status_on_error: u16,
    /// Where it changes a request, the route is looked for anew.
    #[serde(default, skip_serializing_if = "is_false")]
    pub routes_anew: bool,
    /// What it is told of bodies; nothing without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<CheckedBody>,
    /// Fields of requests that it is told, besides those that every service is told. `None` is all of them over gRPC
    /// and no more over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<NamePattern>>,
    /// Fields that it is never told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld_headers: Vec<NamePattern>,
    /// Over gRPC, field values are bytes, one entry for each field.
    #[serde(default, skip_serializing_if = "is_false")]
    pub raw_headers: bool,
    /// What other filters know of the request, by filter, is told over gRPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<String>,
    /// What it says for filters and logs is not kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignores_metadata: bool,
    /// An answer with a field that cannot be sent makes a 500; otherwise such fields are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub validates: bool,
    /// Longest body of a refusal, the rest is cut off; 0 is no limit of this service's own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub longest_body: u32,
    /// Prefix of statistics.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stat_prefix: String,
}

impl ExtAuthz {
    /// Asks that service about every request, and refuses what it does not answer for.
    pub fn new(service: AuthorizationService) -> Self {
        Self {
            service,
            when: None,
            share: ALL,
            deny_unasked: false,
            fail_open: false,
            marks_failures: false,
            status_on_error: FORBIDDEN,
            routes_anew: false,
            body: None,
            headers: None,
            withheld_headers: Vec::new(),
            raw_headers: false,
            metadata: Vec::new(),
            ignores_metadata: false,
            validates: false,
            longest_body: 0,
            stat_prefix: String::new(),
        }
    }
}

/// A service that is asked about connections, over gRPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpExtAuthz {
    /// Who is asked.
    pub service: GrpcService,
    /// Which connections it is asked about; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<MetadataCondition>,
    /// Connections pass that it does not answer for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fail_open: bool,
    /// Prefix of statistics.
    pub stat_prefix: String,
}

/// What a route says to the services that are asked about its requests. Only files say so, never a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteExtAuthz {
    /// They are not asked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// What they are told besides, over gRPC.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// They are told nothing of bodies.
    #[serde(default, skip_serializing_if = "is_false")]
    pub without_body: bool,
    /// What they are told of bodies, instead of what holds elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<CheckedBody>,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationService {
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc(GrpcService),
    /// A request like the one in question; 200 lets it pass.
    Http(HttpService),
}

impl AuthorizationService {
    /// Where it is.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Grpc(service) => &service.cluster,
            Self::Http(service) => &service.cluster,
        }
    }
}

/// A service that speaks gRPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrpcService {
    /// Where it is.
    pub cluster: ClusterName,
    /// `:authority`; empty is the name of the cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authority: String,
    /// How long it may take; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Fields of the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<HeaderField>,
}

impl GrpcService {
    /// `:authority` of a call.
    pub fn authority(&self) -> &str {
        match self.authority.as_str() {
            "" => self.cluster.as_str(),
            authority => authority,
        }
    }
}

/// A service that speaks plain HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpService {
    /// Where it is.
    pub cluster: ClusterName,
    /// Only Envoy reads it, and does nothing with it.
    pub uri: String,
    /// How long it may take; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The path it is asked with.
    #[serde(default, skip_serializing_if = "CheckedPath::is_default")]
    pub path: CheckedPath,
    /// Fields that it is sent besides; they replace those of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderField>,
    /// Fields of its 200 that replace those of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_upstream: Vec<NamePattern>,
    /// Fields of its 200 that are added to those of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub append_to_upstream: Vec<NamePattern>,
    /// Fields of its refusal that the client is told; `None` is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_client_on_deny: Option<Vec<NamePattern>>,
    /// Fields of its 200 that the client is told with the response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_client_on_allow: Vec<NamePattern>,
    /// Fields of its answer that are kept for filters and logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_metadata: Vec<NamePattern>,
}

impl HttpService {
    /// Asks with the path of the request and says nothing on.
    pub fn new(cluster: ClusterName, uri: String) -> Self {
        Self {
            cluster,
            uri,
            timeout: None,
            path: CheckedPath::default(),
            add: Vec::new(),
            to_upstream: Vec::new(),
            append_to_upstream: Vec::new(),
            to_client_on_deny: None,
            to_client_on_allow: Vec::new(),
            to_metadata: Vec::new(),
        }
    }
}

/// The path that a service over HTTP is asked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckedPath {
    /// This, and that of the request.
    Prefix(String),
    /// This alone.
    Instead(String),
}

impl Default for CheckedPath {
    fn default() -> Self {
        Self::Prefix(String::new())
    }
}

impl CheckedPath {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Most bytes of a body that is read before a service has decided, whatever [`CheckedBody::most`] says.
pub const LONGEST_BODY: u32 = 4 << 20;

/// What a service is told of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedBody {
    /// Most bytes of it.
    pub most: u32,
    /// Of longer ones it is told the beginning; else they are refused with 413.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
    /// Over gRPC they are bytes, not text.
    #[serde(default, skip_serializing_if = "is_false")]
    pub as_bytes: bool,
}

/// Which header fields, by name. Lower case; the fields' case makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamePattern {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Ends with.
    Suffix(String),
    /// Has it somewhere.
    Contains(String),
}

impl NamePattern {
    /// Whether it takes a name in lower case.
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => name == text,
            Self::Prefix(text) => name.starts_with(text),
            Self::Suffix(text) => name.ends_with(text),
            Self::Contains(text) => name.contains(text),
        }
    }

    /// In Istio's words: `x-*` begins with, `*-id` ends with.
    pub fn from_wildcard(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        if let Some(suffix) = text.strip_prefix('*') {
            return Self::Suffix(suffix.to_owned());
        }
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text),
        }
    }
}

/// A condition on what another filter found out. Envoy: `MetadataMatcher`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataCondition {
    /// The filter: `envoy.filters.http.rbac`.
    pub filter: String,
    /// Keys, from the outside in.
    pub path: Vec<String>,
    /// What is there is text, and begins so.
    pub prefix: String,
}

fn all() -> u32 {
    ALL
}

fn is_all(share: &u32) -> bool {
    *share == ALL
}

fn forbidden() -> u16 {
    FORBIDDEN
}

fn is_forbidden(status: &u16) -> bool {
    *status == FORBIDDEN
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_names_are_exact_or_open_at_one_end() {
        let takes = |pattern: &str, name: &str| NamePattern::from_wildcard(pattern).takes(name);
        assert!(takes("X-Id", "x-id") && !takes("x-id", "x-id2"));
        assert!(takes("x-*", "x-") && !takes("x-*", "y-x-"));
        assert!(takes("*-id", "x-id") && !takes("*-id", "x-id-y"));
        assert!(NamePattern::Contains("ok".into()).takes("token"));
    }
}
