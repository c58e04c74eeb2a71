//! Which listener and which chain serve a connection, by its original destination and what it speaks. Pure.
//!
//! A captured outbound connection belongs to the virtual listener of its exact destination, else to the wildcard
//! listener of its port, else to the listener that captured it. Within a listener the chain that names the port
//! beats one that does not, then the chain that names the protocol beats one that takes any, as in Envoy.

use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::HashMap;
use snapshot::{Chain, Direction, Listener, Set};

use super::sniff::Detected;

/// The listeners of a Snapshot, for lookup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    exact: HashMap<SocketAddr, Arc<Listener>>,
    wildcard: HashMap<u16, Arc<Listener>>,
    outbound: Option<Arc<Listener>>,
    inbound: Option<Arc<Listener>>,
}

impl Listeners {
    pub(crate) fn compile(listeners: &Set<Listener>) -> Self {
        let mut compiled = Self::default();
        for listener in listeners.iter() {
            let listener = listener.clone();
            match (listener.bind, listener.direction) {
                (true, Direction::Outbound) => compiled.outbound = Some(listener),
                (true, Direction::Inbound) => compiled.inbound = Some(listener),
                (false, _) if listener.address.ip().is_unspecified() => {
                    compiled.wildcard.insert(listener.address.port(), listener);
                }
                (false, _) => {
                    compiled.exact.insert(listener.address, listener);
                }
            }
        }
        compiled
    }

    /// The listener whose socket captures connections of that direction.
    pub(crate) fn capturing(&self, direction: Direction) -> Option<&Arc<Listener>> {
        match direction {
            Direction::Inbound => self.inbound.as_ref(),
            Direction::Outbound => self.outbound.as_ref(),
        }
    }

    /// The listener that serves a connection which `captured_by` took on its way to `destination`.
    pub(crate) fn select(&self, captured_by: &Arc<Listener>, destination: SocketAddr) -> Arc<Listener> {
        if !captured_by.use_original_destination {
            return captured_by.clone();
        }
        let found = self.exact.get(&destination).or_else(|| self.wildcard.get(&destination.port()));
        found.unwrap_or(captured_by).clone()
    }
}

/// A chain within its listener.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) listener: Arc<Listener>,
    /// `None` is the default chain.
    place: Option<usize>,
}

impl Chosen {
    pub(crate) fn chain(&self) -> &Chain {
        match self.place {
            Some(place) => &self.listener.chains[place],
            None => self.listener.default_chain.as_ref().expect("chosen only where there is one"),
        }
    }
}

/// Whether the choice depends on what the client speaks.
pub(crate) fn needs_detection(listener: &Listener, port: u16) -> bool {
    let best = best_port_rank(listener, port);
    listener.detect_http
        && listener.chains.iter().any(|chain| {
            port_rank(chain, port) == best && best.is_some() && !chain.matches.application_protocols.is_empty()
        })
}

/// The chain for a connection to `port`; `None` when the listener has none for it.
pub(crate) fn choose(listener: Arc<Listener>, port: u16, detected: Detected) -> Option<Chosen> {
    let best = best_port_rank(&listener, port);
    let fitting = listener.chains.iter().enumerate().filter(|(_, chain)| port_rank(chain, port) == best);
    let ranked = fitting.filter_map(|(place, chain)| Some((protocol_rank(chain, detected)?, place)));
    // The first of several equal ones, hence the turned order of places.
    let chosen = best.and_then(|_| ranked.max_by_key(|(rank, place)| (*rank, usize::MAX - place)));
    match chosen {
        Some((_, place)) => Some(Chosen { listener, place: Some(place) }),
        None => listener.default_chain.is_some().then_some(Chosen { listener, place: None }),
    }
}

/// As in Envoy, a more specific port excludes all less specific chains, even if no protocol fits then.
fn best_port_rank(listener: &Listener, port: u16) -> Option<u8> {
    listener.chains.iter().filter_map(|chain| port_rank(chain, port)).max()
}

fn port_rank(chain: &Chain, port: u16) -> Option<u8> {
    match chain.matches.destination_port {
        Some(wanted) => (wanted == port).then_some(1),
        None => Some(0),
    }
}

fn protocol_rank(chain: &Chain, detected: Detected) -> Option<u8> {
    let wanted = &chain.matches.application_protocols;
    if wanted.is_empty() {
        return Some(0);
    }
    let spoken = detected.application_protocol()?;
    wanted.iter().any(|protocol| protocol == spoken).then_some(1)
}

