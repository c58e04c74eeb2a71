//! Ports at which a listener need not look at first bytes ⇄ `ListenerFilter.filter_disabled`: who waits for the server's
//! first words would wait for ever where Envoy waits for the client's. Our proxy asks the table of chains instead, so
//! this is read only to see that no look is forbidden that a chain asks for.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::r#type::v3::Int32Range;
use pb::listener_filter_chain_match_predicate::{MatchSet, Rule};
use pb::{FilterChain, FilterChainMatch, ListenerFilterChainMatchPredicate};

/// Whether a chain asks for what only a look at TLS tells.
pub(super) fn asks_tls(matches: &FilterChainMatch) -> bool {
    matches.transport_protocol == "tls" || !matches.server_names.is_empty()
}

/// Whether a chain asks for HTTP.
pub(super) fn asks_http(matches: &FilterChainMatch) -> bool {
    let http = ["http/1.0", "http/1.1", "h2c"];
    let mut protocols = matches.application_protocols.iter();
    protocols.any(|protocol| http.contains(&protocol.as_str()))
}

/// The ports at which nothing is looked at; `None` when that is none. Chains without port stand for all other ports.
pub(super) fn spared(
    chains: &[FilterChain],
    asks: fn(&FilterChainMatch) -> bool,
) -> Option<ListenerFilterChainMatchPredicate> {
    let (ports, others) = asking(chains, asks);
    let differing: Vec<u32> = ports
        .into_iter()
        .filter(|(_, asks)| *asks != others)
        .map(|(port, _)| port)
        .collect();
    if differing.is_empty() {
        return None;
    }
    let differing = any_of(&differing);
    Some(match others {
        true => differing,
        false => predicate(Rule::NotMatch(Box::new(differing))),
    })
}

/// Whether a look is forbidden at no port whose chains ask for it.
pub(super) fn is_harmless(
    disabled: &ListenerFilterChainMatchPredicate,
    chains: &[FilterChain],
    asks: fn(&FilterChainMatch) -> bool,
) -> bool {
    let (ports, others) = asking(chains, asks);
    let unlisted = (1..).find(|port| !ports.contains_key(port)).filter(|_| others);
    let mut looked_at = ports
        .iter()
        .filter(|(_, asks)| **asks)
        .map(|(port, _)| *port)
        .chain(unlisted);
    looked_at.all(|port| holds(disabled, port) == Some(false))
}

/// Which ports ask, and whether all others do.
fn asking(chains: &[FilterChain], asks: fn(&FilterChainMatch) -> bool) -> (BTreeMap<u32, bool>, bool) {
    let mut ports: BTreeMap<u32, bool> = BTreeMap::new();
    for chain in chains {
        let matches = chain.filter_chain_match.clone().unwrap_or_default();
        let port = matches.destination_port.as_ref().map_or(0, |port| port.value);
        *ports.entry(port).or_default() |= asks(&matches);
    }
    let others = ports.remove(&0).unwrap_or_default();
    (ports, others)
}

/// Whether a predicate holds for a port; `None` when it asks for something else.
fn holds(predicate: &ListenerFilterChainMatchPredicate, port: u32) -> Option<bool> {
    match predicate.rule.as_ref()? {
        Rule::DestinationPortRange(range) => {
            let port = i32::try_from(port).ok()?;
            Some((range.start..range.end).contains(&port))
        }
        Rule::NotMatch(inner) => holds(inner, port).map(|holds| !holds),
        Rule::OrMatch(set) => {
            let all: Option<Vec<bool>> = set.rules.iter().map(|rule| holds(rule, port)).collect();
            Some(all?.contains(&true))
        }
        Rule::AndMatch(_) | Rule::AnyMatch(_) => None,
    }
}

fn any_of(ports: &[u32]) -> ListenerFilterChainMatchPredicate {
    let mut rules: Vec<_> = ports.iter().map(|port| port_is(*port)).collect();
    match rules.len() {
        1 => rules.remove(0),
        _ => predicate(Rule::OrMatch(MatchSet { rules })),
    }
}

fn port_is(port: u32) -> ListenerFilterChainMatchPredicate {
    let start = i32::try_from(port).unwrap_or(i32::MAX);
    predicate(Rule::DestinationPortRange(Int32Range {
        start,
        end: start.saturating_add(1),
    }))
}

fn predicate(rule: Rule) -> ListenerFilterChainMatchPredicate {
    ListenerFilterChainMatchPredicate { rule: Some(rule) }
}

#[cfg(test)]
mod tests {
    use super::super::proto::number;
    use super::*;

    fn chain(port: u16, transport: &str) -> FilterChain {
        FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                destination_port: number(port.into()).filter(|port| port.value > 0),
                transport_protocol: transport.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn ports_that_do_not_ask_are_spared_and_no_others() {
        let spared = |chains: &[FilterChain]| spared(chains, asks_tls);
        assert_eq!(spared(&[chain(0, "tls"), chain(80, "tls"), chain(80, "")]), None);
        assert_eq!(spared(&[chain(0, "tls"), chain(80, "")]), Some(port_is(80)));
        let two = any_of(&[80, 81]);
        assert_eq!(
            spared(&[chain(81, ""), chain(0, "tls"), chain(80, "")]),
            Some(two.clone())
        );
        let others = predicate(Rule::NotMatch(Box::new(two)));
        assert_eq!(
            spared(&[chain(0, ""), chain(80, "tls"), chain(81, "tls"), chain(82, "")]),
            Some(others)
        );
        assert_eq!(spared(&[chain(0, "")]), None);
    }

    #[test]
    fn a_look_that_a_chain_asks_for_may_not_be_forbidden() {
        let chains = [chain(0, ""), chain(80, "tls")];
        let forbidden = |disabled: &_| !is_harmless(disabled, &chains, asks_tls);
        assert!(!forbidden(&any_of(&[0, 81])));
        assert!(forbidden(&any_of(&[80, 81])));
        assert!(forbidden(&predicate(Rule::NotMatch(Box::new(port_is(81))))));
        assert!(forbidden(&predicate(Rule::AnyMatch(true))));
        let all = [chain(0, "tls"), chain(80, "")];
        assert!(is_harmless(&port_is(80), &all, asks_tls));
        assert!(!is_harmless(
            &predicate(Rule::NotMatch(Box::new(port_is(80)))),
            &all,
            asks_tls
        ));
    }
}
