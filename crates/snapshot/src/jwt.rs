//! Tokens that requests must or may carry. Istio: RequestAuthentication; Envoy: `envoy.filters.http.jwt_authn`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Which tokens are accepted, and which of them a request needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwt {
    /// Who signs tokens, by name.
    pub providers: BTreeMap<String, JwtProvider>,
    /// What a request must meet.
    pub requirement: JwtRequirement,
    /// Preflights of browsers carry no tokens, and pass without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bypass_preflight: bool,
}

/// Who signs tokens, where they are, and what becomes of them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtProvider {
    /// Must be the claim `iss`; empty takes any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// One of these must be in the claim `aud`; empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// The keys: a JSON Web Key Set. One that cannot be read verifies nothing.
    pub key_set: String,
    /// Headers with tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_headers: Vec<TokenHeader>,
    /// Query parameters with tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_parameters: Vec<String>,
    /// Cookies with tokens. Without any place, it is `authorization: Bearer` and the parameter `access_token`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_cookies: Vec<String>,
    /// The token goes on to the workload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forward: bool,
    /// Header for the payload in base64url; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payload_header: String,
    /// Headers for single claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claim_headers: Vec<ClaimHeader>,
    /// Claims that are lists of words parted by blanks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub space_delimited_claims: Vec<String>,
}

/// Without the keys: those of HMAC are secrets.
impl fmt::Debug for JwtProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = format_args!("{} bytes", self.key_set.len());
        out.debug_struct("JwtProvider")
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("key_set", &keys)
            .field("from_headers", &self.from_headers)
            .field("from_parameters", &self.from_parameters)
            .field("from_cookies", &self.from_cookies)
            .field("forward", &self.forward)
            .field("payload_header", &self.payload_header)
            .field("claim_headers", &self.claim_headers)
            .field("space_delimited_claims", &self.space_delimited_claims)
            .finish()
    }
}

/// A header with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHeader {
    /// In lower case.
    pub name: String,
    /// What stands before the token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// A header that tells a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimHeader {
    /// In lower case.
    pub header: String,
    /// Path of the claim: dots lead into objects.
    pub claim: String,
}

/// What a request must meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JwtRequirement {
    /// A good token of that provider, and no bad one where its tokens are.
    Provider(String),
    /// One of these, tried in order.
    Any {
        /// Never empty.
        of: Vec<JwtRequirement>,
        /// No token at all is good, too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        or_missing: bool,
    },
    /// Each of these.
    All(Vec<JwtRequirement>),
}

impl JwtRequirement {
    /// The providers that it asks for.
    pub fn providers(&self) -> Vec<&str> {
        match self {
            Self::Provider(name) => vec![name],
            Self::Any { of, .. } | Self::All(of) => of.iter().flat_map(Self::providers).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_printed() {
        let provider = JwtProvider {
            issuer: "me".to_owned(),
            key_set: r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#.to_owned(),
            ..JwtProvider::default()
        };
        let printed = format!("{provider:?}");
        assert!(
            printed.contains("me") && !printed.contains("c2VjcmV0"),
            "{printed}"
        );
    }
}
