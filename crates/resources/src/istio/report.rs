//! Collects findings about one object, each with the path of its field.

use crate::istio::{Condition, Destination, Duration, StringMatch, WorkloadSelector};
use crate::{Code, Key, Problem};

/// Findings about one object.
pub(crate) struct Report {
    key: Key,
    problems: Vec<Problem>,
}

/// Longest regular expression that Istio admits.
const MAX_REGEX: usize = 1024;

/// Largest compiled regular expression: what the data path takes.
const REGEX_SIZE_LIMIT: usize = 4 << 20;

impl Report {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            key,
            problems: Vec::new(),
        }
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(crate) fn error(&mut self, field: &str, message: impl Into<String>) {
        self.add(Code::SchemaValidationError, field, message);
    }

    pub(crate) fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.add(Code::SchemaWarning, field, message);
    }

    pub(crate) fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(code, &self.key, field, message));
    }

    /// A length of time that must be at least a millisecond, without finer parts.
    pub(crate) fn duration(&mut self, field: &str, duration: Option<Duration>) {
        let Some(duration) = duration else { return };
        if duration.is_zero() || !duration.is_whole_milliseconds() {
            self.error(field, "duration must be greater than 1ms, in whole milliseconds");
        }
    }

    /// A length of time in whole milliseconds, where zero switches something off.
    pub(crate) fn duration_or_zero(&mut self, field: &str, duration: Option<Duration>) {
        if duration.is_some_and(|duration| !duration.is_whole_milliseconds()) {
            self.error(field, "only durations to ms precision are supported");
        }
    }

    pub(crate) fn regex(&mut self, field: &str, pattern: &str) {
        if pattern.is_empty() {
            self.error(field, "regex must not be empty");
        } else if pattern.len() > MAX_REGEX {
            self.error(
                field,
                format!("regex is too large, max length allowed is {MAX_REGEX}"),
            );
        } else if let Err(reason) = compiles(pattern) {
            self.error(field, format!("invalid regex {pattern:?}: {reason}"));
        }
    }

    /// A condition on something that is never empty.
    pub(crate) fn string_match(&mut self, field: &str, condition: Option<&StringMatch>) {
        let Some(matching) = condition else { return };
        if [&matching.exact, &matching.prefix, &matching.regex]
            .into_iter()
            .flatten()
            .count()
            > 1
        {
            self.error(field, "only one of exact, prefix and regex may be set");
        }
        match matching.condition() {
            Some(Condition::Prefix("")) => self.error(field, "prefix must not be empty"),
            Some(Condition::Regex(pattern)) => self.regex(&format!("{field}.regex"), pattern),
            Some(Condition::Prefix(_) | Condition::Exact(_)) | None => {}
        }
    }

    pub(crate) fn percent(&mut self, field: &str, percent: Option<f64>) {
        let Some(percent) = percent else { return };
        if !(0.0..=100.0).contains(&percent) {
            self.error(field, format!("percentage {percent} is not in range 0..100"));
        } else if percent > 0.0 && percent < 0.0001 {
            self.error(field, format!("percentage {percent} is less than 0.0001"));
        }
    }

    pub(crate) fn destination(&mut self, field: &str, destination: &Destination) {
        self.host(&format!("{field}.host"), &destination.host);
        if let Some(subset) = &destination.subset
            && !is_dns_label(subset)
        {
            self.error(
                &format!("{field}.subset"),
                format!("invalid subset name {subset:?}: {NOT_A_LABEL}"),
            );
        }
        if let Some(port) = destination.port {
            self.port(&format!("{field}.port.number"), port.number);
        }
    }

    pub(crate) fn port(&mut self, field: &str, port: u32) {
        if !(1..=65535).contains(&port) {
            self.error(field, format!("port number {port} must be in the range 1..65535"));
        }
    }

    /// A name, possibly with a wildcard as its left-most label.
    pub(crate) fn host(&mut self, field: &str, host: &str) {
        let name = host.strip_prefix("*.").unwrap_or(host);
        if host.is_empty() {
            self.error(field, "domain name must not be empty");
        } else if host != "*" && host.parse::<std::net::IpAddr>().is_err() {
            let labels = name.strip_suffix('.').unwrap_or(name).split('.');
            match labels.into_iter().find(|label| !is_host_label(label)) {
                Some("") => self.error(field, format!("domain name {host:?} invalid (empty label)")),
                Some(label) => {
                    self.error(
                        field,
                        format!("domain name {host:?} invalid (label {label:?} invalid)"),
                    );
                }
                None if name.len() > 255 => {
                    self.error(
                        field,
                        format!("domain name {host:?} is longer than 255 characters"),
                    );
                }
                None => {}
            }
        }
    }

    /// Labels are compared whole.
    pub(super) fn selector(&mut self, field: &str, selector: Option<&WorkloadSelector>) {
        let Some(selector) = selector else { return };
        for (name, value) in &selector.match_labels {
            let label = format!("{name}={value}");
            let field = format!("{field}.matchLabels");
            if name.is_empty() {
                self.error(
                    &field,
                    format!("empty key is not supported in selector: {label:?}"),
                );
            }
            if label.contains('*') {
                self.error(
                    &field,
                    format!("wildcard is not supported in selector: {label:?}"),
                );
            }
        }
        if selector.match_labels.is_empty() {
            self.warning(field, "workload selector specified without labels");
        }
    }

    /// `.`, `*` or namespaces.
    pub(crate) fn export_to(&mut self, export_to: &[String]) {
        let field = "spec.exportTo";
        let mut seen = std::collections::BTreeSet::new();
        for target in export_to {
            if !seen.insert(target) {
                self.error(field, format!("duplicate entries in exportTo: {target}"));
            }
            if target == "~" {
                self.error(field, "exportTo ~ is not allowed here");
            } else if target != "." && target != "*" && !is_dns_label(target) {
                self.error(field, format!("invalid namespace {target:?}: {NOT_A_LABEL}"));
            }
        }
        if export_to.len() > 1 && seen.contains(&"*".to_owned()) {
            self.error(field, "exportTo * must be alone");
        }
    }
}

/// Whether the data path will take a pattern: with ASCII classes, as RE2 has them, or else with Unicode ones.
fn compiles(pattern: &str) -> Result<(), String> {
    let build = |unicode| {
        let mut builder = regex::bytes::RegexBuilder::new(pattern);
        builder.unicode(unicode).size_limit(REGEX_SIZE_LIMIT).build()
    };
    let Err(error) = build(false).or_else(|_| build(true)) else {
        return Ok(());
    };
    // The first lines draw an arrow below the pattern; the last one says what is wrong.
    let text = error.to_string();
    let reason = text.lines().next_back().unwrap_or(&text);
    Err(reason.trim_start_matches("error: ").to_owned())
}

pub(crate) const NOT_A_LABEL: &str = "must be a DNS label: lower-case letters, digits and '-', at most 63";

/// RFC 1123, lower case: names of namespaces and subsets.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    is_host_label(text) && text.bytes().all(inner)
}

/// A label of a host name: letters of either case, and underscores inside, as Istio admits them.
fn is_host_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with(['-', '_'])
        && !text.ends_with(['-', '_'])
}
