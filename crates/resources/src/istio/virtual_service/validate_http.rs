//! What Istio's webhook says about the HTTP rules of a VirtualService.

use super::{
    CorsPolicy, HeaderOperations, Headers, HttpFault, HttpMatch, HttpRedirect, HttpRetry, HttpRewrite,
    HttpRoute, VirtualServiceSpec, validate::weights,
};
use crate::Code;
use crate::istio::report::Report;
use crate::istio::{Condition, StringMatch};

/// Envoy's retry conditions that Istio admits.
const RETRY_CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// 1 MiB: the largest body of a direct response; from 100 kB on there is a warning.
const MAX_BODY: usize = 1 << 20;
const LARGE_BODY: usize = 100_000;

pub(super) fn routes(report: &mut Report, spec: &VirtualServiceSpec) {
    for (index, rule) in spec.http.iter().enumerate() {
        let field = format!("spec.http[{index}]");
        for (index, matching) in rule.matches.iter().enumerate() {
            validate_match(report, &format!("{field}.match[{index}]"), matching);
        }
        action(report, &field, rule, spec.hosts.is_empty());
        policies(report, &field, rule);
    }
    unreachable(report, spec);
}

/// Exactly one thing may happen to a request.
fn action(report: &mut Report, field: &str, rule: &HttpRoute, is_delegate: bool) {
    let routed = !rule.route.is_empty();
    if rule.delegate.is_some() {
        if is_delegate {
            report.error(
                &format!("{field}.delegate"),
                "delegate virtual service cannot contain delegate",
            );
        }
        if routed || rule.redirect.is_some() || rule.direct_response.is_some() {
            report.error(field, "delegate excludes route, redirect and directResponse");
        }
        return;
    }
    let actions = [routed, rule.redirect.is_some(), rule.direct_response.is_some()];
    match actions.iter().filter(|action| **action).count() {
        0 => report.error(field, "HTTP route, redirect or direct_response is required"),
        1 => {}
        _ => report.error(
            field,
            "HTTP route cannot contain more than one of route, redirect and direct_response",
        ),
    }
    if !routed && rule.fault.is_some() {
        report.error(
            &format!("{field}.fault"),
            "HTTP route cannot contain fault with redirect or direct_response",
        );
    }
    if !routed && rule.rewrite.is_some() {
        report.error(
            &format!("{field}.rewrite"),
            "HTTP route rule cannot contain rewrite with redirect or direct_response",
        );
    }
    for (index, target) in rule.route.iter().enumerate() {
        let field = format!("{field}.route[{index}]");
        report.destination(&format!("{field}.destination"), &target.destination);
        headers(report, &field, target.headers.as_ref());
    }
    weights(
        report,
        field,
        &rule.route.iter().map(|target| target.weight).collect::<Vec<_>>(),
    );
    if let Some(redirect) = &rule.redirect {
        validate_redirect(report, &format!("{field}.redirect"), redirect, &rule.matches);
    }
    if let Some(response) = &rule.direct_response {
        let field = format!("{field}.directResponse");
        if !(200..=599).contains(&response.status) {
            report.error(
                &format!("{field}.status"),
                format!("invalid status {}: must be 200..599", response.status),
            );
        }
        let body = response.body.as_ref();
        let length = body
            .and_then(|body| body.string.as_ref().or(body.bytes.as_ref()))
            .map_or(0, String::len);
        if length > MAX_BODY {
            report.error(
                &format!("{field}.body"),
                "direct response body is larger than 1 MB",
            );
        } else if length > LARGE_BODY {
            report.warning(
                &format!("{field}.body"),
                "direct response body is larger than 100 KB",
            );
        }
    }
}

