//! What Istio's webhook says about an AuthorizationPolicy by itself.

use std::net::IpAddr;

use super::{Action, Attribute, AuthorizationPolicy, From, Operation, Rule, Source, To, When};
use crate::istio::policy_target::Targets;
use crate::istio::report::Report;
use crate::{Key, Kind, Problem};

/// The annotation of policies that are tried out.
const DRY_RUN: &str = "istio.io/dry-run";
const MATCH_ONE: &str = "{*}";
const MATCH_REST: &str = "{**}";
/// Most service accounts in one field, and the longest of them.
const SERVICE_ACCOUNTS: usize = 16;
const LONGEST_ACCOUNT: usize = 320;

impl AuthorizationPolicy {
    /// Whether it is only tried out. As in Go, where several words mean yes.
    pub fn is_dry_run(&self) -> bool {
        let stated = self.metadata.annotations.get(DRY_RUN);
        stated.is_some_and(|text| matches!(text.as_str(), "1" | "t" | "T" | "TRUE" | "true" | "True"))
    }

    /// What is wrong with the object by itself.
    pub fn validate(&self) -> Vec<Problem> {
        let (meta, spec) = (&self.metadata, &self.spec);
        let mut report = Report::new(Key::new(Kind::AuthorizationPolicy, &meta.namespace, &meta.name));
        report.policy_targets(&Targets {
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        });
        self.dry_run(&mut report);
        self.action(&mut report);
        for (index, rule) in spec.rules.iter().enumerate() {
            let place = Place {
                report: &mut report,
                index,
            };
            place.rule(rule);
            if spec.action() == Action::Deny && denies_all_of_tcp(rule) {
                report.warning(
                    &format!("spec.rules[{index}]"),
                    "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the \
                     use of only HTTP attributes in a DENY rule; it is recommended to explicitly specify the port",
                );
            }
        }
        report.into_problems()
    }

    fn dry_run(&self, report: &mut Report) {
        let Some(stated) = self.metadata.annotations.get(DRY_RUN) else {
            return;
        };
        let field = format!("metadata.annotations[{DRY_RUN}]");
        let known = [
            "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
        ];
        if !known.contains(&stated.as_str()) {
            report.warning(
                &field,
                format!("{stated:?} is neither true nor false: the policy is enforced"),
            );
        } else if self.is_dry_run() {
            let without = match self.spec.action() {
                Action::Allow | Action::Deny => return,
                Action::Custom => "the policy is left out, nobody is asked and nothing is refused",
                Action::Audit => "no line is asked for",
            };
            let message = format!(
                "a dry run is for ALLOW and DENY, found {}: {without}",
                self.spec.action()
            );
            report.warning(&field, message);
        }
    }

    fn action(&self, report: &mut Report) {
        let (spec, action) = (&self.spec, self.spec.action());
        let meaningless = format!(
            "{action} action without `rules` is meaningless as it will never be triggered, add an empty rule `{{}}` if \
             you want it be triggered for every request"
        );
        match action {
            Action::Custom | Action::Deny if spec.rules.is_empty() => report.error("spec.rules", meaningless),
            Action::Custom if spec.provider_name().is_empty() => {
                report.error("spec.provider", "`provider.name` must not be empty");
            }
            Action::Allow | Action::Deny | Action::Audit | Action::Custom => {}
        }
        if action == Action::Custom {
            for (index, rule) in spec.rules.iter().enumerate() {
                not_for_custom(report, index, rule);
            }
        } else if spec.provider.is_some() {
            report.error(
                "spec.provider",
                format!("`provider` must not be with non CUSTOM action, found {action}"),
            );
        }
    }
}

