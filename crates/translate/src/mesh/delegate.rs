//! `http.delegate`: rules that a VirtualService takes from another one. Istio: "VirtualService delegate".
//!
//! A delegate has no hosts and does nothing by itself. One of its rules counts when each of its matches lies within a
//! match of the rule that delegates; what it leaves open comes from there. One level only. A delegate that is missing,
//! has hosts or is not exported to the namespace of the one that delegates leaves nothing of that rule.

use std::collections::BTreeMap;

use resources::istio::virtual_service::{HttpMatch, HttpRoute};
use resources::istio::{StringMatch, resolve_host};
use resources::{Key, Kind, Resource, VirtualService};

use super::Resources;
use super::visibility::Visibility;
use crate::DOMAIN;

/// The rules of a VirtualService, delegates included.
#[derive(Debug, Default)]
pub(crate) struct Delegated {
    pub(crate) rules: Vec<Rule>,
    /// The delegates that they came from, each with the Mesh that brought it.
    pub(crate) sources: Vec<(Key, u64)>,
}

/// A rule, with where it is written.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) rule: HttpRoute,
    pub(crate) field: String,
}

/// Why a rule gets nothing from the delegate that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    NotThere,
    HasHosts,
    NotExported,
}

/// `None` when no rule delegates.
pub(super) fn delegated(root: &VirtualService, objects: &Resources) -> Option<Delegated> {
    let spec = &root.spec;
    if spec.http.iter().all(|rule| rule.delegate.is_none()) {
        return None;
    }
    let mut merged = Delegated::default();
    for (index, rule) in spec.http.iter().enumerate() {
        let field = format!("spec.http[{index}]");
        let rule = resolved(rule, &root.metadata.namespace);
        let Some(key) = key_of(&rule, &root.metadata.namespace) else {
            merged.rules.push(Rule { rule, field });
            continue;
        };
        let Some(stored) = objects.get(&key) else { continue };
        merged.sources.push((key.clone(), stored.revision));
        let Resource::VirtualService(object) = &stored.resource else {
            continue;
        };
        if why_missing(Some(object), &root.metadata.namespace).is_some() {
            continue;
        }
        for (position, theirs) in object.spec.http.iter().enumerate() {
            let theirs = resolved(theirs, &key.namespace);
            if let Some(rule) = merge(&rule, theirs) {
                let field = format!(
                    "{field}.delegate[{}/{}].http[{position}]",
                    key.namespace, key.name
                );
                merged.rules.push(Rule { rule, field });
            }
        }
    }
    Some(merged)
}

/// The delegate that a rule names.
pub(crate) fn key_of(rule: &HttpRoute, namespace: &str) -> Option<Key> {
    let delegate = rule.delegate.as_ref()?;
    let namespace = Some(delegate.namespace.as_str())
        .filter(|stated| !stated.is_empty())
        .unwrap_or(namespace);
    Some(Key::new(Kind::VirtualService, namespace, &delegate.name))
}

/// Why that object, found under a delegate's name, is none for rules in `namespace`; `None` when it is one.
pub(crate) fn why_missing(object: Option<&VirtualService>, namespace: &str) -> Option<Missing> {
    let Some(object) = object else {
        return Some(Missing::NotThere);
    };
    if !object.spec.hosts.is_empty() {
        return Some(Missing::HasHosts);
    }
    let export_to = object.spec.export_to.iter().map(String::as_str);
    let visible = Visibility::of(export_to, &object.metadata.namespace).includes(namespace);
    (!visible).then_some(Missing::NotExported)
}

/// The rule with full names, so that it means the same wherever it is taken to.
fn resolved(rule: &HttpRoute, namespace: &str) -> HttpRoute {
    let mut rule = rule.clone();
    let routes = rule.route.iter_mut().map(|target| &mut target.destination);
    let mirrors = rule.mirrors.iter_mut().map(|mirror| &mut mirror.destination);
    for destination in routes.chain(mirrors).chain(&mut rule.mirror) {
        destination.host = resolve_host(&destination.host, namespace, DOMAIN);
    }
    rule
}

