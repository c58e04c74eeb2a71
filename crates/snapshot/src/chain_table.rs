//! Which chain takes a connection, exactly as Envoy decides it: port, network, server name, transport protocol,
//! application protocol. At each step the most specific branch that fits is taken, and there is no way back: a
//! connection that fits the branch but nothing in it goes to the default chain, even if another branch would have
//! taken it (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto>).
//!
//! `explain` and the data path ask the same table.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::{Chain, Handler, Subnet, TransportProtocol};

/// Chains of one listener, by what they match. Answers are positions in the list that it was made from.
#[derive(Debug, Default)]
pub struct ChainTable {
    by_port: HashMap<u16, BySubnet>,
    any_port: BySubnet,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Where it was going.
    pub destination: SocketAddr,
    /// Server name of its ClientHello, in lower case; empty without one.
    pub server_name: &'a str,
    /// What lies under its bytes.
    pub transport_protocol: TransportProtocol,
    /// Protocols that were detected or are offered, by preference.
    pub application_protocols: &'a [&'a str],
}

/// What has to be found out before a chain can be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Whether the connection begins with TLS, and for which server name.
    pub tls: bool,
    /// Which application protocol it speaks.
    pub application_protocol: bool,
    /// Whether who says nothing may be a client that waits for its server: plain text reaches a chain of opaque bytes.
    pub server_first: bool,
}

/// Longest prefix first.
#[derive(Debug, Default)]
struct BySubnet {
    networks: Vec<(Subnet, ByServerName)>,
    any: Option<ByServerName>,
}

#[derive(Debug, Default)]
struct ByServerName {
    exact: HashMap<String, ByTransport>,
    /// By what follows the star: `.example.com`.
    wildcard: HashMap<String, ByTransport>,
    any: Option<ByTransport>,
    asked: Asked,
}

#[derive(Debug, Default)]
struct ByTransport {
    exact: Vec<(TransportProtocol, ByProtocol)>,
    any: Option<ByProtocol>,
}

#[derive(Debug, Default)]
struct ByProtocol {
    exact: Vec<(String, usize)>,
    any: Option<usize>,
}

impl ChainTable {
    /// Of several chains with the same match the first counts.
    pub fn new(chains: &[Chain]) -> Self {
        let mut table = Self::default();
        for (position, chain) in chains.iter().enumerate() {
            let subnets = match chain.matches.destination_port {
                Some(port) => table.by_port.entry(port).or_default(),
                None => &mut table.any_port,
            };
            subnets.add(chain, position);
        }
        table
    }

    /// The chain for a connection; `None` is the default chain.
    pub fn find(&self, arrival: &Arrival<'_>) -> Option<usize> {
        self.branch(arrival.destination)?
            .find(arrival.server_name)?
            .find(arrival.transport_protocol)?
            .find(arrival.application_protocols)
    }

    /// What the choice for a destination depends on. What it does not depend on need not be waited for.
    pub fn asked(&self, destination: SocketAddr) -> Asked {
        self.branch(destination)
            .map(|branch| branch.asked)
            .unwrap_or_default()
    }

    fn branch(&self, destination: SocketAddr) -> Option<&ByServerName> {
        let subnets = self.by_port.get(&destination.port()).unwrap_or(&self.any_port);
        let address = destination.ip().to_canonical();
        let network = subnets
            .networks
            .iter()
            .find(|(network, _)| network.contains(address));
        network.map(|(_, branch)| branch).or(subnets.any.as_ref())
    }
}

impl BySubnet {
    fn add(&mut self, chain: &Chain, position: usize) {
        if chain.matches.destination_subnets.is_empty() {
            self.any.get_or_insert_default().add(chain, position);
        }
        for network in &chain.matches.destination_subnets {
            let known = self.networks.iter().position(|(known, _)| known == network);
            let at = known.unwrap_or_else(|| {
                let longer = |known: &(Subnet, ByServerName)| known.0.length() >= network.length();
                let at = self.networks.partition_point(longer);
                self.networks.insert(at, (*network, ByServerName::default()));
                at
            });
            self.networks[at].1.add(chain, position);
        }
    }
}

