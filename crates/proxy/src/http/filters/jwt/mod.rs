//! Tokens of requests, as Envoy's `jwt_authn` judges them: found where the providers say, verified with their keys,
//! turned into headers, and taken away from what the workload gets. What a token claims is known to the filters after
//! this one as [`Claims`].
//!
//! Invariant: headers that tell the workload claims are ours alone; whatever the client sent under their names is
//! removed first, whichever provider is asked in the end.

mod cache;
mod compiled;
mod outputs;
mod places;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use daemon::clock;
use http::Method;
use identity::jwt::Refusal;
use serde_json::Value;

use crate::http::codec::Request;
use crate::http::exchange::Exchange;
use crate::http::reply::{self, LocalReply};
use crate::telemetry::metrics::{Decider, Denial};

pub(crate) use cache::Cache;
pub(crate) use compiled::Tokens;
use compiled::{Provider, Requirement};

/// What a verified token claims. Envoy: dynamic metadata of `envoy.filters.http.jwt_authn`, under `payload`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    /// All of it: an object. Claims that are words parted by blanks are lists here.
    pub(crate) payload: Value,
}

/// Longest path that a refusal repeats.
const LONGEST_PATH: usize = 256;

/// Lets a request pass, and knows then what its token claims; or answers it.
pub(super) fn check(exchange: &mut Exchange<'_>, tokens: &Tokens) -> Option<LocalReply> {
    for name in &tokens.outputs {
        exchange.request.fields.remove(name);
    }
    if tokens.bypass_preflight && is_preflight(&exchange.request) {
        return None;
    }
    let here = here(&exchange.request);
    let mut judge = Judge {
        tokens,
        cache: &exchange.connection.worker.tokens,
        request: &mut exchange.request,
        now: clock::wall(),
        known: vec![None; tokens.providers.len()],
        claims: None,
    };
    match judge.meets(&tokens.requirement) {
        Ok(()) => {
            exchange.claims = judge.claims;
            None
        }
        Err(Refused { why, by }) => {
            let provider = by.map(|index| tokens.providers[index].name.as_str());
            let metrics = &exchange.connection.worker.metrics;
            metrics.denied(Decider::Token, Denial::Enforced, provider);
            Some(refuse(exchange, why, &here))
        }
    }
}

/// A requirement that is not met.
#[derive(Clone, Copy, Debug)]
struct Refused {
    why: Refusal,
    /// The provider that said so, by its position; `None` where there was none to ask.
    by: Option<usize>,
}

/// What becomes known of a request while it is judged.
struct Judge<'a> {
    tokens: &'a Tokens,
    cache: &'a Cache,
    request: &'a mut Request,
    now: SystemTime,
    /// A provider is asked once, however often it is named, while the request stays as it is.
    known: Vec<Option<Result<(), Refusal>>>,
    claims: Option<Arc<Claims>>,
}

impl Judge<'_> {
    /// Whether the request meets a requirement; of several refusals the one that Envoy would tell.
    fn meets(&mut self, requirement: &Requirement) -> Result<(), Refused> {
        match requirement {
            Requirement::Provider(index) => {
                let refused = |why| Refused {
                    why,
                    by: Some(*index),
                };
                if let Some(known) = self.known[*index] {
                    return known.map_err(refused);
                }
                let (judged, changed) = self.ask(&self.tokens.providers[*index]);
                match changed {
                    // A good token was taken away: what is left may be another story, for this provider, too.
                    true => self.known.fill(None),
                    false => self.known[*index] = Some(judged),
                }
                judged.map_err(refused)
            }
            Requirement::All(of) => of.iter().try_for_each(|one| self.meets(one)),
            Requirement::Any { of, or_missing } => {
                let mut told = Refused {
                    why: Refusal::Missing,
                    by: None,
                };
                for one in of {
                    match self.meets(one) {
                        Ok(()) => return Ok(()),
                        Err(refused) if says_much(refused.why) || told.why == Refusal::Missing => {
                            told = refused;
                        }
                        Err(_) => {}
                    }
                }
                if *or_missing && told.why == Refusal::Missing {
                    return Ok(());
                }
                Err(told)
            }
        }
    }

    /// Whether there is a token for that provider, and all that are in its places are good; and whether a good one
    /// changed the request. The last place comes first, as in Envoy.
    fn ask(&mut self, provider: &Provider) -> (Result<(), Refusal>, bool) {
        // What an earlier answer of this provider left, which was not the last word.
        outputs::clear(provider, &mut self.request.fields);
        let found = places::find(provider, self.request);
        if found.is_empty() {
            return (Err(Refusal::Missing), false);
        }
        let mut changed = false;
        for token in found.into_iter().rev() {
            let verified = match provider.verify(&token.text, self.now, self.cache) {
                Ok(verified) => verified,
                Err(refusal) => return (Err(refusal), changed),
            };
            outputs::apply(provider, &verified, &mut self.request.fields);
            if !provider.forward {
                token.place.clear(self.request);
            }
            self.claims = Some(verified.claims.clone());
            changed = true;
        }
        (Ok(()), changed)
    }
}

/// A missing token, or one of somebody else, may be another provider's business.
fn says_much(refusal: Refusal) -> bool {
    !matches!(refusal, Refusal::Missing | Refusal::UnknownIssuer)
}

/// Browsers ask without credentials.
fn is_preflight(request: &Request) -> bool {
    let says = |name| request.fields.get(name).is_some_and(|value| !value.is_empty());
    request.method == Method::OPTIONS && says("origin") && says("access-control-request-method")
}

/// What the client asked for, as it is told.
fn here(request: &Request) -> String {
    let proto = request.fields.text("x-forwarded-proto");
    let path = request.fields.text("x-envoy-original-path");
    let path = path.unwrap_or(&request.path);
    // The path is ASCII: its bytes were checked when it was read. If not, it is cut before what would be split.
    let end = path.floor_char_boundary(LONGEST_PATH);
    format!(
        "{}://{}{}",
        proto.unwrap_or(request.scheme),
        request.authority,
        &path[..end]
    )
}

fn refuse(exchange: &mut Exchange<'_>, refusal: Refusal, here: &str) -> LocalReply {
    let (status, text) = (status(refusal), refusal.to_string());
    exchange.record.details = Cow::Owned(format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_")));
    let mut reply = reply::stated(status, None, &text, &exchange.request);
    let error = match refusal {
        Refusal::Missing => "",
        _ => ", error=\"invalid_token\"",
    };
    let challenge = format!("Bearer realm=\"{here}\"{error}");
    reply
        .response
        .fields
        .set("www-authenticate", challenge.as_bytes());
    reply
}

fn status(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::AudienceNotAllowed => 403,
        _ => 401,
    }
}
