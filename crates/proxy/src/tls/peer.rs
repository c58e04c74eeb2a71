//! Who is at the other end of a connection, as its certificate said in the handshake. Read once a connection.

use std::sync::Arc;
use std::time::SystemTime;

use identity::tls::rustls::{CommonState, ProtocolVersion};
use identity::tls::{PeerCertificate, fingerprint};
use identity::{CertificateDer, SpiffeId};

use crate::http::connection::Connection;
use crate::transport::Transport;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Who it is in a mesh; `None` for certificates of other kinds.
    #[allow(dead_code, reason = "policies are about it")]
    pub(crate) id: Option<SpiffeId>,
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
            id: certificate.spiffe_id(),
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