/// Who decides for `CUSTOM` is asked before identities in tokens are known; those in certificates are left to it.
fn not_for_custom(report: &mut Report, index: usize, rule: &Rule) {
    let mut check = |used: bool, name: &str| {
        if used {
            let message = format!("{name} is currently not supported with CUSTOM action");
            report.error(&format!("spec.rules[{index}]"), message);
        }
    };
    for source in rule.from().iter().filter_map(|from| from.source.as_ref()) {
        for (values, name) in [
            (&source.namespaces, "From.Namespaces"),
            (&source.not_namespaces, "From.NotNamespaces"),
            (&source.service_accounts, "From.ServiceAccounts"),
            (&source.not_service_accounts, "From.NotServiceAccounts"),
            (&source.trust_domains, "From.TrustDomains"),
            (&source.not_trust_domains, "From.NotTrustDomains"),
            (&source.principals, "From.Principals"),
            (&source.not_principals, "From.NotPrincipals"),
            (&source.request_principals, "From.RequestPrincipals"),
            (&source.not_request_principals, "From.NotRequestPrincipals"),
        ] {
            check(!values.is_empty(), name);
        }
    }
    for When { key, .. } in &rule.when {
        let of_identity = matches!(
            key.as_str(),
            "source.namespace" | "source.serviceAccount" | "source.trustDomain" | "source.principal"
        );
        check(of_identity || key.starts_with("request.auth."), key);
    }
}

/// Whether some of what a rule denies cannot be told of a connection at all, so that it denies every one.
fn denies_all_of_tcp(rule: &Rule) -> bool {
    let asks = !rule.from().is_empty() || !rule.to().is_empty() || !rule.when.is_empty();
    let anybody = |from: &From| !from.source.as_ref().is_some_and(tells_connections);
    let anywhere = |to: &To| {
        let operation = to.operation.as_ref();
        !operation.is_some_and(|operation| !operation.ports.is_empty() || !operation.not_ports.is_empty())
    };
    let of_requests = |when: &When| Attribute::parse(&when.key).is_ok_and(Attribute::is_http);
    asks && (rule.from().is_empty() || rule.from().iter().any(anybody))
        && (rule.to().is_empty() || rule.to().iter().any(anywhere))
        && rule.when.iter().all(of_requests)
}

/// Whether a source says something of who connects.
fn tells_connections(source: &Source) -> bool {
    let Source {
        principals,
        not_principals,
        request_principals: _,
        not_request_principals: _,
        namespaces,
        not_namespaces,
        ip_blocks,
        not_ip_blocks,
        remote_ip_blocks,
        not_remote_ip_blocks,
        service_accounts,
        not_service_accounts,
        trust_domains,
        not_trust_domains,
    } = source;
    let told = [
        principals,
        not_principals,
        namespaces,
        not_namespaces,
        ip_blocks,
        not_ip_blocks,
        remote_ip_blocks,
        not_remote_ip_blocks,
        service_accounts,
        not_service_accounts,
        trust_domains,
        not_trust_domains,
    ];
    told.iter().any(|values| !values.is_empty())
}

/// One rule.
struct Place<'r> {
    report: &'r mut Report,
    index: usize,
}

