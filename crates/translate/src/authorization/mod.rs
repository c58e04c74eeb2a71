//! From AuthorizationPolicies to the filters of a workload's proxy.
//!
//! Order is Istio's: somebody else (`CUSTOM`), then, once tokens are known, `AUDIT`, `DENY` and `ALLOW`, one filter each,
//! whichever namespace a policy is in. Names of rules (`ns[shop]-policy[viewers]-rule[0]`) end up in logs.

mod condition;
mod rule;
#[cfg(test)]
mod tests;
mod trust_domain;

use std::collections::BTreeMap;
use std::sync::Arc;

use resources::AuthorizationPolicy;
use resources::istio::authorization_policy::Action;
use snapshot::authorization::{Authorization, Policy, RuleAction, Rules};
use snapshot::{HttpFilter, NetworkFilter};

use crate::mesh::settings::MeshSettings;
use crate::scope::Scope;
use rule::Place;
use trust_domain::TrustDomains;

/// Where outcomes of rules are told that are tried out.
const SHADOW_ALLOW: &str = "istio_dry_run_allow_";
const SHADOW_DENY: &str = "istio_dry_run_deny_";
/// Where it is told whether somebody else has to be asked, and what the names of such rules begin with.
pub const SHADOW_CUSTOM: &str = "istio_ext_authz_";
pub(crate) const CUSTOM: &str = "istio-ext-authz";
/// What the names of rules end with that would ask somebody whom nobody knows.
pub(crate) const BAD_CUSTOM: &str = "-deny-due-to-bad-CUSTOM-action";
const TCP: &str = "tcp.";

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Requests,
    Connections,
}

/// Rules of which somebody else has to be asked, for one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Custom {
    /// Name of an extension provider.
    pub provider: String,
    /// As a shadow: when one holds, its name is told under [`SHADOW_CUSTOM`].
    pub rules: Rules,
}

/// Filters for requests, after tokens have been verified.
pub(crate) fn for_requests(scope: &Scope) -> Vec<HttpFilter> {
    let filters = filters(scope, Of::Requests).into_iter();
    filters
        .map(|filter| HttpFilter::Authorization(Arc::new(filter)))
        .collect()
}

/// Filters for connections.
pub(crate) fn for_connections(scope: &Scope) -> Vec<NetworkFilter> {
    let filters = filters(scope, Of::Connections).into_iter();
    filters
        .map(|filter| NetworkFilter::Authorization(Arc::new(filter)))
        .collect()
}

/// Filters for requests that somebody else decides about, before tokens are verified.
pub(crate) fn custom_for_requests(scope: &Scope) -> Vec<HttpFilter> {
    scope.providers.http_filters(custom(scope, Of::Requests))
}

/// The same for connections.
pub(crate) fn custom_for_connections(scope: &Scope) -> Vec<NetworkFilter> {
    scope.providers.network_filters(custom(scope, Of::Connections))
}

/// What somebody else has to be asked about, by provider. Istio knows several for one workload only behind a flag:
/// where there is more than one, nobody is asked, and all is refused. What is only tried out is left out, so that it
/// changes nothing: there is no question without a consequence; validation says so.
pub fn custom(scope: &Scope, of: Of) -> Vec<Custom> {
    let writer = Writer::new(&scope.settings, of);
    let mut providers: BTreeMap<&str, Vec<&AuthorizationPolicy>> = BTreeMap::new();
    for policy in policies(scope, Action::Custom).filter(|policy| !policy.is_dry_run()) {
        providers
            .entry(policy.spec.provider_name())
            .or_default()
            .push(policy);
    }
    let providers = providers.into_iter().map(|(provider, policies)| {
        let prefix = match provider {
            "" => format!("{CUSTOM}-"),
            provider => format!("{CUSTOM}-{provider}-"),
        };
        Custom {
            provider: provider.to_owned(),
            rules: writer.rules(RuleAction::Deny, &prefix, &policies),
        }
    });
    providers.collect()
}

impl Custom {
    /// Refuses what it would ask about: the provider is none that can be asked.
    pub fn refused(self) -> Authorization {
        let policies = self.rules.policies.into_iter();
        let named = policies.map(|(name, policy)| (format!("{name}{BAD_CUSTOM}"), policy));
        Authorization {
            rules: Some(Rules {
                action: RuleAction::Deny,
                policies: named.collect(),
            }),
            ..Authorization::default()
        }
    }

