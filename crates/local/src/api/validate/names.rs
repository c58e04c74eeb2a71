//! Rules for names, with the texts that Kubernetes answers to a bad one.

use std::sync::LazyLock;

use regex::Regex;

/// What is wrong with a name; empty when it is fine.
pub type NameRule = fn(&str) -> Vec<String>;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";

const QUALIFIED_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                              an alphanumeric character";

/// `my.example.com`: what most objects are called.
pub fn dns_subdomain(name: &str) -> Vec<String> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| whole(SUBDOMAIN));
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                must start and end with an alphanumeric character";
    check(name, 253, &PATTERN, || explain(rule, SUBDOMAIN, &["example.com"]))
}

/// `my-name`: namespaces, containers, volumes.
pub fn dns_label(name: &str) -> Vec<String> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| whole(LABEL));
    let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                and end with an alphanumeric character";
    check(name, 63, &PATTERN, || {
        explain(rule, LABEL, &["my-name", "123-abc"])
    })
}

/// The same, starting with a letter: services.
pub fn dns_1035_label(name: &str) -> Vec<String> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| whole(LABEL_1035));
    let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                character, and end with an alphanumeric character";
    check(name, 63, &PATTERN, || {
        explain(rule, LABEL_1035, &["my-name", "abc-123"])
    })
}

/// Anything that fits into a path: RBAC objects.
pub fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    let inside = ["/", "%"].iter().filter(|part| name.contains(**part));
    inside.map(|part| format!("may not contain '{part}'")).collect()
}

/// `example.com/name`: keys of labels and annotations.
pub(super) fn qualified(name: &str) -> Vec<String> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| whole(QUALIFIED));
    let mut troubles = Vec::new();
    let parts: Vec<&str> = name.split('/').collect();
    let own = match parts.as_slice() {
        [own] => own,
        [prefix, own] => {
            if prefix.is_empty() {
                troubles.push("prefix part must be non-empty".to_owned());
            } else {
                troubles.extend(
                    dns_subdomain(prefix)
                        .into_iter()
                        .map(|text| format!("prefix part {text}")),
                );
            }
            own
        }
        _ => {
            let rule = explain(QUALIFIED_RULE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a qualified name {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if own.is_empty() {
        troubles.push("name part must be non-empty".to_owned());
    } else if own.len() > 63 {
        troubles.push(format!("name part {}", too_long(63)));
    }
    if !PATTERN.is_match(own) {
        let rule = explain(QUALIFIED_RULE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
        troubles.push(format!("name part {rule}"));
    }
    troubles
}

/// Values of labels.
pub(super) fn label_value(value: &str) -> Vec<String> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| whole(VALUE));
    let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                must start and end with an alphanumeric character";
    check(value, 63, &PATTERN, || {
        explain(rule, VALUE, &["MyValue", "my_value", "12345"])
    })
}

/// Keys of ConfigMaps and Secrets.
pub(super) fn config_key(key: &str) -> Vec<String> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| whole(CONFIG_KEY));
    let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
    let mut troubles = check(key, 253, &PATTERN, || {
        explain(rule, CONFIG_KEY, &["key.name", "KEY_NAME", "key-name"])
    });
    match key {
        "." => troubles.push("must not be '.'".to_owned()),
        ".." => troubles.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => troubles.push("must not start with '..'".to_owned()),
        _ => {}
    }
    troubles
}

/// Names of environment variables.
pub(super) fn environment(name: &str) -> Vec<String> {
    if name
        .bytes()
        .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
    {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

/// Names of container ports.
pub(super) fn port(name: &str) -> Vec<String> {
    let mut troubles = Vec::new();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.len() > 15 {
        troubles.push(too_long(15));
    }
    if !name.bytes().all(|byte| plain(byte) || byte == b'-') {
        troubles.push("must contain only alphanumeric characters (a-z, 0-9), and hyphens ('-')".to_owned());
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        troubles.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        troubles.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        troubles.push("must not begin or end with a hyphen".to_owned());
    }
    troubles
}

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("the pattern is a constant")
}

fn check(name: &str, limit: usize, pattern: &Regex, explain: impl FnOnce() -> String) -> Vec<String> {
    let mut troubles = Vec::new();
    if name.len() > limit {
        troubles.push(too_long(limit));
    }
    if !pattern.is_match(name) {
        troubles.push(explain());
    }
    troubles
}

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

/// `RULE (e.g. 'a',  or 'b', regex used for validation is 'PATTERN')`; the two blanks are Kubernetes' own.
fn explain(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let shown: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!(
        "{rule} (e.g. {}regex used for validation is '{pattern}')",
        shown.join(" or ")
    )
}
