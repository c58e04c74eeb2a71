//! Ways into a port: which connections its proxy takes, told apart by TLS and by the protocols that it names.
//!
//! PERMISSIVE takes what proxies of the mesh send, by the protocols that only they name, beside everything else, TLS of the
//! workload's own included. STRICT takes nothing but TLS, and no client without a certificate of the mesh gets through that.

use snapshot::{Certificate, ChainMatch, ServerTls, TransportProtocol, Trust};

use super::{HTTP, OPAQUE, Settings};
use crate::Protocol;
use crate::mesh::peer_authentications::Mutual;
use crate::sidecar::DETECTED_HTTP;

/// What a port speaks under whatever secures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Opaque,
    /// One or the other, told by the first bytes or by the name of the protocol.
    Either,
}

impl Speaks {
    pub(crate) fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Http2 | Protocol::GrpcWeb => Self::Http,
            Protocol::Tcp | Protocol::Tls | Protocol::Udp => Self::Opaque,
            Protocol::Unknown => Self::Either,
        }
    }
}

/// Connections that are served alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    /// Which ones, of those to the port.
    pub(crate) matches: ChainMatch,
    /// As HTTP, or else as opaque bytes.
    pub(crate) http: bool,
    /// They come under mutual TLS.
    pub(crate) mutual: bool,
}

impl Way {
    fn new(http: bool, mutual: bool, transport: Option<TransportProtocol>, protocols: &[&str]) -> Self {
        Self {
            matches: ChainMatch {
                transport_protocol: transport,
                application_protocols: protocols.iter().map(ToString::to_string).collect(),
                ..ChainMatch::default()
            },
            http,
            mutual,
        }
    }

    /// What follows the name of its port, so that names are unique.
    pub(crate) fn suffix(&self) -> &'static str {
        match self.matches.transport_protocol {
            _ if self.mutual => "-mtls",
            Some(TransportProtocol::Tls) => "-tls",
            Some(TransportProtocol::RawBuffer) | None => "",
        }
    }
}

/// The ways into a port. `tells_tls`: the listener looks for TLS, at this port or at others, so that even a port that
/// speaks none has to take it for opaque bytes.
pub(crate) fn ways(speaks: Speaks, mode: Mutual, tells_tls: bool) -> Vec<Way> {
    const RAW: Option<TransportProtocol> = Some(TransportProtocol::RawBuffer);
    const TLS: Option<TransportProtocol> = Some(TransportProtocol::Tls);
    let any = [OPAQUE.as_slice(), HTTP.as_slice()].concat();
    let (http, opaque) = (true, false);
    let (mutual, plain) = (true, false);
    match (speaks, mode) {
        (Speaks::Http, Mutual::Strict) => vec![Way::new(http, mutual, TLS, &[])],
        (Speaks::Http, Mutual::Permissive) => {
            vec![Way::new(http, mutual, TLS, &any), Way::new(http, plain, RAW, &[])]
        }
        (Speaks::Http, Mutual::Disabled) => vec![Way::new(http, plain, None, &[])],
        (Speaks::Opaque, Mutual::Strict) => vec![Way::new(opaque, mutual, TLS, &[])],
        (Speaks::Opaque, Mutual::Permissive) => vec![
            Way::new(opaque, mutual, TLS, &any),
            Way::new(opaque, plain, RAW, &[]),
            Way::new(opaque, plain, TLS, &[]),
        ],
        (Speaks::Opaque, Mutual::Disabled) => vec![Way::new(opaque, plain, None, &[])],
        (Speaks::Either, Mutual::Strict) => vec![
            Way::new(http, mutual, TLS, &HTTP),
            Way::new(opaque, mutual, TLS, &[]),
        ],
        (Speaks::Either, Mutual::Permissive) => vec![
            Way::new(http, mutual, TLS, &HTTP),
            Way::new(http, plain, RAW, &DETECTED_HTTP),
            Way::new(opaque, mutual, TLS, &OPAQUE),
            Way::new(opaque, plain, RAW, &[]),
            Way::new(opaque, plain, TLS, &[]),
        ],
        // What a ClientHello offers is no reason to take the connection for HTTP.
        (Speaks::Either, Mutual::Disabled) if tells_tls => vec![
            Way::new(http, plain, RAW, &DETECTED_HTTP),
            Way::new(opaque, plain, RAW, &[]),
            Way::new(opaque, plain, TLS, &[]),
        ],
        (Speaks::Either, Mutual::Disabled) => vec![
            Way::new(http, plain, None, &DETECTED_HTTP),
            Way::new(opaque, plain, None, &[]),
        ],
    }
}

