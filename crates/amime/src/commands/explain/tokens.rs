//! What becomes of a token, its signature being good: its form and times, where it was read from the request, and its
//! issuer and audience.

use daemon::clock;
use identity::jwt::{Audiences, CLOCK_SKEW, Refusal, Token};
use serde_json::Value;
use translate::explain::{BEARER, Details, Request, TokenRule};
use translate::{Call, Outcome};

/// Why a token is refused.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) details: String,
}

impl Refused {
    fn new(refusal: Refusal) -> Self {
        let body = refusal.to_string();
        Self {
            status: match refusal {
                Refusal::AudienceNotAllowed => 403,
                _ => 401,
            },
            details: Details::of_token(&body),
            body,
        }
    }
}

/// What is known of a call's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    /// Its claims were stated.
    Stated,
    /// It stands in the request; its signature is not checked here.
    Read,
    /// It stands in the request, and is none.
    Bad(Refusal),
}

/// Tells what is known of the token of a call to somebody who reads tokens by these rules; claims of one that stands
/// where most clients put it become the caller's.
pub(super) fn read(call: &mut Call, rules: &[TokenRule]) -> Known {
    if call.caller.claims.is_some() {
        return Known::Stated;
    }
    let looks = |rule: &TokenRule| rule.places.iter().any(|place| place == BEARER);
    let request = call.request.as_ref().filter(|_| rules.iter().any(looks));
    let Some(text) = request.and_then(bearer) else {
        return Known::Nothing;
    };
    match Token::parse(text) {
        Ok(token) => {
            call.caller.claims = Some(Value::Object(token.payload));
            Known::Read
        }
        Err(refusal) => Known::Bad(refusal),
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let mut headers = request.headers.iter();
    let (_, value) = headers.find(|(name, _)| name == "authorization")?;
    value.strip_prefix("Bearer ").map(str::trim)
}

/// Why the token would be refused before anything else is asked; `None` where it is good, or there is none.
pub(super) fn refused(outcome: &Outcome, known: Known, call: &Call) -> Option<Refused> {
    if let Known::Bad(refusal) = known {
        return Some(Refused::new(refusal));
    }
    let claims = call.caller.claims.as_ref()?;
    let issuer = claims["iss"].as_str().unwrap_or_default();
    let rules = outcome.tokens.iter();
    let rules: Vec<_> = rules
        .filter(|rule| rule.issuer.is_empty() || rule.issuer == issuer)
        .collect();
    if rules.is_empty() {
        return Some(Refused::new(Refusal::UnknownIssuer));
    }
    if known == Known::Read
        && let Err(refusal) = identity::jwt::check_times(times(claims), clock::wall(), CLOCK_SKEW)
    {
        return Some(Refused::new(refusal));
    }
    let audiences = audiences(claims);
    let allows = |known: &Vec<String>| Audiences::new(known.iter().map(String::as_str)).allow(&audiences);
    let is_for_us = rules.iter().any(|rule| allows(&rule.audiences));
    (!is_for_us).then(|| Refused::new(Refusal::AudienceNotAllowed))
}

/// `nbf` and `exp`.
fn times(claims: &Value) -> (u64, u64) {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a token that was read has seconds there"
    )]
    let seconds = |name: &str| claims[name].as_f64().unwrap_or_default() as u64;
    (seconds("nbf"), seconds("exp"))
}

fn audiences(claims: &Value) -> Vec<String> {
    match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several
            .iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}