/// The rule of a delegate as it counts for the rule that delegates; `None` when their matches conflict.
pub(crate) fn merge(root: &HttpRoute, leaf: HttpRoute) -> Option<HttpRoute> {
    if leaf.delegate.is_some() {
        return None;
    }
    Some(HttpRoute {
        matches: merge_matches(&root.matches, &leaf.matches)?,
        name: joined(&root.name, &leaf.name),
        rewrite: leaf.rewrite.or_else(|| root.rewrite.clone()),
        direct_response: leaf.direct_response.or_else(|| root.direct_response.clone()),
        timeout: leaf.timeout.or(root.timeout),
        retries: leaf.retries.or_else(|| root.retries.clone()),
        fault: leaf.fault.or_else(|| root.fault.clone()),
        mirror: leaf.mirror.or_else(|| root.mirror.clone()),
        mirrors: if leaf.mirrors.is_empty() {
            root.mirrors.clone()
        } else {
            leaf.mirrors
        },
        mirror_percent: leaf.mirror_percent.or(root.mirror_percent),
        mirror_percent_snake_case: leaf.mirror_percent_snake_case.or(root.mirror_percent_snake_case),
        mirror_percentage: leaf.mirror_percentage.or(root.mirror_percentage),
        cors_policy: leaf.cors_policy.or_else(|| root.cors_policy.clone()),
        headers: leaf.headers.or_else(|| root.headers.clone()),
        route: leaf.route,
        redirect: leaf.redirect,
        delegate: None,
    })
}

fn joined(root: &str, leaf: &str) -> String {
    match (root, leaf) {
        ("", name) | (name, "") => name.to_owned(),
        (root, leaf) => format!("{root}-{leaf}"),
    }
}