fn policies(report: &mut Report, field: &str, rule: &HttpRoute) {
    report.duration_or_zero(&format!("{field}.timeout"), rule.timeout);
    if let Some(retries) = &rule.retries {
        validate_retries(report, &format!("{field}.retries"), retries);
    }
    if let Some(rewrite) = &rule.rewrite {
        validate_rewrite(report, &format!("{field}.rewrite"), rewrite);
    }
    if let Some(fault) = &rule.fault {
        validate_fault(report, &format!("{field}.fault"), fault);
    }
    if let Some(cors) = &rule.cors_policy {
        validate_cors(report, &format!("{field}.corsPolicy"), cors);
    }
    headers(report, field, rule.headers.as_ref());
    if rule.mirror.is_some() && !rule.mirrors.is_empty() {
        report.error(
            &format!("{field}.mirrors"),
            "HTTP route cannot contain both mirror and mirrors",
        );
    }
    if let Some(mirror) = &rule.mirror {
        report.destination(&format!("{field}.mirror"), mirror);
    }
    for (index, mirror) in rule.mirrors.iter().enumerate() {
        let field = format!("{field}.mirrors[{index}]");
        report.destination(&format!("{field}.destination"), &mirror.destination);
        report.percent(
            &format!("{field}.percentage"),
            mirror.percentage.map(|percentage| percentage.value),
        );
    }
    report.percent(
        &format!("{field}.mirrorPercentage"),
        rule.mirror_percentage.map(|percentage| percentage.value),
    );
    if let Some(percent) = rule.mirror_percent.or(rule.mirror_percent_snake_case) {
        let field = format!("{field}.mirrorPercent");
        report.percent(&field, Some(f64::from(percent)));
        report.warning(
            &field,
            "using deprecated setting \"mirrorPercent\", use \"mirrorPercentage\" instead",
        );
    }
}

fn validate_match(report: &mut Report, field: &str, matching: &HttpMatch) {
    if let Some(uri) = &matching.uri
        && let Some(Condition::Regex(pattern)) = uri.condition()
    {
        report.regex(&format!("{field}.uri.regex"), pattern);
    }
    report.string_match(&format!("{field}.scheme"), matching.scheme.as_ref());
    report.string_match(&format!("{field}.method"), matching.method.as_ref());
    report.string_match(&format!("{field}.authority"), matching.authority.as_ref());
    for (kind, headers) in [
        ("headers", &matching.headers),
        ("withoutHeaders", &matching.without_headers),
    ] {
        for (name, condition) in headers {
            let field = format!("{field}.{kind}.{name}");
            if !name.starts_with('@') && !is_token(name) {
                report.error(&field, format!("header name {name:?} is not a valid header name"));
            }
            presence_or_match(report, &field, condition);
        }
    }
    for (name, condition) in &matching.query_params {
        presence_or_match(report, &format!("{field}.queryParams.{name}"), condition);
    }
    if let Some(port) = matching.port {
        report.port(&format!("{field}.port"), port);
    }
}

/// `regex: "*"` is not a regular expression; Istio reads it as presence.
fn presence_or_match(report: &mut Report, field: &str, condition: &StringMatch) {
    if condition.condition() != Some(Condition::Regex("*")) {
        report.string_match(field, Some(condition));
    }
}