/// TLS of a workload's proxy for the proxies of others: it shows the workload's identity, and asks for theirs.
pub(crate) fn tls(settings: &Settings) -> ServerTls {
    ServerTls {
        application_protocols: ["h2", "http/1.1"].map(str::to_owned).into(),
        client_trust: Trust::Mesh,
        client_names: settings.everybody(),
        require_client_certificate: true,
        minimum_version: settings.minimum_version,
        ..ServerTls::new(Certificate::Workload)
    }
}

#[cfg(test)]
mod tests {
    use snapshot::{Arrival, Chain, ChainTable, ClusterName, Handler, TcpHandler};

    use super::*;

    /// What becomes of a connection: `http` or `opaque`, with `mutual` if it is; `closed` when no way takes it.
    fn taken(speaks: Speaks, mode: Mutual, tls: bool, protocols: &[&str]) -> String {
        let ways = ways(speaks, mode, true);
        let chains: Vec<Chain> = ways
            .iter()
            .map(|way| Chain {
                name: way.suffix().to_owned(),
                matches: way.matches.clone(),
                filters: Vec::new(),
                tls: None,
                handler: Handler::Tcp(TcpHandler::to(ClusterName::BLACK_HOLE.into())),
            })
            .collect();
        let arrival = Arrival {
            destination: ([10, 0, 0, 1], 80).into(),
            server_name: "",
            transport_protocol: match tls {
                true => TransportProtocol::Tls,
                false => TransportProtocol::RawBuffer,
            },
            application_protocols: protocols,
        };
        let Some(found) = ChainTable::new(&chains).find(&arrival) else {
            return "closed".to_owned();
        };
        let way = &ways[found];
        let handler = if way.http { "http" } else { "opaque" };
        let mutual = if way.mutual { " mutual" } else { "" };
        format!("{handler}{mutual}")
    }

    /// Calls of a proxy of the mesh with HTTP and with anything else, of a browser, of somebody who speaks HTTP, and of
    /// somebody who speaks anything else.
    fn all(speaks: Speaks, mode: Mutual) -> [String; 5] {
        [
            taken(speaks, mode, true, &["istio-h2", "istio", "h2"]),
            taken(speaks, mode, true, &["istio-peer-exchange", "istio"]),
            taken(speaks, mode, true, &["h2", "http/1.1"]),
            taken(speaks, mode, false, &["http/1.1"]),
            taken(speaks, mode, false, &[]),
        ]
    }

    #[test]
    fn permissive_ports_take_everything_for_what_it_is() {
        let mode = Mutual::Permissive;
        assert_eq!(
            all(Speaks::Either, mode),
            ["http mutual", "opaque mutual", "opaque", "http", "opaque"]
        );
        assert_eq!(
            all(Speaks::Http, mode),
            ["http mutual", "http mutual", "closed", "http", "http"]
        );
        assert_eq!(
            all(Speaks::Opaque, mode),
            ["opaque mutual", "opaque mutual", "opaque", "opaque", "opaque"]
        );
    }

    #[test]
    fn strict_ports_take_nothing_that_is_not_asked_for_a_certificate() {
        let mode = Mutual::Strict;
        for speaks in [Speaks::Http, Speaks::Opaque, Speaks::Either] {
            assert!(
                ways(speaks, mode, true).iter().all(|way| way.mutual),
                "{speaks:?}"
            );
            let [.., http, opaque] = all(speaks, mode);
            assert_eq!([http, opaque], ["closed", "closed"], "{speaks:?}");
        }
        assert_eq!(all(Speaks::Either, mode)[..2], ["http mutual", "opaque mutual"]);
        assert_eq!(all(Speaks::Http, mode)[1], "http mutual");
    }

    #[test]
    fn ports_without_mutual_tls_pass_tls_through_where_it_can_be_the_workloads() {
        let mode = Mutual::Disabled;
        assert_eq!(
            all(Speaks::Either, mode),
            ["opaque", "opaque", "opaque", "http", "opaque"]
        );
        assert_eq!(all(Speaks::Opaque, mode), ["opaque"; 5]);
        assert_eq!(all(Speaks::Http, mode), ["http"; 5]);
    }

    #[test]
    fn nobody_gets_in_without_a_certificate_of_the_mesh() {
        let tls = tls(&Settings::default());
        assert!(tls.require_client_certificate && tls.client_trust == Trust::Mesh);
        assert_eq!(tls.client_names.len(), 1);
    }
}
