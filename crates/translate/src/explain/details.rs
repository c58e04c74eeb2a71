//! Envoy's response code details: what access logs say of a call that ends like that, and what it means when one is found
//! there.

use super::{Answer, Outcome};
use crate::authorization::RuleReference;

const POLICY: &str = "rbac_access_denied_matched_policy[";
const TOKEN: &str = "jwt_authn_access_denied{";
const ABORT: &str = "upstream_reset_before_response_started{";

/// Details, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Details {
    /// A rule refuses. `unanswerable`: somebody else would have to be asked, who cannot be.
    Rule { rule: RuleReference, unanswerable: bool },
    /// No rule allows.
    NoRule,
    /// A token is not good, or of nobody who may sign; the reason in the words of the answer.
    Token(String),
    /// Whoever is asked refused.
    AuthorizationDenied,
    /// Whoever is asked did not answer.
    AuthorizationFailed,
    /// Whoever is asked gave an answer that cannot be followed.
    AuthorizationInvalid,
    /// A limit that the proxy counts by itself.
    LocalLimit,
    /// A limit that a server counts.
    GlobalLimit,
    /// No route.
    NoRoute,
    /// A route to a cluster that is not there.
    NoCluster,
    /// Nobody healthy in the cluster.
    NoEndpoint,
    /// The proxy answered as its route says.
    DirectResponse,
    /// An error made on purpose.
    Fault,
    /// A connection that the other end's proxy does not take.
    NoChain,
    /// The other end broke off.
    Reset(String),
    /// The workload's own answer.
    Upstream,
}

impl Details {
    /// Reads what an access log says.
    pub fn read(text: &str) -> Option<Self> {
        let within = |begin: &str, end: char| text.strip_prefix(begin)?.strip_suffix(end);
        if let Some(policy) = within(POLICY, ']') {
            if policy == "none" {
                return Some(Self::NoRule);
            }
            let unanswerable = policy.ends_with(crate::authorization::BAD_CUSTOM);
            let rule = RuleReference::parse(policy)?;
            return Some(Self::Rule { rule, unanswerable });
        }
        if let Some(reason) = within(TOKEN, '}') {
            return Some(Self::Token(reason.replace('_', " ")));
        }
        if let Some(reason) = within(ABORT, '}') {
            return Some(Self::Reset(reason.replace('_', " ")));
        }
        Some(match text {
            "ext_authz_denied" => Self::AuthorizationDenied,
            "ext_authz_error" => Self::AuthorizationFailed,
            "ext_authz_invalid" => Self::AuthorizationInvalid,
            "local_rate_limited" => Self::LocalLimit,
            "request_rate_limited" => Self::GlobalLimit,
            "route_not_found" => Self::NoRoute,
            "cluster_not_found" => Self::NoCluster,
            "no_healthy_upstream" => Self::NoEndpoint,
            "direct_response" => Self::DirectResponse,
            "fault_filter_abort" => Self::Fault,
            "filter_chain_not_found" => Self::NoChain,
            "via_upstream" => Self::Upstream,
            _ => return None,
        })
    }

    /// What is logged where that policy refuses, or none allows.
    pub fn of_policy(policy: Option<&str>) -> String {
        let policy = policy.unwrap_or("none").replace(char::is_whitespace, "_");
        format!("{POLICY}{policy}]")
    }

    /// What is logged where a token is refused with these words.
    pub fn of_token(reason: &str) -> String {
        format!("{TOKEN}{}}}", reason.replace(' ', "_"))
    }
}

impl Outcome {
    /// What is logged of it: the details of a request's response, or of a connection's end. `None` where the log says
    /// nothing.
    pub fn details(&self) -> Option<String> {
        if let Some(denied) = &self.denied {
            return Some(denied.details.clone());
        }
        let of_request = self.host.is_some();
        let details = match &self.answer {
            Answer::Respond { flag, .. } if flag == "NR" => "route_not_found",
            Answer::Respond { flag, .. } if flag == "DPE" => "http1.codec_error",
            Answer::Respond { .. } | Answer::Redirect { .. } => "direct_response",
            Answer::Close if self.chain.is_empty() => "filter_chain_not_found",
            Answer::Forward(targets) if of_request => match targets.iter().find(|target| target.weight > 0) {
                Some(target) if target.failure == Some("NC") => "cluster_not_found",
                Some(target) if target.failure == Some("UH") => "no_healthy_upstream",
                _ => "via_upstream",
            },
            Answer::Close | Answer::Forward(_) => return None,
        };
        Some(details.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_log_says_is_read_back() {
        let rule = RuleReference {
            namespace: "shop".into(),
            policy: "viewers".into(),
            rule: 1,
        };
        let name = "ns[shop]-policy[viewers]-rule[1]";
        let refused = Details::read(&Details::of_policy(Some(name)));
        let (plain, bad) = (false, true);
        let of_rule = |unanswerable| {
            Some(Details::Rule {
                rule: rule.clone(),
                unanswerable,
            })
        };
        assert_eq!(refused, of_rule(plain));
        let asks = format!("istio-ext-authz-a-{name}-deny-due-to-bad-CUSTOM-action");
        assert_eq!(Details::read(&Details::of_policy(Some(&asks))), of_rule(bad));
        assert_eq!(Details::read(&Details::of_policy(None)), Some(Details::NoRule));
        assert_eq!(
            Details::read(&Details::of_token("Jwt is expired")),
            Some(Details::Token("Jwt is expired".into()))
        );
        assert_eq!(Details::read("via_upstream"), Some(Details::Upstream));
    }

    #[test]
    fn what_no_log_says_is_nothing() {
        for text in [
            "",
            "none",
            "rbac_access_denied_matched_policy[",
            "rbac_access_denied_matched_policy[viewers]",
            "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[x]]",
            "jwt_authn_access_denied",
            "Via_Upstream",
        ] {
            assert_eq!(Details::read(text), None, "{text}");
        }
    }
}
