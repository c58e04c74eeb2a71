//! One rule of a policy becomes one policy of the filter, in the structure that Istio's own control plane gives it.
//!
//! Connections that are no HTTP know less than requests. A rule that asks for what they do not know allows none of them;
//! but it denies them by what is left of it, so that nothing gets in through the wrong door.

use resources::istio::authorization_policy::{Attribute, Operation, Rule, Source, When};
use snapshot::authorization::{Condition, Permission, Policy, Principal};

use super::condition::{self, Meaningless};
use super::trust_domain::TrustDomains;

/// Where a rule is going to be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// About connections, not requests.
    pub(super) of_connections: bool,
    /// It lets something through, so that what is missing makes it say no.
    pub(super) allows: bool,
    /// Of the policy.
    pub(super) namespace: &'a str,
    pub(super) domains: &'a TrustDomains,
}

/// Why a rule says nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skipped;

/// A condition, and what it asks for.
type Asked<'a> = (Attribute<'a>, &'a When);

/// What is and what must not be, of one field.
type Values<'v> = (&'v [String], &'v [String]);
/// Conditions that all must hold, or nothing where the rule is skipped.
type All<T> = Result<Vec<Condition<T>>, Skipped>;
/// What becomes of one value.
type Made<T> = Result<Condition<T>, Meaningless>;
type Make<'m, T> = dyn Fn(&str) -> Made<T> + 'm;
/// The same for all values of a field together.
type MakeOfAll<'m, T> = dyn Fn(&[String]) -> Made<T> + 'm;
type Permissions = All<snapshot::authorization::Target>;
type Principals = All<snapshot::authorization::Source>;

/// The policy for a rule. `None` where the rule is for others only.
pub(super) fn policy(place: Place<'_>, rule: &Rule) -> Option<Policy> {
    let (targets, sources): (Vec<_>, Vec<_>) = place
        .attributes(rule)
        .ok()?
        .into_iter()
        .partition(|(attribute, _)| condition::is_of_target(*attribute));
    Some(Policy {
        permissions: place.permissions(rule, &targets).ok()?,
        principals: place.principals(rule, &sources).ok()?,
    })
}

/// A set of conditions, as Istio writes it: never empty.
fn all<T>(mut conditions: Vec<Condition<T>>) -> Condition<T> {
    if conditions.is_empty() {
        conditions.push(Condition::Any);
    }
    Condition::All(conditions)
}