#[cfg(test)]
mod tests {
    use snapshot::{ChainMatch, Handler, TcpHandler};

    use super::*;

    fn chain(name: &str, port: Option<u16>, protocols: &[&str]) -> Chain {
        Chain {
            name: name.to_owned(),
            matches: ChainMatch {
                destination_port: port,
                application_protocols: protocols.iter().map(|text| (*text).to_owned()).collect(),
            },
            handler: Handler::Tcp(TcpHandler {
                stat_prefix: name.to_owned(),
                cluster: name.into(),
                idle_timeout: None,
            }),
        }
    }

    fn listener(name: &str, address: &str, chains: Vec<Chain>) -> Listener {
        Listener {
            name: name.into(),
            address: address.parse().unwrap(),
            bind: false,
            use_original_destination: false,
            direction: Direction::Outbound,
            detect_http: true,
            chains,
            default_chain: Some(chain("default", None, &[])),
        }
    }

    #[test]
    fn the_exact_address_beats_the_port_and_the_port_beats_the_capturing_listener() {
        let virtual_outbound = Listener {
            bind: true,
            use_original_destination: true,
            ..listener("virtualOutbound", "0.0.0.0:15001", vec![])
        };
        let listeners = Listeners::compile(&Set::from_iter([
            virtual_outbound,
            listener("0.0.0.0_9090", "0.0.0.0:9090", vec![]),
            listener("10.96.0.7_9090", "10.96.0.7:9090", vec![]),
        ]));
        let captured_by = listeners.capturing(Direction::Outbound).unwrap();
        let name = |destination: &str| {
            listeners.select(captured_by, destination.parse().unwrap()).name.as_str().to_owned()
        };
        assert_eq!(name("10.96.0.7:9090"), "10.96.0.7_9090");
        assert_eq!(name("10.96.0.8:9090"), "0.0.0.0_9090");
        assert_eq!(name("10.96.0.7:80"), "virtualOutbound");
        assert!(listeners.capturing(Direction::Inbound).is_none());
    }

    #[test]
    fn a_listener_without_original_destinations_keeps_what_it_takes() {
        let inbound = Listener {
            bind: true,
            direction: Direction::Inbound,
            ..listener("virtualInbound", "0.0.0.0:15006", vec![])
        };
        let listeners =
            Listeners::compile(&Set::from_iter([inbound, listener("0.0.0.0_80", "0.0.0.0:80", vec![])]));
        let captured_by = listeners.capturing(Direction::Inbound).unwrap();
        assert_eq!(listeners.select(captured_by, "10.0.0.1:80".parse().unwrap()).name.as_str(), "virtualInbound");
    }

    #[test]
    fn port_then_protocol_decide_and_the_rest_is_for_the_default_chain() {
        let http = ["http/1.0", "http/1.1", "h2c"];
        let chains = vec![
            chain("any-http", None, &http),
            chain("any", None, &[]),
            chain("80", Some(80), &[]),
            chain("90-http", Some(90), &http),
            chain("90", Some(90), &[]),
            chain("95-http", Some(95), &http),
        ];
        let listener = Arc::new(listener("virtualInbound", "0.0.0.0:15006", chains));
        let name = |port, detected| choose(listener.clone(), port, detected).unwrap().chain().name.clone();
        assert_eq!(name(70, Detected::Http11), "any-http");
        assert_eq!(name(70, Detected::Other), "any");
        assert_eq!(name(80, Detected::NotAsked), "80");
        assert_eq!(name(90, Detected::Http2), "90-http");
        assert_eq!(name(90, Detected::Other), "90");
        // The port decided already; no way back to the chains for any port.
        assert_eq!(name(95, Detected::Other), "default");
        assert!(needs_detection(&listener, 70) && needs_detection(&listener, 90));
        assert!(!needs_detection(&listener, 80), "a chain that takes everything asks for no bytes");
    }

    #[test]
    fn without_a_chain_the_connection_has_nowhere_to_go() {
        let none = Listener { default_chain: None, ..listener("l", "0.0.0.0:1", vec![chain("80", Some(80), &[])]) };
        assert!(choose(Arc::new(none), 81, Detected::NotAsked).is_none());
    }
}
