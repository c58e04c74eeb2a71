//! Who may send what: rules over requests, as Envoy's RBAC filter. What is refused is answered 403, and the log names
//! the policy; rules that are tried out decide nothing.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::Value;
use snapshot::authorization::{CompiledRules, RequestFacts, RuleAction, Rules, Subject};

use crate::http::exchange::Exchange;
use crate::http::forwarded;
use crate::http::reply::{self, LocalReply};
use crate::telemetry::metrics::{Decider, Denial};
use crate::tls::peer::peer_identity;

/// Begins what rules tell that only find out whether somebody else is to be asked: they are no dry run.
const ASKS: &str = "istio_ext_authz_";
const FORBIDDEN: u16 = 403;
const BODY: &str = "RBAC: access denied";

/// One filter, ready to run.
#[derive(Debug)]
pub(crate) struct Authorization {
    rules: Option<CompiledRules>,
    shadow: Option<CompiledRules>,
    shadow_prefix: String,
}

/// What rules that are tried out would have done. Other filters and access logs may ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shadow {
    /// Tells it from others of the same request: `istio_dry_run_allow_`, `istio_ext_authz_`.
    pub(crate) prefix: String,
    pub(crate) allowed: bool,
    /// The policy that held.
    pub(crate) policy: Option<String>,
}

impl Shadow {
    /// What it says under one of Envoy's names.
    pub(crate) fn tells(&self, name: &str) -> Option<&str> {
        match name.strip_prefix(self.prefix.as_str())? {
            "shadow_engine_result" if self.allowed => Some("allowed"),
            "shadow_engine_result" => Some("denied"),
            "shadow_effective_policy_id" => self.policy.as_deref(),
            _ => None,
        }
    }
}

/// What a filter decides.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// Why it is refused: Envoy's details.
    pub(crate) denied: Option<String>,
    pub(crate) shadow: Option<Shadow>,
    /// Whether access logs shall take notice, where rules ask for that.
    pub(crate) log_hint: Option<bool>,
}

impl Authorization {
    /// Compiles the rules. What cannot work is logged; it never lets anything through.
    pub(crate) fn new(facts: &snapshot::Authorization) -> Self {
        Self {
            rules: facts.rules.as_ref().map(compile),
            shadow: facts.shadow.as_ref().map(compile),
            shadow_prefix: facts.shadow_prefix.clone(),
        }
    }

    /// Judges a request or a connection, and counts what is refused.
    pub(crate) fn decide(&self, subject: &Subject<'_>, count: impl Fn(Denial, Option<&str>)) -> Decision {
        let mut decision = Decision::default();
        if let Some(rules) = &self.shadow {
            let verdict = rules.judge(subject);
            if !verdict.allowed && self.shadow_prefix != ASKS {
                tracing::debug!(policy = verdict.policy, "a dry run would have refused it");
                count(Denial::DryRun, verdict.policy);
            }
            decision.shadow = Some(Shadow {
                prefix: self.shadow_prefix.clone(),
                allowed: verdict.allowed,
                policy: verdict.policy.map(str::to_owned),
            });
        }
        let Some(rules) = &self.rules else {
            return decision;
        };
        let verdict = rules.judge(subject);
        if rules.action() == RuleAction::Log {
            decision.log_hint = Some(verdict.policy.is_some());
        }
        if !verdict.allowed {
            count(Denial::Enforced, verdict.policy);
            decision.denied = Some(details(verdict.policy));
        }
        decision
    }
}

fn compile(rules: &Rules) -> CompiledRules {
    let (compiled, problems) = CompiledRules::new(rules);
    for problem in problems {
        tracing::warn!(%problem, "a policy cannot work");
    }
    compiled
}

/// As Envoy writes them: without spaces, which would be fields of their own in access logs.
fn details(policy: Option<&str>) -> String {
    let policy = policy.unwrap_or("none").replace(char::is_whitespace, "_");
    format!("rbac_access_denied_matched_policy[{policy}]")
}

/// Lets the request pass, or answers it.
pub(super) fn check(exchange: &mut Exchange<'_>, filter: &Authorization) -> Option<LocalReply> {
    let metrics = &exchange.connection.worker.metrics;
    let decision = filter.decide(&subject(exchange), |denial, policy| {
        metrics.denied(Decider::Rule, denial, policy);
    });
    let record = &mut exchange.record;
    record.log_hint = decision.log_hint.or(record.log_hint);
    record.shadows.extend(decision.shadow);
    let details = decision.denied?;
    record.details = Cow::Owned(details);
    Some(reply::stated(FORBIDDEN, None, BODY, &exchange.request))
}

/// Who asks for what.
fn subject<'a>(exchange: &'a Exchange<'_>) -> Subject<'a> {
    let connection = exchange.connection;
    Subject {
        request: Some(RequestFacts::new(&exchange.request)),
        identity: peer_identity(connection).map(|peer| peer.uri.as_str()),
        peer: connection.ends.peer.ip().to_canonical(),
        client: client(exchange),
        destination: connection.ends.destination,
        server_name: &connection.server_name,
        claims: claims(exchange),
        findings: Some(&exchange.record),
    }
}

fn client(exchange: &Exchange<'_>) -> IpAddr {
    forwarded::client(&exchange.request, exchange.connection).to_canonical()
}

/// The content of the token that was verified.
fn claims<'a>(exchange: &'a Exchange<'_>) -> Option<&'a Value> {
    exchange.claims.as_deref().map(|claims| &claims.payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_have_no_spaces() {
        assert_eq!(details(None), "rbac_access_denied_matched_policy[none]");
        assert_eq!(
            details(Some("ns[a]-policy[b c]-rule[0]")),
            "rbac_access_denied_matched_policy[ns[a]-policy[b_c]-rule[0]]"
        );
    }
}