fn is_token(name: &str) -> bool {
    let special = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

fn validate_retries(report: &mut Report, field: &str, retries: &HttpRetry) {
    if retries.attempts < 0 {
        report.error(&format!("{field}.attempts"), "attempts cannot be negative");
    }
    let attempts_alone = HttpRetry {
        attempts: retries.attempts,
        ..HttpRetry::default()
    };
    if retries.attempts == 0 && *retries != attempts_alone {
        report.error(
            field,
            "http retry policy configured when attempts are set to 0 (disabled)",
        );
    }
    report.duration(&format!("{field}.perTryTimeout"), retries.per_try_timeout);
    report.duration(&format!("{field}.backoff"), retries.backoff);
    for condition in retries
        .retry_on
        .split(',')
        .map(str::trim)
        .filter(|condition| !condition.is_empty())
    {
        let status = condition
            .parse()
            .is_ok_and(|status: u16| (100..600).contains(&status));
        if !status && !RETRY_CONDITIONS.contains(&condition) {
            report.error(
                &format!("{field}.retryOn"),
                format!("{condition:?} is not a valid retryOn policy"),
            );
        }
    }
}

fn validate_redirect(report: &mut Report, field: &str, redirect: &HttpRedirect, matches: &[HttpMatch]) {
    let HttpRedirect {
        uri,
        prefix_rewrite,
        authority,
        scheme,
        ..
    } = redirect;
    if !uri.is_empty() && !prefix_rewrite.is_empty() {
        report.error(field, "HTTP redirect cannot contain both uri and prefixRewrite");
    }
    let port = redirect.port.is_some() || redirect.derive_port.is_some();
    if [uri, prefix_rewrite, authority, scheme]
        .into_iter()
        .all(String::is_empty)
        && !port
    {
        report.error(
            field,
            "redirect must specify uri, authority, scheme, port or prefixRewrite",
        );
    }
    let by_prefix = |matching: &HttpMatch| {
        matching
            .uri
            .as_ref()
            .is_some_and(|uri| matches!(uri.condition(), Some(Condition::Prefix(_))))
    };
    let all_by_prefix = !matches.is_empty() && matches.iter().all(by_prefix);
    if !prefix_rewrite.is_empty() && !all_by_prefix {
        report.error(
            &format!("{field}.prefixRewrite"),
            "prefixRewrite needs every match to be a uri prefix",
        );
    }
    if !["", "http", "https"].contains(&scheme.as_str()) {
        report.error(&format!("{field}.scheme"), "scheme must be http or https");
    }
    if redirect.redirect_code != 0 && !(300..=399).contains(&redirect.redirect_code) {
        let message = format!(
            "{} is not a valid redirect code, must be 3xx",
            redirect.redirect_code
        );
        report.error(&format!("{field}.redirectCode"), message);
    }
}

fn validate_rewrite(report: &mut Report, field: &str, rewrite: &HttpRewrite) {
    let HttpRewrite {
        uri,
        authority,
        uri_regex_rewrite,
    } = rewrite;
    if uri.is_empty() && authority.is_empty() && uri_regex_rewrite.is_none() {
        report.error(
            field,
            "rewrite must specify at least one of uri, authority or uriRegexRewrite",
        );
    }
    let Some(by_regex) = uri_regex_rewrite else { return };
    let field = format!("{field}.uriRegexRewrite");
    if !uri.is_empty() {
        report.error(&field, "rewrite may only contain one of uri and uriRegexRewrite");
    }
    if by_regex.rewrite.is_empty() {
        report.error(&format!("{field}.rewrite"), "rewrite must not be empty");
    }
    report.regex(&format!("{field}.match"), &by_regex.pattern);
}

fn validate_fault(report: &mut Report, field: &str, fault: &HttpFault) {
    if fault.delay.is_none() && fault.abort.is_none() {
        report.error(field, "HTTP fault injection must have an abort and/or a delay");
    }
    if let Some(delay) = &fault.delay {
        let field = format!("{field}.delay");
        report.duration(&format!("{field}.fixedDelay"), delay.fixed_delay);
        report.percent(&format!("{field}.percent"), delay.percent.map(f64::from));
        report.percent(
            &format!("{field}.percentage"),
            delay.percentage.map(|percentage| percentage.value),
        );
        if delay.exponential_delay.is_some() {
            report.error(
                &format!("{field}.exponentialDelay"),
                "exponentialDelay not supported yet",
            );
        } else if delay.fixed_delay.is_none() {
            report.error(&format!("{field}.fixedDelay"), "fixedDelay is required");
        }
    }
    if let Some(abort) = &fault.abort {
        let field = format!("{field}.abort");
        report.percent(
            &format!("{field}.percentage"),
            abort.percentage.map(|percentage| percentage.value),
        );
        if abort.http2_error.is_some() {
            report.error(
                &format!("{field}.http2Error"),
                "HTTP/2 abort fault injection not supported yet",
            );
        }
        match (abort.http_status, &abort.grpc_status) {
            (Some(status), _) if !(200..=599).contains(&status) => {
                report.error(
                    &format!("{field}.httpStatus"),
                    format!("HTTP status {status} is not in range 200..599"),
                );
            }
            (None, Some(status)) if !GRPC_STATUSES.contains(&status.as_str()) => {
                report.error(
                    &format!("{field}.grpcStatus"),
                    format!("gRPC status {status:?} is not supported"),
                );
            }
            (None, None) => {
                report.warning(&field, "abort fault injection has no error type and does nothing")
            }
            _ => {}
        }
    }
}

fn validate_cors(report: &mut Report, field: &str, cors: &CorsPolicy) {
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        let field = format!("{field}.allowOrigins[{index}]");
        report.string_match(&field, Some(origin));
        if matches!(origin.condition(), None | Some(Condition::Exact(""))) {
            report.error(&field, "origin must have a condition that is not empty");
        }
    }
    for (index, method) in cors.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            report.error(
                &format!("{field}.allowMethods[{index}]"),
                format!("{method:?} is not a supported HTTP method"),
            );
        }
    }
    for (kind, names) in [
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ] {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_token(name)) {
            report.error(
                &format!("{field}.{kind}[{index}]"),
                format!("header name {name:?} is not a valid header name"),
            );
        }
    }
    if cors.max_age.is_some_and(|age| age.0.subsec_nanos() != 0) {
        report.error(
            &format!("{field}.maxAge"),
            "max_age duration is accurate only to seconds precision",
        );
    }
}

