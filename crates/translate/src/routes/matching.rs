//! `http.match` → the conditions of a route. What depends on who asks, and on which port, is decided here and now;
//! what depends on the request goes into the route.

use std::collections::BTreeMap;

use resources::istio::virtual_service::HttpMatch;
use resources::istio::{ALL_GATEWAYS_MESH, Condition, StringMatch as IstioMatch};
use snapshot::RouteMatch;
use snapshot::route::{HeaderMatch, QueryMatch, StringMatch};

use crate::mesh::services::contains_all;
use crate::scope::Scope;

/// Where a rule is asked for: conditions that every kind of rule has.
pub(super) struct Asked<'a> {
    pub(super) gateways: &'a [String],
    pub(super) port: Option<u32>,
    pub(super) source_labels: &'a BTreeMap<String, String>,
    pub(super) source_namespace: &'a str,
}

impl Asked<'_> {
    /// Whether the sidecars of this scope apply the rule on that port.
    pub(super) fn applies(&self, scope: &Scope, listener_port: u16) -> bool {
        let port = self.port.is_none_or(|port| port == u32::from(listener_port));
        // A condition that names gateways is not asked about its source.
        let source = if self.gateways.is_empty() {
            let namespace = ["", scope.namespace.as_str()].contains(&self.source_namespace);
            namespace && contains_all(&scope.labels, self.source_labels)
        } else {
            self.gateways.iter().any(|gateway| gateway == ALL_GATEWAYS_MESH)
        };
        port && source
    }
}

impl<'a> From<&'a HttpMatch> for Asked<'a> {
    fn from(matches: &'a HttpMatch) -> Self {
        Self {
            gateways: &matches.gateways,
            port: matches.port,
            source_labels: &matches.source_labels,
            source_namespace: &matches.source_namespace,
        }
    }
}

/// What is asked of the request.
pub(super) fn conditions(matches: &HttpMatch) -> RouteMatch {
    let pseudo = [
        (":method", &matches.method),
        (":authority", &matches.authority),
        (":scheme", &matches.scheme),
    ];
    let pseudo = pseudo.into_iter().filter_map(|(name, condition)| {
        let value = Some(string_match(condition.as_ref()?)?);
        Some(HeaderMatch {
            name: name.into(),
            value,
            invert: false,
        })
    });
    let headers = matches
        .headers
        .iter()
        .map(|(name, condition)| header(name, condition, false));
    let without = matches
        .without_headers
        .iter()
        .map(|(name, condition)| header(name, condition, true));
    let query = matches.query_params.iter().map(|(name, condition)| QueryMatch {
        name: name.clone(),
        value: string_match(condition),
    });
    RouteMatch {
        path: matches.uri.as_ref().and_then(string_match),
        ignore_path_case: matches.ignore_uri_case,
        headers: pseudo
            .chain(
                headers
                    .chain(without)
                    .filter(|header| !is_dedicated(&header.name)),
            )
            .collect(),
        query: query.collect(),
    }
}

pub(crate) fn header(name: &str, condition: &IstioMatch, invert: bool) -> HeaderMatch {
    HeaderMatch {
        name: name.to_ascii_lowercase(),
        value: string_match(condition),
        invert,
    }
}

/// Fields of their own; Istio ignores them among the headers.
fn is_dedicated(name: &str) -> bool {
    ["uri", "scheme", "method", "authority"].contains(&name)
}

/// `None` asks for presence, which users also write as the regular expression `*`.
pub(crate) fn string_match(condition: &IstioMatch) -> Option<StringMatch> {
    Some(match condition.condition()? {
        Condition::Exact(text) => StringMatch::Exact(text.into()),
        Condition::Prefix(text) => StringMatch::Prefix(text.into()),
        Condition::Regex("*") => return None,
        Condition::Regex(pattern) => StringMatch::Regex(pattern.into()),
    })
}
