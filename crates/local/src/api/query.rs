//! Label and field selectors as they stand in a query: `app=backend,version in (0,1)`, `status.phase!=Failed`.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>

use std::collections::BTreeSet;

use serde_json::Value;

use super::Status;
use super::client::Query;
use super::registry::{Shape, Type};

/// Each is tried on each object of a list; nobody writes so many.
const REQUIREMENTS: usize = 1024;

/// Which objects of a collection are meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

/// One condition on one label. A missing label fulfils `!=`, `notin` and `!`.
#[derive(Clone, Debug, PartialEq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Above(String, i64),
    Below(String, i64),
}

#[derive(Clone, Debug, PartialEq)]
struct FieldRequirement {
    /// Where the object has the value.
    path: Vec<String>,
    value: String,
    equal: bool,
}

impl Filter {
    /// Reads both selectors of a query.
    ///
    /// # Errors
    /// 400 in Kubernetes' words.
    pub fn parse(kind: &Type, query: &Query) -> Result<Self, Status> {
        Ok(Self {
            labels: parse_labels(&query.labels)
                .map_err(|what| Status::bad_request(format!("unable to parse requirement: {what}")))?,
            fields: parse_fields(kind, &query.fields)?,
        })
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| requirement.matches(labels))
            && self.fields.iter().all(|requirement| requirement.matches(object))
    }
}

impl Requirement {
    fn matches(&self, labels: &Value) -> bool {
        let label = |key: &str| labels[key].as_str();
        let number = |key: &str| label(key).and_then(|text| text.parse::<i64>().ok());
        match self {
            Self::Exists(key) => label(key).is_some(),
            Self::Missing(key) => label(key).is_none(),
            Self::In(key, values) => label(key).is_some_and(|have| values.contains(have)),
            Self::NotIn(key, values) => label(key).is_none_or(|have| !values.contains(have)),
            Self::Above(key, limit) => number(key).is_some_and(|have| have > *limit),
            Self::Below(key, limit) => number(key).is_some_and(|have| have < *limit),
        }
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Value) -> bool {
        let found = self
            .path
            .iter()
            .try_fold(object, |at, part| at.get(part))
            .unwrap_or(&Value::Null);
        let equal = match found {
            Value::String(text) => *text == self.value,
            Value::Bool(yes) => yes.to_string() == self.value,
            Value::Number(number) => number.to_string() == self.value,
            // Go's zero values: an absent flag is false.
            Value::Null => self.value.is_empty() || self.value == "false",
            Value::Array(_) | Value::Object(_) => false,
        };
        equal == self.equal
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let parts = split_outside_brackets(text)?;
    if parts.len() > REQUIREMENTS {
        return Err(format!("{} requirements, more than {REQUIREMENTS}", parts.len()));
    }
    parts.into_iter().map(parse_label).collect()
}

/// Splits at commas that do not stand between brackets.
fn split_outside_brackets(text: &str) -> Result<Vec<&str>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' if open => return Err("found '(', expected: ',', or ')'".to_owned()),
            ')' if !open => return Err("found ')', expected: identifier".to_owned()),
            '(' => open = true,
            ')' => open = false,
            ',' if !open => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err("found '', expected: ',', or ')'".to_owned());
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn parse_label(text: &str) -> Result<Requirement, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(key(rest)?));
    }
    for (operator, above) in [(">", true), ("<", false)] {
        if let Some((left, right)) = text.split_once(operator) {
            let limit = right.trim().parse().map_err(|_| {
                format!("values[0]: Invalid value: \"{}\": for 'Gt', 'Lt' operators, the value must be an integer", right.trim())
            })?;
            let key = key(left)?;
            return Ok(if above {
                Requirement::Above(key, limit)
            } else {
                Requirement::Below(key, limit)
            });
        }
    }
    if let Some((left, right)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(left)?, BTreeSet::from([value(right)?])));
    }
    if let Some((left, right)) = text.split_once('=') {
        return Ok(Requirement::In(
            key(left)?,
            BTreeSet::from([value(right.strip_prefix('=').unwrap_or(right))?]),
        ));
    }
    let Some((left, set)) = text.split_once('(') else {
        return Ok(Requirement::Exists(key(text)?));
    };
    let set = set
        .strip_suffix(')')
        .ok_or_else(|| format!("found '{set}', expected: ',' or 'end of string'"))?;
    let values = set.split(',').map(value).collect::<Result<_, _>>()?;
    match left.split_whitespace().collect::<Vec<_>>()[..] {
        [name, "in"] => Ok(Requirement::In(key(name)?, values)),
        [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
        _ => Err(format!(
            "found '{}', expected: in, notin, =, ==, !=, gt, lt",
            left.trim()
        )),
    }
}

fn key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
    if name.is_empty() {
        return Err(format!("found '{text}', expected: identifier"));
    }
    if is_label_text(name) && text.len() <= 253 + 64 {
        return Ok(text.to_owned());
    }
    Err(format!(
        "key: Invalid value: \"{text}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must \
         start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
         validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    ))
}

fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || is_label_text(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "values[0][]: Invalid value: \"{text}\": a valid label must be an empty string or consist of alphanumeric \
         characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
         'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    ))
}

fn is_label_text(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn parse_fields(kind: &Type, text: &str) -> Result<Vec<FieldRequirement>, Status> {
    split_fields(text)
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (field, value, equal) = split_operator(&part).ok_or_else(|| {
                Status::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'"))
            })?;
            let path = field_path(kind, field)
                .ok_or_else(|| Status::bad_request(format!("field label not supported: {field}")))?;
            Ok(FieldRequirement {
                path,
                value: unescape(value),
                equal,
            })
        })
        .collect()
}