impl Place<'_> {
    fn error(&mut self, field: &str, message: impl Into<String>) {
        let field = match field {
            "" => format!("spec.rules[{}]", self.index),
            field => format!("spec.rules[{}].{field}", self.index),
        };
        self.report.error(&field, message);
    }

    fn error_here(&mut self, field: &str, message: &str) {
        let message = format!("{message}, found at rule {}", self.index);
        self.error(field, message);
    }

    fn rule(mut self, rule: &Rule) {
        if rule.from.as_ref().is_some_and(Vec::is_empty) {
            self.error_here("from", "`from` must not be empty");
        }
        for (index, From { source }) in rule.from().iter().enumerate() {
            let field = format!("from[{index}].source");
            match source {
                None => self.error_here(&field, "`from.source` must not be nil"),
                Some(source) => self.source(&field, source),
            }
        }
        if rule.to.as_ref().is_some_and(Vec::is_empty) {
            self.error_here("to", "`to` must not be empty");
        }
        for (index, To { operation }) in rule.to().iter().enumerate() {
            let field = format!("to[{index}].operation");
            match operation {
                None => self.error_here(&field, "`to.operation` must not be nil"),
                Some(operation) => self.operation(&field, operation),
            }
        }
        for (index, condition) in rule.when.iter().enumerate() {
            self.condition(&format!("when[{index}]"), condition);
        }
    }

    fn source(&mut self, field: &str, source: &Source) {
        let accounts = !source.service_accounts.is_empty() || !source.not_service_accounts.is_empty();
        let identities = [
            &source.principals,
            &source.not_principals,
            &source.namespaces,
            &source.not_namespaces,
        ];
        if accounts && identities.iter().any(|values| !values.is_empty()) {
            self.error_here(field, "cannot set serviceAccounts with namespaces or principals");
        }
        if *source == Source::default() {
            self.error_here(field, "`from.source` must not be empty");
        }
        for (values, name, check) in [
            (&source.principals, "Principals", not_empty as Check),
            (&source.not_principals, "NotPrincipals", not_empty),
            (&source.request_principals, "RequestPrincipals", not_empty),
            (&source.not_request_principals, "NotRequestPrincipals", not_empty),
            (&source.namespaces, "Namespaces", not_empty),
            (&source.not_namespaces, "NotNamespaces", not_empty),
            (&source.ip_blocks, "IpBlocks", networks),
            (&source.not_ip_blocks, "NotIpBlocks", networks),
            (&source.remote_ip_blocks, "RemoteIpBlocks", networks),
            (&source.not_remote_ip_blocks, "NotRemoteIpBlocks", networks),
            (&source.service_accounts, "ServiceAccounts", service_accounts),
            (
                &source.not_service_accounts,
                "NotServiceAccounts",
                service_accounts,
            ),
            (&source.trust_domains, "TrustDomains", trust_domains),
            (&source.not_trust_domains, "NotTrustDomains", trust_domains),
        ] {
            self.values(field, name, values, check);
        }
    }

    fn operation(&mut self, field: &str, operation: &Operation) {
        if *operation == Operation::default() {
            self.error_here(field, "`to.operation` must not be empty");
        }
        for (values, name, check) in [
            (&operation.ports, "Ports", ports as Check),
            (&operation.not_ports, "NotPorts", ports),
            (&operation.methods, "Methods", not_empty),
            (&operation.not_methods, "NotMethods", not_empty),
            (&operation.paths, "Paths", paths),
            (&operation.not_paths, "NotPaths", paths),
            (&operation.hosts, "Hosts", not_empty),
            (&operation.not_hosts, "NotHosts", not_empty),
        ] {
            self.values(field, name, values, check);
        }
    }

    /// `name` is Istio's name of the field, which its messages have.
    fn values(&mut self, field: &str, name: &str, values: &[String], check: Check) {
        if let Err(message) = check(name, values) {
            let mut field = format!("{field}.");
            field.extend(name.chars().take(1).map(|first| first.to_ascii_lowercase()));
            field.extend(name.chars().skip(1));
            self.error(&field, message);
        }
    }

    fn condition(&mut self, field: &str, condition: &When) {
        let key = condition.key.as_str();
        if key.is_empty() {
            return self.error(field, "`key` must not be empty");
        }
        if condition.values.is_empty() && condition.not_values.is_empty() {
            let message = format!("at least one of `values` or `notValues` must be set for key {key}");
            return self.error(field, message);
        }
        for (values, name) in [(&condition.values, "value"), (&condition.not_values, "notValue")] {
            if let Err(message) = attribute(key, values) {
                let message = format!("invalid `{name}` for `key` {key}: {message}");
                self.error(&format!("{field}.{name}s"), message);
            }
        }
    }
}

/// What is wrong with the values of a field.
type Check = fn(&str, &[String]) -> Result<(), String>;

fn not_empty(name: &str, values: &[String]) -> Result<(), String> {
    match values.iter().any(String::is_empty) {
        true => Err(format!("empty value not allowed, found in {name}")),
        false => Ok(()),
    }
}

fn networks(_: &str, values: &[String]) -> Result<(), String> {
    values.iter().try_for_each(|value| match value.split_once('/') {
        None => match value.parse::<IpAddr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("bad IP address ({value})")),
        },
        Some((address, length)) => {
            let most = address
                .parse()
                .map(|address: IpAddr| if address.is_ipv4() { 32 } else { 128 });
            let fits = |length: u8| most.is_ok_and(|most| length <= most);
            // A length has one form.
            let plain = length == "0" || !length.starts_with(['0', '+']);
            match length.parse().is_ok_and(fits) && plain {
                true => Ok(()),
                false => Err(format!("bad CIDR range ({value})")),
            }
        }
    })
}

fn ports(_: &str, values: &[String]) -> Result<(), String> {
    let wrong = |value: &&String| value.starts_with('+') || value.parse::<u16>().is_err();
    match values.iter().find(wrong) {
        Some(value) => Err(format!("bad port ({value})")),
        None => Ok(()),
    }
}