    /// Finds out whether the provider has to be asked.
    pub fn asked(self) -> Authorization {
        Authorization {
            shadow: Some(self.rules),
            shadow_prefix: SHADOW_CUSTOM.to_owned(),
            ..Authorization::default()
        }
    }
}

/// Statistics of connections have a prefix.
pub(crate) trait OfConnections {
    fn of_connections(self) -> Self;
}

impl OfConnections for Authorization {
    fn of_connections(self) -> Self {
        Self {
            stat_prefix: TCP.to_owned(),
            ..self
        }
    }
}

fn policies(scope: &Scope, action: Action) -> impl Iterator<Item = &AuthorizationPolicy> {
    let all = scope.authorization.iter().map(|indexed| &*indexed.object);
    all.filter(move |policy| policy.spec.action() == action)
}

fn filters(scope: &Scope, of: Of) -> Vec<Authorization> {
    let writer = Writer::new(&scope.settings, of);
    let each = [
        (Action::Audit, RuleAction::Log, ""),
        (Action::Deny, RuleAction::Deny, SHADOW_DENY),
        (Action::Allow, RuleAction::Allow, SHADOW_ALLOW),
    ];
    let filters = each.into_iter().filter_map(|(action, effect, prefix)| {
        let (tried, enforced): (Vec<_>, Vec<_>) =
            policies(scope, action).partition(|policy| policy.is_dry_run());
        let rules = |policies: &[&AuthorizationPolicy]| {
            (!policies.is_empty()).then(|| writer.rules(effect, "", policies))
        };
        let (rules, shadow) = (rules(&enforced), rules(&tried));
        if rules.is_none() && shadow.is_none() {
            return None;
        }
        let filter = Authorization {
            shadow_prefix: if shadow.is_some() { prefix } else { "" }.to_owned(),
            rules,
            shadow,
            stat_prefix: String::new(),
        };
        Some(match of {
            Of::Requests => filter,
            Of::Connections => filter.of_connections(),
        })
    });
    filters.collect()
}

/// Writes rules.
struct Writer {
    domains: TrustDomains,
    of: Of,
}

impl Writer {
    fn new(settings: &MeshSettings, of: Of) -> Self {
        Self {
            domains: TrustDomains::of(settings),
            of,
        }
    }

    fn rules(&self, action: RuleAction, prefix: &str, policies: &[&AuthorizationPolicy]) -> Rules {
        let mut written = BTreeMap::new();
        for policy in policies {
            let (meta, spec) = (&policy.metadata, &policy.spec);
            let name = |index| rule_name(prefix, &meta.namespace, &meta.name, index);
            let place = Place {
                of_connections: self.of == Of::Connections,
                allows: action == RuleAction::Allow,
                namespace: &meta.namespace,
                domains: &self.domains,
            };
            if spec.rules.is_empty() {
                // It still counts: where there is one that allows, nothing else is allowed.
                written.insert(name(0), Policy::never());
            }
            for (index, rule) in spec.rules.iter().enumerate() {
                if let Some(policy) = rule::policy(place, rule) {
                    written.insert(name(index), policy);
                }
            }
        }
        Rules {
            action,
            policies: written,
        }
    }
}

fn rule_name(prefix: &str, namespace: &str, policy: &str, index: usize) -> String {
    format!("{prefix}ns[{namespace}]-policy[{policy}]-rule[{index}]")
}

/// A rule, as names in logs and verdicts tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReference {
    pub namespace: String,
    pub policy: String,
    pub rule: usize,
}

impl RuleReference {
    /// Reads `ns[shop]-policy[viewers]-rule[0]`, whatever is before and behind it.
    pub fn parse(name: &str) -> Option<Self> {
        let (_, rest) = name.split_once("ns[")?;
        let (namespace, rest) = rest.split_once("]-policy[")?;
        let (policy, rest) = rest.split_once("]-rule[")?;
        let (index, _) = rest.split_once(']')?;
        Some(Self {
            namespace: namespace.to_owned(),
            policy: policy.to_owned(),
            rule: index.parse().ok()?,
        })
    }
}
