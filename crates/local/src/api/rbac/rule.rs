//! One rule of a role: what it matches, and whether it covers another rule. Pure.

use serde_json::{Value, json};

use super::{Access, Resource, What};
use crate::api::field::go_quote;

/// A `PolicyRule`: of resources (`groups`, `resources`, `names`) or of paths (`paths`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty: all.
    pub names: Vec<String>,
    pub paths: Vec<String>,
}

const ALL: &str = "*";
/// A rule of more parts than this is only given by who has a rule that covers the whole of it.
const PARTS: usize = 10_000;

impl Rule {
    /// Everything: what `cluster-admin` has.
    pub fn everything() -> [Self; 2] {
        let all = || vec![ALL.to_owned()];
        [
            Self {
                verbs: all(),
                groups: all(),
                resources: all(),
                ..Self::default()
            },
            Self {
                verbs: all(),
                paths: all(),
                ..Self::default()
            },
        ]
    }

    pub fn from_json(rule: &Value) -> Self {
        let several = |field: &str| {
            let list = rule[field].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: several("verbs"),
            groups: several("apiGroups"),
            resources: several("resources"),
            names: several("resourceNames"),
            paths: several("nonResourceURLs"),
        }
    }

    /// The rules of a role.
    pub fn all_of(role: &Value) -> Vec<Self> {
        let rules = role["rules"].as_array().into_iter().flatten();
        rules.map(Self::from_json).collect()
    }

    pub fn to_json(&self) -> Value {
        let fields = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ];
        let given = fields.into_iter().filter(|(_, list)| !list.is_empty());
        Value::Object(
            given
                .map(|(field, list)| (field.to_owned(), json!(list)))
                .collect(),
        )
    }

    pub fn matches(&self, access: &Access<'_>) -> bool {
        has(&self.verbs, access.verb)
            && match access.what {
                What::Resource(of) => {
                    has(&self.groups, of.group)
                        && self.matches_resource(&of)
                        && (self.names.is_empty() || self.names.iter().any(|name| name == of.name))
                }
                What::Path(path) => self.matches_path(path),
            }
    }

    /// `pods`, `pods/log`, `*/scale` or `*`.
    fn matches_resource(&self, of: &Resource<'_>) -> bool {
        self.resources.iter().any(|one| match one.split_once('/') {
            _ if one == ALL => true,
            None => of.subresource.is_empty() && one == of.resource,
            Some((resource, part)) => {
                part == of.subresource && !part.is_empty() && (resource == ALL || resource == of.resource)
            }
        })
    }

    fn matches_path(&self, path: &str) -> bool {
        self.paths.iter().any(|one| {
            one == ALL || one == path || one.ends_with('*') && path.starts_with(one.trim_end_matches('*'))
        })
    }

    /// Whether whoever has this rule has all of the other.
    fn covers(&self, other: &Self) -> bool {
        let resource = |wanted: &String| {
            let part = wanted.split_once('/').map(|(_, part)| format!("*/{part}"));
            self.resources
                .iter()
                .any(|one| one == ALL || one == wanted || Some(one) == part.as_ref())
        };
        let names = self.names.is_empty()
            || !other.names.is_empty() && other.names.iter().all(|name| self.names.contains(name));
        other.verbs.iter().all(|verb| has(&self.verbs, verb))
            && other.groups.iter().all(|group| has(&self.groups, group))
            && other.resources.iter().all(resource)
            && other.paths.iter().all(|path| self.matches_path(path))
            && names
    }

    /// How many [`parts`](Self::parts) it has.
    fn size(&self) -> usize {
        let resources = [&self.groups, &self.resources, &self.verbs].map(Vec::len);
        let resources = resources
            .into_iter()
            .fold(self.names.len().max(1), usize::saturating_mul);
        resources.saturating_add(self.paths.len().saturating_mul(self.verbs.len()))
    }

    /// The same as rules of one verb, group, resource and name (or one verb and path) each.
    fn parts(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let mut parts = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part = Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    if self.names.is_empty() {
                        parts.push(part.clone());
                    }
                    parts.extend(self.names.iter().map(|name| Self {
                        names: one(name),
                        ..part.clone()
                    }));
                }
            }
        }
        for path in &self.paths {
            parts.extend(self.verbs.iter().map(|verb| Self {
                verbs: one(verb),
                paths: one(path),
                ..Self::default()
            }));
        }
        parts
    }

    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    pub fn describe(&self) -> String {
        let fields = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let given = fields.into_iter().filter(|(_, list)| !list.is_empty());
        let texts: Vec<String> = given
            .map(|(field, list)| format!("{field}:{}", go_list(list)))
            .collect();
        format!("{{{}}}", texts.join(", "))
    }
}

/// What of `wanted` is not in `held`, verbs of one object joined.
pub(super) fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = Vec::new();
    // Who has all of a rule by one of their own need not have it taken apart; nor is one of very many parts, whose
    // number is the product of its lists.
    let covered = |rule: &Rule| held.iter().any(|own| own.covers(rule));
    let (small, large): (Vec<&Rule>, Vec<&Rule>) = wanted
        .iter()
        .filter(|rule| !covered(rule))
        .partition(|rule| rule.size() <= PARTS);
    missing.extend(large.into_iter().cloned());
    let parts = small.into_iter().flat_map(Rule::parts);
    for part in parts.filter(|part| !held.iter().any(|rule| rule.covers(part))) {
        let same = missing.iter_mut().find(|one| {
            (&one.groups, &one.resources, &one.names, &one.paths)
                == (&part.groups, &part.resources, &part.names, &part.paths)
        });
        match same {
            Some(one) => one.verbs.extend(part.verbs),
            None => missing.push(part),
        }
    }
    missing
}

/// `["a" "b"]`, as Go shows a list of strings.
pub(super) fn go_list(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|one| go_quote(one)).collect();
    format!("[{}]", quoted.join(" "))
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == ALL || one == wanted)
}
