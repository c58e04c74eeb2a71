//! Providers and requirements, ready to be asked: keys parsed, places in Envoy's order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use identity::jwt::{Audiences, CLOCK_SKEW, KeySet, Refusal, Token};
use serde_json::{Map, Value};
use snapshot::{ClaimHeader, Jwt, JwtProvider, JwtRequirement};

use super::Claims;
use super::cache::Cache;

/// Where tokens are when nobody says where.
const BEARER: (&str, &str) = ("authorization", "Bearer ");
const PARAMETER: &str = "access_token";

/// Which tokens requests must or may carry.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(super) providers: Vec<Provider>,
    pub(super) requirement: Requirement,
    pub(super) bypass_preflight: bool,
    /// Headers that tell the workload claims.
    pub(super) outputs: BTreeSet<String>,
}

/// What a request must meet. Providers by their position.
#[derive(Debug)]
pub(super) enum Requirement {
    Provider(usize),
    Any { of: Vec<Requirement>, or_missing: bool },
    All(Vec<Requirement>),
}

/// Who signs tokens, and where they are.
#[derive(Debug)]
pub(super) struct Provider {
    /// Tells it from every other one that this process ever had.
    id: u64,
    /// As the chain names it: `origins-0`.
    pub(super) name: String,
    issuer: String,
    audiences: Audiences,
    /// None that can be used: no token is good.
    keys: Option<KeySet>,
    /// Names and prefixes, sorted.
    pub(super) headers: Vec<(String, String)>,
    pub(super) parameters: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) forward: bool,
    pub(super) payload_header: String,
    pub(super) claim_headers: Vec<ClaimHeader>,
    lists: Vec<String>,
}

/// A token that was verified.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) claims: Arc<Claims>,
    /// As the token says it: lists of words are still words.
    pub(super) payload: Map<String, Value>,
    pub(super) payload_text: String,
    times: (u64, u64),
}

impl Tokens {
    /// Prepares it. Keys that cannot be read are logged.
    pub(crate) fn new(jwt: &Jwt) -> Self {
        let providers = jwt.providers.iter();
        let providers: Vec<_> = providers
            .map(|(name, provider)| Provider::new(name, provider))
            .collect();
        let names: Vec<&str> = jwt.providers.keys().map(String::as_str).collect();
        let outputs = providers.iter().flat_map(|provider| {
            let claims = provider.claim_headers.iter().map(|output| output.header.clone());
            let payload = Some(provider.payload_header.clone()).filter(|name| !name.is_empty());
            claims.chain(payload)
        });
        Self {
            outputs: outputs.collect(),
            requirement: Requirement::new(&jwt.requirement, &names),
            bypass_preflight: jwt.bypass_preflight,
            providers,
        }
    }
}

impl Requirement {
    fn new(requirement: &JwtRequirement, names: &[&str]) -> Self {
        let all = |of: &[JwtRequirement]| of.iter().map(|one| Self::new(one, names)).collect();
        match requirement {
            JwtRequirement::Provider(name) => match names.iter().position(|known| known == name) {
                Some(index) => Self::Provider(index),
                // Snapshots name providers that they have; of one that is not there, no token is good.
                None => Self::Any {
                    of: Vec::new(),
                    or_missing: false,
                },
            },
            JwtRequirement::Any { of, or_missing } => Self::Any {
                of: all(of),
                or_missing: *or_missing,
            },
            JwtRequirement::All(of) => Self::All(all(of)),
        }
    }
}

impl Provider {
    fn new(name: &str, facts: &JwtProvider) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let keys = KeySet::parse(&facts.key_set).inspect_err(|error| {
            tracing::warn!(provider = name, issuer = facts.issuer, %error, "no token of this issuer will be accepted");
        });
        let headers = facts
            .from_headers
            .iter()
            .map(|header| (header.name.clone(), header.prefix.clone()));
        let mut headers: BTreeSet<_> = headers.collect();
        let mut parameters: BTreeSet<_> = facts.from_parameters.iter().cloned().collect();
        let cookies: BTreeSet<_> = facts.from_cookies.iter().cloned().collect();
        if headers.is_empty() && parameters.is_empty() && cookies.is_empty() {
            headers.insert((BEARER.0.to_owned(), BEARER.1.to_owned()));
            parameters.insert(PARAMETER.to_owned());
        }
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            issuer: facts.issuer.clone(),
            audiences: Audiences::new(facts.audiences.iter().map(String::as_str)),
            keys: keys.ok(),
            headers: headers.into_iter().collect(),
            parameters: parameters.into_iter().collect(),
            cookies: cookies.into_iter().collect(),
            forward: facts.forward,
            payload_header: facts.payload_header.clone(),
            claim_headers: facts.claim_headers.clone(),
            lists: facts.space_delimited_claims.clone(),
        }
    }

    /// Whether a token is this provider's, for us, valid now, and signed; in Envoy's order.
    pub(super) fn verify(
        &self,
        text: &str,
        now: SystemTime,
        cache: &Cache,
    ) -> Result<Arc<Verified>, Refusal> {
        if let Some(known) = cache.get(self.id, text) {
            identity::jwt::check_times(known.times, now, CLOCK_SKEW)?;
            return Ok(known);
        }
        let token = Token::parse(text)?;
        if !self.issuer.is_empty() && self.issuer != token.issuer {
            return Err(Refusal::UnknownIssuer);
        }
        token.check_times(now, CLOCK_SKEW)?;
        if !self.audiences.allow(&token.audiences) {
            return Err(Refusal::AudienceNotAllowed);
        }
        let keys = self.keys.as_ref().ok_or(Refusal::NoValidKeys)?;
        keys.verify(&token)?;
        let verified = Arc::new(self.verified(token));
        cache.put(self.id, text, &verified);
        Ok(verified)
    }

    fn verified(&self, token: Token<'_>) -> Verified {
        let mut payload = token.payload.clone();
        for name in &self.lists {
            if let Some(Value::String(words)) = payload.get(name) {
                let words = words.split(' ').filter(|word| !word.is_empty());
                let words = words.map(|word| Value::String(word.to_owned())).collect();
                payload.insert(name.clone(), words);
            }
        }
        Verified {
            claims: Arc::new(Claims {
                payload: Value::Object(payload),
            }),
            payload: token.payload,
            payload_text: token.payload_text.to_owned(),
            times: (token.not_before, token.expiry),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token that claims nothing.
    pub(in super::super) fn verified() -> Arc<Verified> {
        Arc::new(Verified {
            claims: Arc::new(Claims { payload: Value::Null }),
            payload: Map::new(),
            payload_text: String::new(),
            times: (0, 0),
        })
    }
}
