//! What becomes of a token with given claims, its signature being good: issuer and audience.

use identity::jwt::{Audiences, Refusal};
use serde_json::Value;
use translate::Outcome;
use translate::explain::Details;

/// Why a token is refused.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) details: String,
}

/// Why a token with those claims would be refused before anything else is asked; `None` where it is good.
pub(super) fn refused(outcome: &Outcome, claims: &Value) -> Option<Refused> {
    let issuer = claims["iss"].as_str().unwrap_or_default();
    let mut rules = outcome.tokens.iter();
    let rules = rules
        .by_ref()
        .filter(|rule| rule.issuer.is_empty() || rule.issuer == issuer);
    let rules: Vec<_> = rules.collect();
    let audiences = match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several
            .iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let (status, refusal) = if rules.is_empty() {
        (401, Refusal::UnknownIssuer)
    } else {
        let allows = |known: &Vec<String>| Audiences::new(known.iter().map(String::as_str)).allow(&audiences);
        if rules.iter().any(|rule| allows(&rule.audiences)) {
            return None;
        }
        (403, Refusal::AudienceNotAllowed)
    };
    let body = refusal.to_string();
    Some(Refused {
        status,
        details: Details::of_token(&body),
        body,
    })
}
