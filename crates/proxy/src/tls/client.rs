//! TLS to the members of a cluster: settings from files of the proxy's or from its identity in the mesh, and the
//! handshake.
//!
//! Settings are made when the first connection needs them, and again when files or the identity have changed; what
//! cannot be used leaves the last good ones in force. Sessions are taken up again within the same settings, so none
//! outlives the roots that judged it; those of a mesh by member, because only the one that gave a ticket can read it, and
//! no longer than the certificate that the member has shown.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use daemon::clock::{self, Instant};
use identity::Keypair;
use identity::tls::Origination;
use identity::tls::rustls::client::Resumption;
use identity::tls::rustls::pki_types::ServerName;
use identity::tls::rustls::{self, ClientConfig};
use identity::tls::tokio_rustls::{TlsConnector, TlsStream};
use snapshot::{Certificate, ClientTls, Trust};
use tokio::net::TcpStream;

use super::files::{LOOK, Stamp, read};
use super::peer::Peer;
use super::workload::{Material, Workload};
use super::{TlsError, names, trusted_file};
use crate::http::codec::Version;

/// Members whose sessions are kept, in each cluster of each worker; with more, all begin anew.
const MEMBERS: usize = 128;
/// Server names that one member is asked for.
const NAMES: usize = 4;

/// The settings of a cluster, as far as they have been needed.
#[derive(Debug, Default)]
pub(crate) struct Settings(RefCell<Option<Loaded>>);

#[derive(Debug)]
struct Loaded {
    facts: ClientTls,
    named: Offers,
    /// Connections that carry no HTTP have no name of a server to verify.
    unnamed: Offers,
    /// Who we are to servers.
    own: Arc<str>,
    files: Vec<Stamp>,
    looked: Instant,
    /// Of the identity that they were made of.
    number: u64,
    /// Sessions by member, and whether the server's name was verified.
    sessions: foldhash::HashMap<(SocketAddr, bool), Sessions>,
}

/// Sessions with one member.
#[derive(Debug)]
struct Sessions {
    store: Resumption,
    /// When the certificate ends that it has shown first. Sessions would go on: no certificate is looked at again.
    end: Option<SystemTime>,
}

impl Sessions {
    fn new() -> Self {
        Self {
            store: Resumption::in_memory_sessions(NAMES),
            end: None,
        }
    }

    /// Where sessions are that may be taken up again now.
    fn store(&mut self, now: SystemTime) -> Resumption {
        if self.end.is_some_and(|end| end <= now) {
            *self = Self::new();
        }
        self.store.clone()
    }
}

/// Settings by what the connection is for; they differ in the protocols that are offered.
#[derive(Debug)]
struct Offers {
    opaque: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Offers {
    fn new(config: &Arc<ClientConfig>, facts: &ClientTls) -> Self {
        let offering = |http: Option<&str>| {
            let offers = facts.offers(http);
            let mut config = config.as_ref().clone();
            config.alpn_protocols = offers.into_iter().map(String::into_bytes).collect();
            Arc::new(config)
        };
        Self {
            http1: offering(Some("http/1.1")),
            http2: offering(Some("h2")),
            opaque: offering(None),
        }
    }

    fn of(&self, version: Option<Version>) -> Arc<ClientConfig> {
        let config = match version {
            None => &self.opaque,
            Some(Version::Http1) => &self.http1,
            Some(Version::Http2) => &self.http2,
        };
        config.clone()
    }
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) member: SocketAddr,
    /// The server's name is known.
    pub(crate) named: bool,
    /// Which HTTP it is for.
    pub(crate) version: Option<Version>,
}

impl Connection {
    /// With whom it has sessions in common.
    fn partner(&self) -> (SocketAddr, bool) {
        (self.member, self.named)
    }
}

/// What one connection needs.
pub(crate) struct Current {
    pub(crate) config: Arc<ClientConfig>,
    /// Who we are to the server; empty without a certificate.
    pub(crate) own: Arc<str>,
}

impl Settings {
    /// The settings for a connection now.
    pub(crate) fn current(
        &self,
        facts: &ClientTls,
        workload: &Workload,
        connection: Connection,
    ) -> Result<Current, TlsError> {
        let mut loaded = self.0.borrow_mut();
        let (now, material) = (clock::now(), workload.now());
        if let Some(known) = loaded.as_mut().filter(|known| known.facts == *facts) {
            known.refresh(now, &material);
            return Ok(known.current(connection));
        }
        let fresh = Loaded::load(facts, &material, now)?;
        Ok(loaded.insert(fresh).current(connection))
    }

    /// A handshake is done, with this peer.
    pub(crate) fn met(&self, connection: Connection, peer: &Peer) {
        let mut loaded = self.0.borrow_mut();
        let sessions = loaded.as_mut().map(|loaded| &mut loaded.sessions);
        if let Some(sessions) = sessions.and_then(|sessions| sessions.get_mut(&connection.partner())) {
            sessions.end.get_or_insert(peer.certificate.expires);
        }
    }
}