impl ByServerName {
    fn add(&mut self, chain: &Chain, position: usize) {
        let matches = &chain.matches;
        self.asked.tls |= !matches.server_names.is_empty() || matches.transport_protocol.is_some();
        self.asked.application_protocol |= !matches.application_protocols.is_empty();
        // Who says no name reaches no chain that wants one.
        let is_for_the_silent =
            matches.server_names.is_empty() || matches.server_names.iter().any(|name| name == "*");
        self.asked.server_first |= matches.transport_protocol != Some(TransportProtocol::Tls)
            && is_for_the_silent
            && chain.tls.is_none()
            && matches!(chain.handler, Handler::Tcp(_));
        if matches.server_names.is_empty() {
            self.any.get_or_insert_default().add(chain, position);
        }
        for name in &matches.server_names {
            let name = name.to_ascii_lowercase();
            let branch = match name.strip_prefix('*') {
                Some("") => self.any.get_or_insert_default(),
                Some(suffix) => self.wildcard.entry(suffix.to_owned()).or_default(),
                None => self.exact.entry(name).or_default(),
            };
            branch.add(chain, position);
        }
    }

    /// The name itself, then what follows each of its dots, the longest first.
    fn find(&self, name: &str) -> Option<&ByTransport> {
        let exact = self.exact.get(name).filter(|_| !name.is_empty());
        let wildcard = || {
            let dots = name.match_indices('.').map(|(at, _)| at).filter(|at| *at > 0);
            dots.filter(|at| at + 1 < name.len())
                .find_map(|at| self.wildcard.get(&name[at..]))
        };
        exact.or_else(wildcard).or(self.any.as_ref())
    }
}

impl ByTransport {
    fn add(&mut self, chain: &Chain, position: usize) {
        let branch = match chain.matches.transport_protocol {
            None => self.any.get_or_insert_default(),
            Some(protocol) => {
                let known = self.exact.iter().position(|(known, _)| *known == protocol);
                let at = known.unwrap_or_else(|| {
                    self.exact.push((protocol, ByProtocol::default()));
                    self.exact.len() - 1
                });
                &mut self.exact[at].1
            }
        };
        branch.add(chain, position);
    }

    fn find(&self, protocol: TransportProtocol) -> Option<&ByProtocol> {
        let exact = self.exact.iter().find(|(known, _)| *known == protocol);
        exact.map(|(_, branch)| branch).or(self.any.as_ref())
    }
}

impl ByProtocol {
    fn add(&mut self, chain: &Chain, position: usize) {
        let protocols = &chain.matches.application_protocols;
        if protocols.is_empty() {
            self.any.get_or_insert(position);
        }
        self.exact
            .extend(protocols.iter().map(|protocol| (protocol.clone(), position)));
    }