/// Splits at commas; a backslash protects the next letter.
fn split_fields(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut protected) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        if letter == ',' && !protected {
            parts.push(std::mem::take(&mut part));
            continue;
        }
        protected = letter == '\\' && !protected;
        part.push(letter);
    }
    parts.push(part);
    parts
}

fn split_operator(part: &str) -> Option<(&str, &str, bool)> {
    if let Some((field, value)) = part.split_once("!=") {
        return Some((field, value, false));
    }
    let (field, value) = part.split_once('=')?;
    Some((field, value.strip_prefix('=').unwrap_or(value), true))
}

fn unescape(value: &str) -> String {
    let (mut out, mut protected) = (String::new(), false);
    for letter in value.chars() {
        if letter == '\\' && !protected {
            protected = true;
        } else {
            out.push(letter);
            protected = false;
        }
    }
    out
}

/// Fields of built-in kinds that may be selected, beside name and namespace.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    ("events", EVENT_FIELDS),
    ("events.events.k8s.io", NEWER_EVENT_FIELDS),
    ("namespaces", &["status.phase"]),
    ("nodes", &["spec.unschedulable"]),
    ("secrets", &["type"]),
    ("services", &["spec.clusterIP", "spec.type"]),
    ("replicasets.apps", &["status.replicas"]),
    ("jobs.batch", &["status.successful"]),
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The same in the shape of the newer group.
const NEWER_EVENT_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// Where a field stands in the stored object.
fn field_path(kind: &Type, field: &str) -> Option<Vec<String>> {
    let split = |path: &str| path.split('.').map(str::to_owned).collect();
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return Some(split(field));
    }
    if let Shape::Custom(version) = &kind.shape {
        return version
            .selectable
            .iter()
            .any(|one| one == field)
            .then(|| split(field));
    }
    let resource = kind.gvr.to_string();
    let (_, fields) = FIELDS.iter().find(|(of, _)| *of == resource)?;
    fields.contains(&field).then(|| match field.split_once('.') {
        _ if field == "source" => split("source.component"),
        _ if field == "reportingController" => split("reportingComponent"),
        Some(("regarding", rest)) => split(&format!("involvedObject.{rest}")),
        _ => split(field),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::registry::Registry;

    fn filter(resource: &str, labels: &str, fields: &str) -> Result<Filter, Status> {
        let registry = Registry::built_in();
        let kind = registry.find("", "v1", resource).unwrap();
        Filter::parse(
            kind,
            &Query {
                labels: labels.to_owned(),
                fields: fields.to_owned(),
            },
        )
    }

    #[test]
    fn label_selectors_select_as_documented() {
        let object = json!({"metadata": {"labels": {"app": "backend", "version": "1", "a.b/c": ""}}});
        for (selector, expected) in [
            ("", true),
            ("app=backend", true),
            ("app==backend,version=1", true),
            ("app = backend , version in (0, 1)", true),
            ("app!=backend", false),
            ("other!=x", true),
            ("version notin (1,2)", false),
            ("other notin (1,2)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("a.b/c=", true),
            ("version>0", true),
            ("version<1", false),
        ] {
            let filter = filter("pods", selector, "").unwrap();
            assert_eq!(filter.matches(&object), expected, "{selector}");
        }
    }

    #[test]
    fn a_broken_label_selector_is_a_bad_request() {
        for selector in [
            "app=a b",
            "=x",
            "a in (b",
            "a in b)",
            "a within (b)",
            "a,,b",
            "-a=b",
            "a>x",
        ] {
            let status = filter("pods", selector, "").unwrap_err();
            assert_eq!(status.code, 400, "{selector}");
            assert!(
                status.message.starts_with("unable to parse requirement: "),
                "{}",
                status.message
            );
        }
    }

    #[test]
    fn field_selectors_select_as_documented() {
        let pod = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "local"}, "status": {"phase": "Running"}});
        for (selector, expected) in [
            ("metadata.name=a", true),
            ("metadata.name=a,metadata.namespace==n", true),
            (
                "spec.nodeName=local,status.phase!=Failed,status.phase!=Succeeded",
                true,
            ),
            ("status.phase=Failed", false),
            ("spec.hostNetwork=false", true),
        ] {
            assert_eq!(
                filter("pods", "", selector).unwrap().matches(&pod),
                expected,
                "{selector}"
            );
        }
    }

    #[test]
    fn both_groups_select_events_by_their_own_names() {
        let registry = Registry::built_in();
        let stored = json!({"involvedObject": {"name": "a"}, "reportingComponent": "kubelet"});
        let query = Query {
            fields: "regarding.name=a,reportingController=kubelet".to_owned(),
            ..Query::default()
        };
        let newer = registry.find("events.k8s.io", "v1", "events").unwrap();
        assert!(Filter::parse(newer, &query).unwrap().matches(&stored));
        assert_eq!(filter("events", "", &query.fields).unwrap_err().code, 400);
    }

    #[test]
    fn a_field_that_cannot_be_selected_is_named() {
        let status = filter("pods", "", "spec.foo=bar").unwrap_err();
        assert_eq!(
            (status.code, status.message.as_str()),
            (400, "field label not supported: spec.foo")
        );
        let status = filter("configmaps", "", "status.phase=x").unwrap_err();
        assert_eq!(status.message, "field label not supported: status.phase");
    }
}