impl Loaded {
    fn load(facts: &ClientTls, material: &Material, now: Instant) -> Result<Self, TlsError> {
        let files = stamps(facts);
        let (roots, mut revoked) = match &facts.trust {
            Trust::Mesh => {
                let trusted = material.trusted.as_ref().ok_or(TlsError::NoSettings)?;
                (Some(trusted.roots.pem().to_owned()), trusted.revoked.clone())
            }
            other => (trusted_file(other).map(read).transpose()?, None),
        };
        if let Some(path) = &facts.revocation_list {
            revoked = Some(read(path)?);
        }
        let keypair = match &facts.certificate {
            None => None,
            Some(Certificate::Files(files)) => Some(Arc::new(Keypair::from_pem(
                &read(&files.chain)?,
                &read(&files.key)?,
            )?)),
            Some(Certificate::Workload) => {
                let own = material.own.as_ref().ok_or(TlsError::NoSettings)?;
                Some(own.keypair.clone())
            }
        };
        let own = keypair.as_ref().map(|keypair| keypair.facts()).transpose()?;
        let own = own.and_then(|facts| facts.uris.into_iter().next());
        let mut asked = Origination {
            roots: roots.as_deref(),
            revoked: revoked.as_deref(),
            lists_are_partial: facts.trust == Trust::Mesh,
            is_workload: facts.trust == Trust::Mesh,
            names: names(&facts.subject_alt_names),
            verify_server_name: facts.verify_request_host,
            keypair: keypair.as_deref(),
            // Offered by what the connection is for.
            application_protocols: Vec::new(),
        };
        let named = Offers::new(&asked.config()?, facts);
        asked.verify_server_name = false;
        Ok(Self {
            facts: facts.clone(),
            named,
            unnamed: Offers::new(&asked.config()?, facts),
            own: own.unwrap_or_default().into(),
            files,
            looked: now,
            number: material.number,
            sessions: foldhash::HashMap::default(),
        })
    }

    /// Makes them anew, if what they were made of has changed.
    fn refresh(&mut self, now: Instant, material: &Material) {
        let of_the_mesh =
            self.facts.trust == Trust::Mesh || self.facts.certificate == Some(Certificate::Workload);
        let mut changed = of_the_mesh && self.number != material.number;
        if !self.files.is_empty() && now - self.looked >= LOOK {
            self.looked = now;
            changed |= stamps(&self.facts) != self.files;
        }
        if !changed {
            return;
        }
        match Self::load(&self.facts, material, now) {
            Ok(fresh) => *self = fresh,
            Err(error) => {
                self.number = material.number;
                tracing::warn!(%error, "changed keys or roots cannot be used: the old ones stay in force");
            }
        }
    }

    fn current(&mut self, connection: Connection) -> Current {
        let offers = match connection.named {
            true => &self.named,
            false => &self.unnamed,
        };
        let mut config = offers.of(connection.version);
        if self.facts.trust == Trust::Mesh {
            let partner = connection.partner();
            if self.sessions.len() >= MEMBERS && !self.sessions.contains_key(&partner) {
                self.sessions.clear();
            }
            let sessions = self.sessions.entry(partner).or_insert_with(Sessions::new);
            let mut own = config.as_ref().clone();
            own.resumption = sessions.store(clock::wall());
            config = Arc::new(own);
        }
        Current {
            config,
            own: self.own.clone(),
        }
    }
}

/// Whether the files that TLS settings name can be used now.
pub(crate) fn check(facts: &ClientTls) -> Result<(), TlsError> {
    Loaded::load(facts, &Material::default(), clock::now()).map(drop)
}

fn stamps(facts: &ClientTls) -> Vec<Stamp> {
    let certificate = match &facts.certificate {
        Some(Certificate::Files(files)) => vec![files.chain.as_str(), files.key.as_str()],
        Some(Certificate::Workload) | None => Vec::new(),
    };
    let paths = trusted_file(&facts.trust)
        .into_iter()
        .chain(facts.revocation_list.as_deref())
        .chain(certificate);
    paths.map(Stamp::of).collect()
}

/// Encrypts a connection to `address`; without a name the server is asked for none.
pub(crate) async fn handshake(
    config: Arc<ClientConfig>,
    name: Option<&str>,
    address: IpAddr,
    socket: TcpStream,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let server = match name {
        Some(name) => {
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?
        }
        // Of a server that is an address nobody asks the name.
        None => ServerName::from(address),
    };
    let session = TlsConnector::from(config).connect(server, socket).await;
    match session {
        Ok(session) => Ok(session.into()),
        Err(error) => Err(TlsError::of_handshake(error)),
    }
}

impl TlsError {
    /// What Envoy says of it, in the words of its TLS library.
    pub(crate) fn failure_reason(&self) -> String {
        use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
        let words = match self {
            Self::Settings(_) | Self::File { .. } | Self::NoSettings => {
                return "TLS_error: Secret is not supplied by SDS".to_owned();
            }
            Self::Ended(_) | Self::NoHello | Self::TooLong => return String::new(),
            Self::ServerName(_) => "Failed to set SNI",
            Self::Handshake(InvalidCertificate(rustls::CertificateError::NotValidForName)) => {
                "|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: verify SAN list"
            }
            Self::Handshake(InvalidCertificate(_)) => {
                "|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"
            }
            Self::Handshake(AlertReceived(_)) => "|268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT",
            Self::Handshake(InvalidMessage(_)) => {
                "|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER"
            }
            Self::Handshake(_) => "|268435536:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE",
        };
        format!("TLS_error:{words}:TLS_error_end")
    }
}