/// Every pair that goes together. Each match of the delegate must go with one of the root's.
fn merge_matches(root: &[HttpMatch], leaf: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || leaf.is_empty() {
        return Some([root, leaf].concat());
    }
    let mut merged = Vec::new();
    for leaf in leaf {
        let before = merged.len();
        let fitting = root.iter().filter(|root| !conflict(root, leaf));
        merged.extend(fitting.map(|root| merge_match(root, leaf)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge_match(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    let text = |leaf: &String, root: &String| if leaf.is_empty() { root } else { leaf }.clone();
    HttpMatch {
        name: joined(&root.name, &leaf.name),
        uri: leaf.uri.clone().or_else(|| root.uri.clone()),
        scheme: leaf.scheme.clone().or_else(|| root.scheme.clone()),
        method: leaf.method.clone().or_else(|| root.method.clone()),
        authority: leaf.authority.clone().or_else(|| root.authority.clone()),
        headers: both(&root.headers, &leaf.headers),
        port: leaf.port.or(root.port),
        source_labels: both(&root.source_labels, &leaf.source_labels),
        gateways: if leaf.gateways.is_empty() {
            root.gateways.clone()
        } else {
            leaf.gateways.clone()
        },
        query_params: both(&root.query_params, &leaf.query_params),
        ignore_uri_case: leaf.ignore_uri_case,
        without_headers: both(&root.without_headers, &leaf.without_headers),
        source_namespace: text(&leaf.source_namespace, &root.source_namespace),
        stat_prefix: text(&leaf.stat_prefix, &root.stat_prefix),
    }
}

/// Entries of both; of two with one key the delegate's.
fn both<T: Clone>(root: &BTreeMap<String, T>, leaf: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    let entries = root.iter().chain(leaf);
    entries
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether the delegate's match may take requests that the root's does not.
fn conflict(root: &HttpMatch, leaf: &HttpMatch) -> bool {
    let conditions = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    let maps = [
        (&root.headers, &leaf.headers),
        (&root.without_headers, &leaf.without_headers),
        (&root.query_params, &leaf.query_params),
    ];
    let named = maps.iter().flat_map(|(root, leaf)| {
        leaf.iter()
            .map(|(name, condition)| (root.get(name), Some(condition)))
    });
    let labels = &root.source_labels;
    conditions
        .iter()
        .map(|(root, leaf)| (root.as_ref(), leaf.as_ref()))
        .chain(named)
        .any(|(root, leaf)| text_conflict(root, leaf))
        || root.ignore_uri_case != leaf.ignore_uri_case
        || matches!((root.port, leaf.port), (Some(root), Some(leaf)) if root != leaf)
        || (!root.source_namespace.is_empty() && root.source_namespace != leaf.source_namespace)
        || leaf
            .source_labels
            .iter()
            .any(|(name, value)| labels.get(name).is_some_and(|other| other != value))
        || (!root.gateways.is_empty()
            && leaf
                .gateways
                .iter()
                .any(|gateway| !root.gateways.contains(gateway)))
}

/// Regular expressions go with nothing but silence; an equal text only with the same, a prefix with what begins so.
fn text_conflict(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> bool {
    let (Some(root), Some(leaf)) = (root, leaf) else {
        return false;
    };
    let stated = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let of = |one: &StringMatch| (stated(&one.exact), stated(&one.prefix), stated(&one.regex));
    match (of(root), of(leaf)) {
        ((_, _, Some(_)), (None, None, None)) | ((None, None, None), _) => true,
        ((_, _, Some(_)), _) | (_, (_, _, Some(_))) => true,
        ((Some(root), ..), (leaf, prefix, _)) => prefix.is_some() || leaf.as_ref() != Some(&root),
        ((None, Some(root), _), (exact, prefix, _)) => {
            prefix.or(exact).is_none_or(|leaf| !leaf.starts_with(&root))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> StringMatch {
        StringMatch {
            exact: Some(text.into()),
            ..StringMatch::default()
        }
    }

    fn prefix(text: &str) -> StringMatch {
        StringMatch {
            prefix: Some(text.into()),
            ..StringMatch::default()
        }
    }

    #[test]
    fn a_condition_must_lie_within_that_of_the_root() {
        let regex = StringMatch {
            regex: Some("/a.*".into()),
            ..StringMatch::default()
        };
        let conflicts = |root: &StringMatch, leaf: &StringMatch| text_conflict(Some(root), Some(leaf));
        assert!(!conflicts(&prefix("/a"), &prefix("/a/b")));
        assert!(!conflicts(&prefix("/a"), &exact("/a")));
        assert!(conflicts(&prefix("/a/b"), &prefix("/a")));
        assert!(!conflicts(&exact("/a"), &exact("/a")));
        assert!(conflicts(&exact("/a"), &exact("/a/b")));
        assert!(conflicts(&exact("/a"), &prefix("/a")));
        assert!(conflicts(&regex, &exact("/ab")) && conflicts(&prefix("/a"), &regex));
        assert!(conflicts(&regex, &regex), "Istio does not compare expressions");
        assert!(conflicts(&StringMatch::default(), &exact("/a")));
        assert!(!text_conflict(None, Some(&regex)) && !text_conflict(Some(&regex), None));
    }

    #[test]
    fn every_match_of_the_delegate_needs_one_of_the_root_and_takes_what_it_leaves_open() {
        let matching = |uri: StringMatch, name: &str| HttpMatch {
            uri: Some(uri),
            name: name.into(),
            ..HttpMatch::default()
        };
        let mut root = matching(prefix("/a"), "root");
        root.headers.insert("x-team".into(), exact("one"));
        let leaf = matching(exact("/a/b"), "leaf");
        let merged = merge_matches(std::slice::from_ref(&root), std::slice::from_ref(&leaf)).unwrap();
        assert_eq!((merged.len(), merged[0].name.as_str()), (1, "root-leaf"));
        assert_eq!(
            (&merged[0].uri, merged[0].headers.len()),
            (&Some(exact("/a/b")), 1)
        );
        assert_eq!(
            merge_matches(&[root.clone()], &[leaf, matching(prefix("/c"), "")]),
            None
        );
        assert_eq!(merge_matches(&[root.clone()], &[]).unwrap(), [root]);
    }
}