fn headers(report: &mut Report, field: &str, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    for (side, operations) in [("request", &headers.request), ("response", &headers.response)] {
        if let Some(HeaderOperations { set, add, remove }) = operations {
            let is_request = side == "request";
            let named = |names: Vec<&String>, kind: &str, report: &mut Report| {
                for name in names {
                    let is_authority = name == ":authority" || name.eq_ignore_ascii_case("host");
                    if is_authority && is_request && kind != "remove" {
                        continue;
                    }
                    if is_authority || !is_token(name) {
                        let field = format!("{field}.headers.{side}.{kind}");
                        report.error(&field, format!("header name {name:?} is not allowed here"));
                    }
                }
            };
            named(set.keys().collect(), "set", report);
            named(add.keys().collect(), "add", report);
            named(remove.iter().collect(), "remove", report);
        }
    }
}

/// Rules that nothing can reach any more.
fn unreachable(report: &mut Report, spec: &VirtualServiceSpec) {
    let mut catch_all: Option<usize> = None;
    let mut seen: Vec<(usize, usize, &HttpMatch)> = Vec::new();
    for (index, rule) in spec.http.iter().enumerate() {
        let field = format!("spec.http[{index}]");
        if let Some(earlier) = catch_all {
            let message =
                format!("rule is never reached: spec.http[{earlier}] has no match and takes every request");
            report.add(Code::VirtualServiceUnreachableRule, &field, message);
            continue;
        }
        if rule.matches.is_empty() {
            catch_all = Some(index);
        }
        let mut duplicates = 0;
        for (position, matching) in rule.matches.iter().enumerate() {
            let unnamed = HttpMatch {
                name: String::new(),
                ..matching.clone()
            };
            let same = seen.iter().find(|(_, _, earlier)| {
                HttpMatch {
                    name: String::new(),
                    ..(*earlier).clone()
                } == unnamed
            });
            if let Some((rule, earlier, _)) = same {
                duplicates += 1;
                let message =
                    format!("match duplicates spec.http[{rule}].match[{earlier}] and has no effect");
                report.add(
                    Code::VirtualServiceIneffectiveMatch,
                    &format!("{field}.match[{position}]"),
                    message,
                );
            }
            seen.push((index, position, matching));
        }
        if duplicates > 0 && duplicates == rule.matches.len() {
            let message = "rule is never reached: earlier rules have all of its matches";
            report.add(Code::VirtualServiceUnreachableRule, &field, message);
        }
    }
}