fn wildcards(name: &str, values: &[String]) -> Result<(), String> {
    not_empty(name, values)?;
    values
        .iter()
        .try_for_each(|value| match value.matches('*').count() {
            0 => Ok(()),
            1 if value.starts_with('*') || value.ends_with('*') => Ok(()),
            1 => Err(format!(
                "wildcard is only allowed at the start or end, found in {name}: {value:?}"
            )),
            _ => Err(format!(
                "at most one wildcard is allowed, found in {name}: {value:?}"
            )),
        })
}

fn trust_domains(name: &str, values: &[String]) -> Result<(), String> {
    wildcards(name, values)?;
    match values.iter().find(|value| value.contains('/')) {
        Some(value) => Err(format!(
            "trust domain must not contain '/', found in {name}: {value:?}"
        )),
        None => Ok(()),
    }
}

fn service_accounts(name: &str, values: &[String]) -> Result<(), String> {
    if values.len() > SERVICE_ACCOUNTS {
        return Err(format!("may not have more than {SERVICE_ACCOUNTS} values"));
    }
    not_empty(name, values)?;
    values.iter().try_for_each(|value| {
        const FORMAT: &str = "expected format 'serviceAccount' or 'namespace/serviceAccount'";
        if value.contains('*') {
            return Err(format!("wildcard not allowed, found in {name}"));
        }
        if value.len() > LONGEST_ACCOUNT {
            let limit = format!("value cannot exceed {LONGEST_ACCOUNT} characters");
            return Err(format!("{limit}, found {value:?} in {name}"));
        }
        match value.split_once('/') {
            Some((_, account)) if account.contains('/') => {
                Err(format!("{FORMAT}, found {value:?} in {name}"))
            }
            Some(("", _)) => Err(format!("{FORMAT}, found empty namespace {value:?} in {name}")),
            Some((_, "")) => Err(format!(
                "{FORMAT}, found empty serviceAccount {value:?} in {name}"
            )),
            Some(_) | None => Ok(()),
        }
    })
}

fn paths(name: &str, values: &[String]) -> Result<(), String> {
    not_empty(name, values)?;
    values.iter().try_for_each(|path| path_template(name, path))
}

/// Braces are for templates alone, and what surrounds those is what paths are made of.
fn path_template(name: &str, path: &str) -> Result<(), String> {
    let is_template = path.contains(MATCH_ONE) || path.contains(MATCH_REST);
    if is_template && !path.starts_with('/') {
        return Err(format!(
            "path template {path:?} must begin with a slash, found in {name}"
        ));
    }
    let path = path.trim_matches('/');
    let wrong = |why: &str| {
        Err(format!(
            "invalid or unsupported path {path}, found in {name}. {why}"
        ))
    };
    let mut ended = false;
    for segment in path.split('/') {
        match segment {
            MATCH_ONE | MATCH_REST if ended => return wrong("{**} is not the last operator"),
            MATCH_ONE => {}
            MATCH_REST => ended = true,
            _ if segment.contains(['{', '}']) => {
                return wrong("Contains '{' or '}' beyond a supported path template");
            }
            _ if is_template && !is_literal(segment) => {
                return wrong(&format!("Contains segment {segment} with invalid string literal"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_literal(segment: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte);
    !segment.is_empty() && segment.bytes().all(known)
}

fn attribute(key: &str, values: &[String]) -> Result<(), String> {
    not_empty(key, values)?;
    match Attribute::parse(key)? {
        Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => networks(key, values),
        Attribute::DestinationPort => ports(key, values),
        Attribute::SourceServiceAccount => service_accounts(key, values),
        Attribute::SourceTrustDomain => wildcards(key, values),
        Attribute::RequestHeader(_) | Attribute::RequestClaim(_) | Attribute::Metadata(_) => has_name(key),
        Attribute::SourceNamespace
        | Attribute::SourcePrincipal
        | Attribute::RequestPrincipal
        | Attribute::RequestAudiences
        | Attribute::RequestPresenter
        | Attribute::ConnectionSni => Ok(()),
    }
}

fn has_name(key: &str) -> Result<(), String> {
    match key.find('[') {
        Some(open) if open > 0 && key.ends_with(']') && open + 2 < key.len() => Ok(()),
        _ => Err(format!("bad key ({key}): should have format a[b]")),
    }
}
