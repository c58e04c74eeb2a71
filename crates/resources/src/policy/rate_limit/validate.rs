//! What is wrong with a RateLimit by itself.

use std::collections::BTreeSet;

use super::{Global, Key, Limit, LimitScope, RateLimit, RequestMatch, TargetRef};
use crate::istio::report::{NOT_A_LABEL, Report, is_dns_label};
use crate::{Kind, Problem};

/// More than that at once, and a limit is none.
const MOST: u32 = 1_000_000_000;
/// Longest time that it may take until a burst is there again, in nanoseconds: 146 years. Counters of 64 bits have room
/// for it, and for the time that passes.
const LONGEST: u128 = 1 << 62;
/// Fields of one hop that proxies take out. Others of that kind limits do see, some of them (`upgrade`) only of requests
/// for another protocol.
const TAKEN_OUT: [&str; 3] = ["keep-alive", "proxy-connection", "transfer-encoding"];

impl RateLimit {
    /// What is wrong with the object by itself.
    pub fn validate(&self) -> Vec<Problem> {
        let (meta, spec) = (&self.metadata, &self.spec);
        let mut report = Report::new(crate::Key::new(Kind::RateLimit, &meta.namespace, &meta.name));
        if spec.target_ref.is_some() && spec.selector.is_some() {
            report.error("spec", "only one of targetRef and selector may be set");
        }
        if let Some(target) = &spec.target_ref {
            of_target(&mut report, target);
        }
        if spec.limits.is_empty() {
            report.error("spec.limits", "there must be at least one limit");
        } else if spec.limits.len() > 32 {
            report.error("spec.limits", "there may be at most 32 limits");
        }
        let mut names = BTreeSet::new();
        for (index, limit) in spec.limits.iter().enumerate() {
            let field = format!("spec.limits[{index}]");
            if !is_dns_label(&limit.name) {
                let message = format!("invalid name {:?}: {NOT_A_LABEL}", limit.name);
                report.error(&format!("{field}.name"), message);
            } else if !names.insert(&limit.name) {
                report.error(
                    &format!("{field}.name"),
                    format!("duplicate name: {}", limit.name),
                );
            }
            of_limit(&mut report, &field, limit);
        }
        if let Some(status) = spec.response.as_ref().and_then(|response| response.status)
            && !is_known(status)
        {
            report.error(
                "spec.response.status",
                format!("status {status} is not one of errors that proxies know"),
            );
        }
        let shared = spec.limits.iter().any(|limit| limit.scope == LimitScope::Global);
        match &spec.global {
            Some(_) if !shared => report.warning("spec.global", "no limit is of scope Global"),
            Some(global) => of_global(&mut report, global),
            None => {}
        }
        report.into_problems()
    }
}

/// Errors that Envoy has a name for; it takes no others.
fn is_known(status: u16) -> bool {
    matches!(status, 400..=417 | 421..=424 | 426 | 428 | 429 | 431 | 500..=508 | 510 | 511)
}

fn of_target(report: &mut Report, target: &TargetRef) {
    if target.kind != "Service" || !target.group.is_empty() {
        let message = format!(
            "a RateLimit can be attached to a Service of group \"\", not to {} of {:?}",
            target.kind, target.group
        );
        report.error("spec.targetRef", message);
    }
    if target.name.is_empty() {
        report.error("spec.targetRef.name", "name must not be empty");
    }
    if target.section_name.as_deref() == Some("") {
        report.error("spec.targetRef.sectionName", "sectionName must not be empty");
    }
}

fn of_limit(report: &mut Report, field: &str, limit: &Limit) {
    if !(1..=MOST).contains(&limit.requests) {
        report.error(
            &format!("{field}.requests"),
            format!("requests must be in the range 1..{MOST}"),
        );
    }
    let largest = largest_burst(limit);
    if limit.burst.is_some_and(|burst| !(1..=largest).contains(&burst)) {
        let mut message = format!("burst must be in the range 1..{largest}");
        if largest < MOST {
            message.push_str(": more would take longer than a century to come back");
        }
        report.error(&format!("{field}.burst"), message);
    }
    let most = limit.burst.unwrap_or(limit.requests);
    if limit.cost.is_some_and(|cost| cost == 0 || cost > most) {
        let message = format!("cost must be in the range 1..{most}: no request would ever pass");
        report.error(&format!("{field}.cost"), message);
    }
    if limit.scope == LimitScope::Global && limit.burst.is_some() {
        // Envoy's protocol has no word for it.
        report.warning(
            &format!("{field}.burst"),
            "only the mesh's own server knows bursts",
        );
    }
    if limit.keys.len() > 8 {
        report.error(&format!("{field}.keys"), "there may be at most 8 keys");
    }
    for (index, key) in limit.keys.iter().enumerate() {
        of_key(report, &format!("{field}.keys[{index}]"), key);
    }
    if let Some(matches) = &limit.matches {
        of_match(report, &format!("{field}.match"), matches);
    }
}

/// The largest burst that comes back in any time worth the name.
fn largest_burst(limit: &Limit) -> u32 {
    let most = LONGEST * u128::from(limit.requests.max(1)) / limit.unit.duration().as_nanos();
    u32::try_from(most).unwrap_or(u32::MAX).min(MOST)
}

fn of_key(report: &mut Report, field: &str, key: &Key) {
    let texts = [&key.header, &key.query_parameter, &key.jwt_claim, &key.value];
    let stated = texts.into_iter().flatten().count() + usize::from(key.attribute.is_some());
    if stated != 1 {
        let message = "exactly one of header, queryParameter, jwtClaim, attribute and value must be set";
        report.error(field, message);
    }
    if texts.into_iter().flatten().any(String::is_empty) {
        report.error(field, "must not be empty");
    }
    if let Some(name) = &key.header {
        of_header_name(report, &format!("{field}.header"), name);
    }
}

fn of_header_name(report: &mut Report, field: &str, name: &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(is_token) {
        report.error(field, format!("header name {name:?} is not a token"));
    } else if TAKEN_OUT.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        let message = format!("the limit is for no request: proxies take the header {name} out first");
        report.warning(field, message);
    }
}

fn of_match(report: &mut Report, field: &str, matches: &RequestMatch) {
    report.string_match(&format!("{field}.path"), matches.path.as_ref());
    let is_method = |method: &String| {
        !method.is_empty()
            && method
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'-')
    };
    for (index, method) in matches.methods.iter().enumerate() {
        if !is_method(method) {
            report.error(
                &format!("{field}.methods[{index}]"),
                format!("{method:?} is no method"),
            );
        }
    }
    for (name, condition) in &matches.headers {
        let field = format!("{field}.headers[{name}]");
        if name.is_empty() {
            report.error(&field, "header name must not be empty");
        }
        of_header_name(report, &field, name);
        report.string_match(&field, Some(condition));
    }
}

fn of_global(report: &mut Report, global: &Global) {
    report.duration("spec.global.timeout", global.timeout);
    if let Some(server) = &global.server {
        report.host("spec.global.server.host", &server.host);
        report.port("spec.global.server.port", server.port.into());
    }
    if global.domain.as_deref() == Some("") {
        report.error("spec.global.domain", "domain must not be empty");
    }
}