    /// The first protocol of the connection that any chain names.
    fn find(&self, protocols: &[&str]) -> Option<usize> {
        let named = |protocol: &&str| self.exact.iter().find(|(known, _)| known == protocol);
        protocols
            .iter()
            .find_map(named)
            .map(|(_, position)| *position)
            .or(self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChainMatch, Handler, TcpHandler};

    fn table(matches: &[ChainMatch]) -> ChainTable {
        let chain = |matches: &ChainMatch| Chain {
            name: String::new(),
            matches: matches.clone(),
            tls: None,
            filters: Vec::new(),
            handler: Handler::Tcp(TcpHandler::to("c".into())),
        };
        ChainTable::new(&matches.iter().map(chain).collect::<Vec<_>>())
    }

    fn names(names: &[&str]) -> ChainMatch {
        ChainMatch {
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..ChainMatch::default()
        }
    }

    fn find(table: &ChainTable, destination: &str, name: &str, protocols: &[&str]) -> Option<usize> {
        let tls = !name.is_empty();
        table.find(&Arrival {
            destination: destination.parse().unwrap(),
            server_name: name,
            transport_protocol: if tls {
                TransportProtocol::Tls
            } else {
                TransportProtocol::RawBuffer
            },
            application_protocols: protocols,
        })
    }

    #[test]
    fn a_server_name_is_taken_exactly_before_the_longest_wildcard_before_any() {
        let table = table(&[
            names(&["*.com"]),
            names(&["*.example.com", "b.org"]),
            names(&["a.example.com"]),
        ]);
        let at = |name| find(&table, "10.0.0.1:443", name, &[]);
        for (name, expected) in [
            ("a.example.com", Some(2)),
            ("b.example.com", Some(1)),
            ("x.y.example.com", Some(1)),
            ("example.com", Some(0)),
            ("b.org", Some(1)),
            ("c.org", None),
            (".com", None),
            ("", None),
        ] {
            assert_eq!(at(name), expected, "{name}");
        }
    }

    #[test]
    fn a_longer_prefix_goes_first_and_nothing_leads_back() {
        let subnet = |text: &str, name: &str| ChainMatch {
            destination_subnets: vec![text.parse().unwrap()],
            ..names(&[name])
        };
        let table = table(&[
            subnet("10.0.0.0/8", "a.com"),
            subnet("10.1.0.0/16", "b.com"),
            names(&["a.com"]),
            ChainMatch {
                destination_port: Some(80),
                ..names(&["c.com"])
            },
        ]);
        assert_eq!(find(&table, "10.2.0.1:443", "a.com", &[]), Some(0));
        assert_eq!(find(&table, "10.1.0.1:443", "b.com", &[]), Some(1));
        assert_eq!(
            find(&table, "10.1.0.1:443", "a.com", &[]),
            None,
            "the /16 is chosen"
        );
        assert_eq!(find(&table, "11.0.0.1:443", "a.com", &[]), Some(2));
        assert_eq!(
            find(&table, "11.0.0.1:80", "a.com", &[]),
            None,
            "the port is chosen"
        );
        assert_eq!(find(&table, "[::ffff:10.2.0.1]:443", "a.com", &[]), Some(0));
    }

    #[test]
    fn transport_and_application_protocol_decide_last() {
        let plain = ChainMatch {
            transport_protocol: Some(TransportProtocol::RawBuffer),
            application_protocols: vec!["http/1.1".into()],
            ..ChainMatch::default()
        };
        let offered = ChainMatch {
            application_protocols: vec!["h2".into()],
            ..ChainMatch::default()
        };
        let table = table(&[plain, offered, ChainMatch::default()]);
        assert_eq!(find(&table, "10.0.0.1:80", "", &["http/1.1"]), Some(0));
        assert_eq!(find(&table, "10.0.0.1:80", "", &["h2"]), None, "no way back");
        assert_eq!(find(&table, "10.0.0.1:80", "a", &["x", "h2"]), Some(1));
        assert_eq!(find(&table, "10.0.0.1:80", "a", &["http/1.1"]), Some(2));
        let asked = table.asked("10.0.0.1:80".parse().unwrap());
        assert!(asked.tls && asked.application_protocol);
        let simple = super::tests::table(&[ChainMatch::default()]);
        let nothing_but_silence = Asked {
            server_first: true,
            ..Asked::default()
        };
        assert_eq!(simple.asked("10.0.0.1:80".parse().unwrap()), nothing_but_silence);
    }

    #[test]
    fn who_must_begin_with_tls_does_not_wait_for_its_server() {
        let of = |transport_protocol, port| ChainMatch {
            transport_protocol,
            destination_port: Some(port),
            ..ChainMatch::default()
        };
        let table = table(&[
            of(Some(TransportProtocol::Tls), 1),
            of(Some(TransportProtocol::Tls), 2),
            of(Some(TransportProtocol::RawBuffer), 2),
        ]);
        let server_first = |destination: &str| table.asked(destination.parse().unwrap()).server_first;
        assert!(!server_first("10.0.0.1:1"));
        assert!(server_first("10.0.0.1:2"));
    }

    #[test]
    fn a_chain_that_wants_a_name_is_not_for_those_who_say_nothing() {
        let of = |name: &str, port| ChainMatch {
            server_names: vec![name.into()],
            destination_port: Some(port),
            ..ChainMatch::default()
        };
        let table = table(&[of("a.example", 1), of("*", 2)]);
        let server_first = |destination: &str| table.asked(destination.parse().unwrap()).server_first;
        assert!(!server_first("10.0.0.1:1"));
        assert!(server_first("10.0.0.1:2"));
    }
}
