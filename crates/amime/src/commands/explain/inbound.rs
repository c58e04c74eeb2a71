//! The half of a call that its callee's proxy decides: who gets in, whose tokens count, who is asked, which policy and rule
//! refuses or allows, and which limits count it.

use resources::istio::authorization_policy::Action;
use resources::policy::rate_limit::LimitScope;
use resources::{Key, Kind, Resource};
use translate::authorization::RuleReference;
use translate::explain::{Answer, Asked, CountedBy, Denied};
use translate::{Call, Outcome, explain, jwt, mtls};

use super::objects::Objects;
use super::outbound::listener;
use super::report::{Ending, Fact, Half};
use super::tokens::{self, Known};
use super::world::Place;

/// What the callee's proxy does, and how the call ends there.
pub(super) fn half(
    objects: &Objects,
    place: &Place<'_>,
    call: &Call,
    chosen: String,
) -> Option<(Half, Ending)> {
    if !place.has_proxy() {
        let half = Half::without_proxy(place.name.to_string(), chosen);
        return Some((half, answered(place)));
    }
    let mut call = call.clone();
    let tokens = explain(&place.snapshot, &call)?.tokens;
    // Nobody reads a token there: policies do not know it either.
    let unread = tokens.is_empty() && call.caller.claims.take().is_some();
    let known = tokens::read(&mut call, &tokens);
    let mut outcome = explain(&place.snapshot, &call)?;
    let refused = tokens::refused(&outcome, known, &call).filter(|_| !is_refused_before_tokens(&outcome));
    if let Some(refused) = &refused {
        outcome.denied = Some(Denied {
            details: refused.details.clone(),
            origin: None,
        });
        outcome.allowed = None;
        outcome.limits.clear();
        outcome.answer = Answer::Respond {
            status: refused.status,
            flag: "-".to_owned(),
            body: refused.body.clone(),
        };
    }
    let facts = Facts { objects, place };
    let mut says = vec![listener(&outcome), facts.security(&call, &outcome)];
    says.extend(outcome.asked.iter().map(|asked| facts.asked(asked)));
    let told = Told {
        known,
        unread,
        refused: refused.as_ref(),
    };
    says.extend(facts.tokens(&outcome, &told));
    let is_judged = outcome.denied.is_some() || outcome.answer != Answer::Close;
    if is_judged && refused.is_none() {
        says.extend(outcome.tried.iter().map(|denied| facts.tried(denied)));
        says.extend(facts.policies(&outcome));
    }
    says.extend(outcome.limits.iter().map(|counted| facts.limit(counted)));
    let ending = facts.ending(&outcome);
    let half = Half {
        at: place.name.to_string(),
        chosen,
        says,
        outcome: Some(outcome),
    };
    Some((half, ending))
}

/// Rules that would have somebody asked who cannot be come before tokens.
fn is_refused_before_tokens(outcome: &Outcome) -> bool {
    let details = outcome.denied.as_ref().map(|denied| denied.details.as_str());
    details.is_some_and(|details| details.contains("CUSTOM"))
}

/// What is known of the caller's token.
struct Told<'a> {
    known: Known,
    /// Nobody reads it.
    unread: bool,
    refused: Option<&'a tokens::Refused>,
}

/// Nobody decided anything.
fn answered(place: &Place<'_>) -> Ending {
    Ending {
        says: format!("the workload of {} answers", place.name),
        status: None,
        details: None,
        flag: None,
    }
}

/// Tells facts about one proxy.
pub(super) struct Facts<'a> {
    pub(super) objects: &'a Objects,
    pub(super) place: &'a Place<'a>,
}

