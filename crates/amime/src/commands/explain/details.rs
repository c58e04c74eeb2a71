//! The other direction: what the details in an access log mean, and which rule stands behind them.

use translate::authorization::RuleReference;
use translate::explain::Details;

use super::inbound::{Facts, rule};
use super::objects::Objects;
use super::problem::Problem;
use super::report::{Fact, Meaning};
use super::world::Place;

/// What those details mean; `place` is the workload whose log says them.
pub(super) fn meaning(
    text: &str,
    details: &Details,
    objects: &Objects,
    place: Option<&Place<'_>>,
) -> Result<Meaning, Problem> {
    let facts = place.map(|place| Facts { objects, place });
    let mut says = Vec::new();
    if let Details::Rule { rule, .. } = details {
        says.push(find(objects, rule)?);
    }
    if let Some(facts) = &facts {
        let listed = of_workload(details, facts);
        if listed.is_empty() && wants_workload(details) {
            says.push(Fact::new(
                "Now",
                format!("nothing of the kind is for {}", facts.place.name),
            ));
        }
        says.extend(listed);
    } else if wants_workload(details) {
        says.push(Fact::new(
            "Next",
            "with --to NAMESPACE/POD, the pod whose proxy logged it, the objects are named",
        ));
    }
    Ok(Meaning {
        details: text.to_owned(),
        means: means(details),
        says,
    })
}

/// Whether the objects behind it can be named only for a workload.
pub(super) fn wants_workload(details: &Details) -> bool {
    matches!(
        details,
        Details::NoRule
            | Details::Token(_)
            | Details::AuthorizationDenied
            | Details::AuthorizationFailed
            | Details::AuthorizationInvalid
            | Details::LocalLimit
            | Details::GlobalLimit
    )
}

fn of_workload(details: &Details, facts: &Facts<'_>) -> Vec<Fact> {
    match details {
        Details::NoRule => facts.allowing(),
        Details::Token(_) => facts.issuers(),
        Details::AuthorizationDenied | Details::AuthorizationFailed | Details::AuthorizationInvalid => {
            facts.asking()
        }
        Details::LocalLimit => facts.limits(false),
        Details::GlobalLimit => facts.limits(true),
        _ => Vec::new(),
    }
}

fn find(objects: &Objects, named: &RuleReference) -> Result<Fact, Problem> {
    rule(objects, named).ok_or_else(|| Problem::NoRule {
        rule: format!(
            "AuthorizationPolicy {}/{} with spec.rules[{}]",
            named.namespace, named.policy, named.rule
        ),
    })
}

fn means(details: &Details) -> String {
    let words = match details {
        Details::Rule {
            unanswerable: true, ..
        } => {
            "403, or a closed connection: a CUSTOM policy is for the call, and its provider is not in extensionProviders, cannot be asked, or is one of several for the workload"
        }
        Details::Rule { .. } => {
            "403 \"RBAC: access denied\", or a closed connection: a rule of a DENY policy is for the call"
        }
        Details::NoRule => {
            "403 \"RBAC: access denied\", or a closed connection: ALLOW policies are for the workload, and no rule of theirs is for the call"
        }
        Details::Token(reason) => return token(reason),
        Details::AuthorizationDenied => {
            "the service that a CUSTOM policy asks refused; status and body are its own"
        }
        Details::AuthorizationFailed => {
            "the service that a CUSTOM policy asks gave no answer, or none in time, and its provider does not say failOpen; statusOnError, or 403"
        }
        Details::AuthorizationInvalid => {
            "500: the service that a CUSTOM policy asks allowed the call with changes that cannot be made, such as headers that may not be written"
        }
        Details::LocalLimit => {
            "429, or the status of the policy: the call is over a limit that this proxy counts by itself"
        }
        Details::GlobalLimit => {
            "429, or the status of the policy: the call is over a limit that a server counts for all proxies"
        }
        Details::NoRoute => "404: no route of the virtual host takes the request",
        Details::NoCluster => "503: the route leads to a service or subset that does not exist",
        Details::NoEndpoint => "503: nobody healthy is in the cluster that the route leads to",
        Details::DirectResponse => {
            "the route answers by itself: a directResponse or a redirect of a VirtualService"
        }
        Details::Fault => "an error made on purpose: fault.abort of a VirtualService",
        Details::NoChain => {
            "the connection is closed: the port does not take what came, such as plain text under STRICT mutual TLS"
        }
        Details::Reset(reason) => {
            return format!(
                "503: the connection to the other end broke before an answer: {reason}; `amime explain` with --from and --to tells whether both ends agree on mutual TLS"
            );
        }
        Details::Upstream => "the workload's own answer; nobody in between decided",
    };
    words.to_owned()
}

fn token(reason: &str) -> String {
    let (status, next) = match reason {
        "Audiences in Jwt are not allowed" => (
            403,
            "its claim aud is none of the audiences of the rule for its issuer",
        ),
        "Jwt issuer is not configured" => (401, "its claim iss is none of the issuers of the workload"),
        "Jwt is missing" => (401, "a token is required and none was where it is looked for"),
        "Jwt is expired" | "Jwt not yet valid" => {
            (401, "its claims exp and nbf do not fit the clock of the proxy")
        }
        _ => (
            401,
            "the token is not as its issuer writes it, or not signed with a key of the issuer",
        ),
    };
    format!(
        "{status} {reason:?}: a RequestAuthentication is for the workload, and the request has a token that is not good; {next}"
    )
}
