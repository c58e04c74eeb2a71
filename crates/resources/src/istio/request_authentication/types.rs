//! The fields of a RequestAuthentication. Documentation comments become descriptions in the CRD.

use std::time::Duration as Time;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Meta;
use crate::istio::structural::AtMostOneOf;
use crate::istio::{Duration, PolicyTargetReference, WorkloadSelector};

/// The longest that a fetch of keys may take, whatever a rule says: fetches share a few places among all namespaces.
pub const LONGEST_FETCH: Time = Time::from_secs(10);

/// The object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct RequestAuthentication {
    #[serde(default)]
    pub metadata: Meta,
    #[serde(default)]
    pub spec: RequestAuthenticationSpec,
}

/// Which tokens workloads accept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = AtMostOneOf("targetRef targetRefs selector"))]
pub struct RequestAuthenticationSpec {
    /// Workloads that it is for; all of the namespace by default, or of the mesh in the root namespace.
    pub selector: Option<WorkloadSelector>,
    /// A gateway or service that it is for.
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways or services that it is for.
    #[schemars(length(max = 16))]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Tokens that are accepted. A request with any other token is refused; one without a token is not.
    #[schemars(length(max = 4096))]
    pub jwt_rules: Vec<JwtRule>,
}

/// Tokens of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = AtMostOneOf("jwksUri jwks_uri jwks"))]
pub struct JwtRule {
    /// Who signed the token: must be its claim `iss`.
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// One of these must be among the claim `aud`; without any, it is not looked at.
    #[schemars(inner(length(min = 1)))]
    pub audiences: Vec<String>,
    /// Where the keys of the issuer are published. Found by OpenID discovery if left out.
    #[schemars(length(min = 1, max = 2048), extend("pattern" = "^https?://"))]
    pub jwks_uri: String,
    /// The same as jwksUri.
    #[serde(rename = "jwks_uri")]
    #[schemars(length(min = 1, max = 2048), extend("pattern" = "^https?://"))]
    pub jwks_uri_by_its_old_name: String,
    /// The keys of the issuer themselves.
    pub jwks: String,
    /// Headers that carry the token.
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that carry the token.
    #[schemars(inner(length(min = 1)))]
    pub from_params: Vec<String>,
    /// Cookies that carry the token.
    #[schemars(inner(length(min = 1)))]
    pub from_cookies: Vec<String>,
    /// Header that tells the workload the payload, in base64url.
    pub output_payload_to_header: String,
    /// The workload gets the token, too.
    pub forward_original_token: bool,
    /// Headers that tell the workload single claims.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// How long fetching keys may take; 5 s by default.
    pub timeout: Option<Duration>,
    /// Claims that are lists of words parted by spaces, besides scope and permission.
    #[schemars(length(max = 64), inner(length(min = 1)))]
    pub space_delimited_claims: Vec<String>,
}

/// A header that carries a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct JwtHeader {
    /// Name of the header.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What stands before the token, with the blank behind it.
    #[serde(default)]
    pub prefix: String,
}

/// A header that tells a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ClaimToHeader {
    /// Name of the header.
    #[schemars(length(min = 1), extend("pattern" = "^[-_A-Za-z0-9]+$"))]
    pub header: String,
    /// Name of the claim; dots lead into objects.
    #[schemars(length(min = 1))]
    pub claim: String,
}

impl JwtRule {
    /// Where the keys are published, by either name of the field.
    pub fn key_set_uri(&self) -> &str {
        match self.jwks_uri.as_str() {
            "" => &self.jwks_uri_by_its_old_name,
            uri => uri,
        }
    }
}

impl RequestAuthenticationSpec {
    /// Everything that is named as a target.
    pub fn targets(&self) -> impl Iterator<Item = &PolicyTargetReference> {
        self.target_ref.iter().chain(&self.target_refs)
    }
}