impl Facts<'_> {
    fn security(&self, call: &Call, outcome: &Outcome) -> Fact {
        let port = call.destination.port();
        let stated = mtls::mode_of(&self.objects.mesh, &self.place.node, port);
        let security = outcome.security.as_deref().unwrap_or_default();
        let security = match security.strip_prefix("mutual TLS: ") {
            Some(why) => format!("yes: {why}"),
            None if security.starts_with("closed") => security.to_owned(),
            None => format!("no: {security}, and so without an identity"),
        };
        let mode = stated.mode.as_str();
        match &stated.by {
            None => Fact::new(
                "Mutual TLS",
                format!("{security}; {mode}, as nobody says otherwise"),
            ),
            Some(key) => Fact::new("Mutual TLS", format!("{security}; {mode}"))
                .by(Some(self.objects.reference_to(key, &self.mode_field(key, port)))),
        }
    }

    fn mode_field(&self, key: &Key, port: u16) -> String {
        let by_port = match self.objects.mesh.get(key) {
            Some(Resource::PeerAuthentication(object)) => {
                object.spec.ports().any(|(stated, _)| stated == port)
            }
            _ => false,
        };
        match by_port {
            true => format!("spec.portLevelMtls.{port}.mode"),
            false => "spec.mtls.mode".to_owned(),
        }
    }

    fn asked(&self, asked: &Asked) -> Fact {
        let by = asked.origin.as_ref().map(|origin| self.objects.reference(origin));
        let otherwise = match asked.fail_open {
            true => "without an answer the call passes",
            false => "without an answer the call is refused, ext_authz_error",
        };
        let says = format!(
            "{} decides, its answer is not known here: a refusal is ext_authz_denied; {otherwise}",
            asked.cluster
        );
        Fact::new("Asked", says).by(by)
    }

    fn tokens(&self, outcome: &Outcome, told: &Told) -> Vec<Fact> {
        let Told {
            known,
            unread,
            refused,
        } = *told;
        let rules = jwt::origins(&self.place.scope);
        let mut facts: Vec<Fact> = Vec::new();
        for rule in &outcome.tokens {
            let number = rule.provider.strip_prefix("origins-");
            let origin = number.and_then(|number| rules.get(number.parse::<usize>().ok()?));
            let issuer = match rule.issuer.as_str() {
                "" => "of anybody",
                issuer => issuer,
            };
            let audiences = match rule.audiences.as_slice() {
                [] => String::new(),
                audiences => format!(" for {}", audiences.join(" or ")),
            };
            let says = format!("{issuer}{audiences}, in {}", rule.places.join(" or "));
            facts.push(Fact::new("Token", says).by(origin.map(|origin| self.objects.reference(origin))));
        }
        if unread {
            let says = "no RequestAuthentication reads tokens here: policies do not see the claims";
            facts.push(Fact::new("Token", says));
        }
        if let Some(refused) = refused {
            facts.push(Fact::new("Token", format!("refused: {}", refused.body)));
        } else if !outcome.tokens.is_empty() {
            let says = match known {
                Known::Stated => "taken for well signed and in time",
                Known::Read => "read from the request and good, if it is well signed",
                Known::Nothing | Known::Bad(_) => {
                    "none is good, too; a bad one is refused, jwt_authn_access_denied{...}"
                }
            };
            facts.push(Fact::new("Token", says));
        }
        facts
    }

    fn policies(&self, outcome: &Outcome) -> Vec<Fact> {
        let reference = |origin| self.objects.reference(origin);
        match (&outcome.denied, &outcome.allowed) {
            (Some(denied), _) => match &denied.origin {
                Some(origin) => vec![Fact::new("Policy", refusal(denied)).by(Some(reference(origin)))],
                None => {
                    let says = "denied: there are ALLOW policies, and no rule of theirs is for this call";
                    let mut facts = vec![Fact::new("Policy", says)];
                    facts.extend(self.allowing());
                    facts
                }
            },
            (None, Some(origin)) => vec![Fact::new("Policy", "allowed").by(Some(reference(origin)))],
            (None, None) => vec![Fact::new(
                "Policy",
                "allowed: no policy is against it, and no ALLOW policy is for this workload",
            )],
        }
    }

    /// What a rule that is tried out would do.
    fn tried(&self, denied: &Denied) -> Fact {
        let origin = denied.origin.as_ref();
        let by = origin.map(|origin| self.objects.reference(origin));
        let says = match by {
            Some(_) => "would be denied",
            None => "would be denied: no rule of the ALLOW policies that are tried out is for this call",
        };
        Fact::new("Dry run", says).by(by)
    }

    /// The policies that allow something there, and are no dry run.
    pub(super) fn allowing(&self) -> Vec<Fact> {
        self.authorization(Action::Allow, "ALLOW")
    }

    /// The policies about whose calls somebody else is asked.
    pub(super) fn asking(&self) -> Vec<Fact> {
        self.authorization(Action::Custom, "CUSTOM")
    }

    fn authorization(&self, action: Action, name: &'static str) -> Vec<Fact> {
        let all = self.place.scope.authorization_policies();
        let some = all.filter(|policy| policy.spec.action() == action && !policy.is_dry_run());
        some.map(|policy| {
            let key = Key::new(
                Kind::AuthorizationPolicy,
                &policy.metadata.namespace,
                &policy.metadata.name,
            );
            let says = match (action, policy.spec.rules.as_slice()) {
                (Action::Custom, _) => format!("{} is asked", policy.spec.provider_name()),
                (_, []) => "nothing".to_owned(),
                _ => String::new(),
            };
            Fact::new(name, says).by(Some(self.objects.reference_to(&key, "spec.rules")))
        })
        .collect()
    }

    /// Whose tokens are read there.
    pub(super) fn issuers(&self) -> Vec<Fact> {
        let origins = jwt::origins(&self.place.scope);
        let facts = origins
            .iter()
            .map(|origin| Fact::new("Token", "").by(Some(self.objects.reference(origin))));
        facts.collect()
    }

    /// The limits there that the proxy counts itself, or that a server does.
    pub(super) fn limits(&self, global: bool) -> Vec<Fact> {
        let mut facts = Vec::new();
        for object in self.place.scope.rate_limits() {
            let meta = &object.metadata;
            let key = Key::new(Kind::RateLimit, &meta.namespace, &meta.name);
            for (index, limit) in object.spec.limits.iter().enumerate() {
                if (limit.scope == LimitScope::Global) == global {
                    let by = self.objects.reference_to(&key, &format!("spec.limits[{index}]"));
                    facts.push(Fact::new("Limit", limit.name.clone()).by(Some(by)));
                }
            }
        }
        facts
    }

    fn limit(&self, counted: &CountedBy) -> Fact {
        let keys = match counted.keys.as_slice() {
            [] => String::new(),
            keys => format!(", for each {}", keys.join(" and ")),
        };
        let details = match counted.global {
            true => "request_rate_limited",
            false => "local_rate_limited",
        };
        let over = match counted.status {
            Some(status) => format!("over it {status}, {details}"),
            None => "over it nothing happens: a dry run".to_owned(),
        };
        let says = format!("{}: {}{keys}; {over}", counted.limit, counted.rate);
        Fact::new("Limit", says).by(Some(self.objects.reference(&counted.origin)))
    }

    fn ending(&self, outcome: &Outcome) -> Ending {
        let mut ending = match &outcome.answer {
            Answer::Forward(_) => Ending {
                details: outcome.details(),
                ..answered(self.place)
            },
            Answer::Close if outcome.chain.is_empty() => Ending {
                flag: Some("NR".to_owned()),
                ..super::outbound::ending(&self.place.name.to_string(), outcome)
            },
            _ => super::outbound::ending(&self.place.name.to_string(), outcome),
        };
        if let Some(asked) = outcome.asked.first() {
            ending.says += &format!(", if {} lets it pass", asked.cluster);
        }
        ending
    }
}

fn refusal(denied: &Denied) -> String {
    match denied.details.contains("-deny-due-to-bad-CUSTOM-action") {
        true => "denied: its provider is not there, or cannot be asked".to_owned(),
        false => "denied".to_owned(),
    }
}

/// A rule that is named in a log, if it is among what was read.
pub(super) fn rule(objects: &Objects, named: &RuleReference) -> Option<Fact> {
    let key = Key::new(Kind::AuthorizationPolicy, &named.namespace, &named.policy);
    match objects.mesh.get(&key) {
        Some(Resource::AuthorizationPolicy(object)) if named.rule < object.spec.rules.len() => {
            let by = objects.reference_to(&key, &format!("spec.rules[{}]", named.rule));
            let action = object.spec.action().to_string();
            Some(Fact::new("Policy", action).by(Some(by)))
        }
        _ => None,
    }
}
