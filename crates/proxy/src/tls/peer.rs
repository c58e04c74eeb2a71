//! Who is at the other end of a connection, as its certificate said in the handshake. Read once a connection.

use std::sync::Arc;
use std::time::SystemTime;

use identity::CertificateDer;
use identity::tls::rustls::{CommonState, ProtocolVersion};
use identity::tls::{PeerCertificate, fingerprint};

use crate::http::connection::Connection;
use crate::transport::Transport;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The first URI of its certificate; empty without one.
    pub(crate) uri: String,
    /// All that its certificate says.
    pub(crate) certificate: PeerCertificate,
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) fingerprint: String,
    /// What it has shown: the certificate, and those that lead to its root.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Who we are to it: the URI of our own certificate; empty without one.
    pub(crate) own: Arc<str>,
    pub(crate) version: &'static str,
}

impl Peer {
    /// What the two ends of a finished handshake know; `None` when the other end showed no certificate.
    pub(crate) fn of(session: &CommonState, own: Arc<str>) -> Option<Arc<Self>> {
        let chain = session.peer_certificates()?;
        let certificate = PeerCertificate::of(chain).ok()?;
        Some(Arc::new(Self {
            uri: certificate.uris.first().cloned().unwrap_or_default(),
            fingerprint: fingerprint(chain.first()?),
            chain: chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
            certificate,
            own,
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
        }))
    }

    /// Who it is to others that are asked about it: its first URI, else its first DNS name, else its subject, as Envoy
    /// tells it.
    pub(crate) fn principal(&self) -> &str {
        let names = [&self.certificate.uris, &self.certificate.dns_names];
        let name = names.into_iter().flatten().next();
        name.unwrap_or(&self.certificate.subject)
    }

    /// Whether its certificate has run out: one that is shown in a handshake is judged there, one of a session that is
    /// taken up again here.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.certificate.expires <= now
    }
}

/// Who is behind a transport; `None` in plain text, and for TLS without a certificate.
pub(crate) fn of(transport: &Transport) -> Option<Arc<Peer>> {
    transport.peer().cloned()
}

/// Who sends the requests of a connection; `None` in plain text, and for TLS without a certificate.
pub(crate) fn peer_identity(connection: &Connection) -> Option<&Peer> {
    connection.peer.as_deref()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use identity::Authority;

    use super::*;

    #[test]
    fn a_principal_is_a_uri_or_else_a_dns_name_or_else_the_subject() {
        let hour = Duration::from_secs(3600);
        let now = daemon::clock::wall();
        let authority = Authority::generate("test", hour, now).unwrap();
        let shown = authority
            .issue_workload(&["spiffe://td/ns/a/sa/b"], hour, now)
            .unwrap();
        let mut peer = Peer {
            uri: String::new(),
            certificate: shown.facts().unwrap(),
            fingerprint: String::new(),
            chain: Vec::new(),
            own: "".into(),
            version: "TLSv1.3",
        };
        peer.certificate.dns_names = vec!["b.example".to_owned()];
        peer.certificate.subject = "CN=b".to_owned();
        assert_eq!(peer.principal(), "spiffe://td/ns/a/sa/b");
        peer.certificate.uris.clear();
        assert_eq!(peer.principal(), "b.example");
        peer.certificate.dns_names.clear();
        assert_eq!(peer.principal(), "CN=b");
    }
}