impl Place<'_> {
    /// What is asked for beside source and operation. A key that nobody knows can come from a cluster without our
    /// webhook, or from a newer Istio.
    fn attributes(self, rule: &Rule) -> Result<Vec<Asked<'_>>, Skipped> {
        let each = rule.when.iter().map(|when| {
            let attribute = Attribute::parse(&when.key).map_err(|_| Meaningless);
            self.checked(attribute.map(|attribute| (attribute, when)))
        });
        each.filter_map(Result::transpose).collect()
    }

    fn permissions(self, rule: &Rule, when: &[Asked<'_>]) -> Result<Vec<Permission>, Skipped> {
        let mut conditions = Vec::new();
        for (attribute, when) in when {
            conditions.extend(self.of_target(*attribute, (&when.values, &when.not_values))?);
        }
        let mut permissions = Vec::new();
        for to in rule.to() {
            let operation = to.operation.as_ref();
            let mut each = operation.map_or(Ok(Vec::new()), |operation| self.operation(operation))?;
            each.extend(conditions.iter().cloned());
            permissions.push(all(each));
        }
        if permissions.is_empty() {
            permissions.push(all(conditions));
        }
        Ok(permissions)
    }

    fn principals(self, rule: &Rule, when: &[Asked<'_>]) -> Result<Vec<Principal>, Skipped> {
        let mut conditions = Vec::new();
        for (attribute, when) in when {
            conditions.extend(self.of_source(*attribute, (&when.values, &when.not_values))?);
        }
        let mut principals = Vec::new();
        for from in rule.from() {
            let source = from.source.as_ref();
            let mut each = source.map_or(Ok(Vec::new()), |source| self.source(source))?;
            each.extend(conditions.iter().cloned());
            principals.push(all(each));
        }
        if principals.is_empty() {
            principals.push(all(conditions));
        }
        Ok(principals)
    }

    fn operation(self, operation: &Operation) -> Permissions {
        let http = |value: fn(&str) -> Permission| move |text: &str| self.http(|| Ok(value(text)));
        let path = |text: &str| self.http(|| condition::path(text));
        let Operation {
            hosts,
            not_hosts,
            methods,
            not_methods,
            paths,
            not_paths,
            ports,
            not_ports,
        } = operation;
        let mut conditions = self.each((hosts, not_hosts), &http(condition::host))?;
        conditions.extend(self.each((methods, not_methods), &http(condition::method))?);
        // A template that cannot be read takes the others of a rule that refuses with it: too much is refused then, and
        // nothing that was meant to be gets through.
        let is_unread = |path: &String| condition::path(path).is_err();
        let paths: &[String] = match !self.allows && paths.iter().any(is_unread) {
            true => &[],
            false => paths,
        };
        conditions.extend(self.each((paths, not_paths), &path)?);
        conditions.extend(self.each((ports, not_ports), &condition::port)?);
        Ok(conditions)
    }

    fn of_target(self, attribute: Attribute<'_>, values: Values<'_>) -> Permissions {
        match attribute {
            Attribute::DestinationIp => self.each(values, &condition::destination_ip),
            Attribute::DestinationPort => self.each(values, &condition::port),
            Attribute::ConnectionSni => self.each(values, &|value| Ok(condition::server_name(value))),
            Attribute::Metadata(key) => self.together(values, &|values| condition::metadata(key, values)),
            _ => Ok(Vec::new()),
        }
    }

    fn source(self, source: &Source) -> Principals {
        let each: [(Attribute<'_>, Values<'_>); 7] = [
            (
                Attribute::SourcePrincipal,
                (&source.principals, &source.not_principals),
            ),
            (
                Attribute::RequestPrincipal,
                (&source.request_principals, &source.not_request_principals),
            ),
            (
                Attribute::SourceServiceAccount,
                (&source.service_accounts, &source.not_service_accounts),
            ),
            (
                Attribute::SourceTrustDomain,
                (&source.trust_domains, &source.not_trust_domains),
            ),
            (
                Attribute::SourceNamespace,
                (&source.namespaces, &source.not_namespaces),
            ),
            (
                Attribute::RemoteIp,
                (&source.remote_ip_blocks, &source.not_remote_ip_blocks),
            ),
            (Attribute::SourceIp, (&source.ip_blocks, &source.not_ip_blocks)),
        ];
        let mut conditions = Vec::new();
        for (attribute, values) in each {
            conditions.extend(self.of_source(attribute, values)?);
        }
        Ok(conditions)
    }

    fn of_source(self, attribute: Attribute<'_>, values: Values<'_>) -> Principals {
        let (yes, no) = values;
        match attribute {
            Attribute::SourcePrincipal => {
                let (yes, no) = (self.domains.principals(yes), self.domains.principals(no));
                self.each((&yes, &no), &|value| Ok(condition::principal(value)))
            }
            Attribute::SourceTrustDomain => {
                let (yes, no) = (self.domains.expanded(yes), self.domains.expanded(no));
                self.each((&yes, &no), &|value| Ok(condition::trust_domain(value)))
            }
            Attribute::SourceNamespace => self.each(values, &|value| Ok(condition::namespace(value))),
            Attribute::SourceServiceAccount => self.each(values, &|value| {
                Ok(condition::service_account(self.namespace, value))
            }),
            Attribute::SourceIp => self.each(values, &condition::source_ip),
            Attribute::RemoteIp => self.each(values, &condition::remote_ip),
            Attribute::RequestHeader(name) => self.each(values, &|value| {
                self.http(|| condition::request_header(name, value))
            }),
            Attribute::RequestPrincipal => self.together(values, &|values| {
                self.http(|| Ok(condition::request_principals(values)))
            }),
            Attribute::RequestAudiences => self.claim(values, "[aud]"),
            Attribute::RequestPresenter => self.claim(values, "[azp]"),
            Attribute::RequestClaim(name) => self.claim(values, name),
            _ => Ok(Vec::new()),
        }
    }

    fn claim(self, values: Values<'_>, name: &str) -> Principals {
        self.together(values, &|values| {
            self.http(|| condition::request_claim(name, values))
        })
    }

    /// What only requests have.
    fn http<T>(self, condition: impl FnOnce() -> Result<T, Meaningless>) -> Result<T, Meaningless> {
        if self.of_connections {
            return Err(Meaningless);
        }
        condition()
    }

    /// One of the values, and none of the others; each value is a condition of its own.
    fn each<T>(self, (yes, no): Values<'_>, make: &Make<'_, T>) -> All<T> {
        let several = |values: &[String]| -> All<T> {
            let made = values.iter().map(|value| self.checked(make(value)));
            made.filter_map(Result::transpose).collect()
        };
        let (yes, no) = (several(yes)?, several(no)?);
        let mut conditions = Vec::new();
        if !yes.is_empty() {
            conditions.push(Condition::OneOf(yes));
        }
        if !no.is_empty() {
            conditions.push(Condition::Not(Box::new(Condition::OneOf(no))));
        }
        Ok(conditions)
    }

    /// One of the values, and none of the others; all values together are one condition.
    fn together<T>(self, (yes, no): Values<'_>, make: &MakeOfAll<'_, T>) -> All<T> {
        let mut conditions = Vec::new();
        if !yes.is_empty() {
            conditions.extend(self.checked(make(yes))?);
        }
        if !no.is_empty() {
            let not = self.checked(make(no))?;
            conditions.extend(not.map(|not| Condition::Not(Box::new(not))));
        }
        Ok(conditions)
    }

    /// A rule that allows is skipped for what cannot be said; any other goes on without it, and so is wider.
    fn checked<T>(self, made: Result<T, Meaningless>) -> Result<Option<T>, Skipped> {
        match made {
            Ok(condition) => Ok(Some(condition)),
            Err(Meaningless) if self.allows => Err(Skipped),
            Err(Meaningless) => Ok(None),
        }
    }
}
