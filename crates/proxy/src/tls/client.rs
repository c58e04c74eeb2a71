//! TLS to the members of a cluster: settings from files of the proxy's, and the handshake.
//!
//! Files are read when the first connection needs them, and again when they have changed; what cannot be read leaves
//! the last good settings in force.

use std::cell::RefCell;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use daemon::clock::{self, Instant};
use identity::Keypair;
use identity::tls::Origination;
use identity::tls::rustls::pki_types::ServerName;
use identity::tls::rustls::{self, ClientConfig};
use identity::tls::tokio_rustls::{TlsConnector, TlsStream};
use snapshot::{Certificate, CertificateFiles, ClientTls, SubjectMatch, Trust};
use tokio::net::TcpStream;

use super::TlsError;
use super::files::{LOOK, Stamp, read};
use crate::http::codec::Version;

/// Where systems keep the authorities that they trust; the first that exists counts.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The settings of a cluster, as far as they have been needed.
#[derive(Debug, Default)]
pub(crate) struct Settings(RefCell<Option<Loaded>>);

#[derive(Debug)]
struct Loaded {
    facts: ClientTls,
    named: Offers,
    /// Connections that carry no HTTP have no name of a server to verify.
    unnamed: Offers,
    files: Vec<Stamp>,
    looked: Instant,
}

/// Settings by what the connection is for: if nobody states what to offer, HTTP offers its version, as Envoy's does.
#[derive(Debug)]
struct Offers {
    opaque: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Offers {
    fn new(config: Arc<ClientConfig>) -> Self {
        let offering = |protocol: &[u8]| {
            if !config.alpn_protocols.is_empty() {
                return config.clone();
            }
            let mut config = config.as_ref().clone();
            config.alpn_protocols = vec![protocol.to_owned()];
            Arc::new(config)
        };
        Self {
            http1: offering(b"http/1.1"),
            http2: offering(b"h2"),
            opaque: config,
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

impl Settings {
    /// The settings for a connection now; `named` says that the server's name is known, `version` which HTTP it is for.
    pub(crate) fn current(
        &self,
        facts: &ClientTls,
        named: bool,
        version: Option<Version>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let mut loaded = self.0.borrow_mut();
        let now = clock::now();
        if let Some(known) = loaded.as_mut().filter(|known| known.facts == *facts) {
            if now - known.looked < LOOK {
                return Ok(known.config(named, version));
            }
            known.looked = now;
            if stamps(facts) == known.files {
                return Ok(known.config(named, version));
            }
            match Loaded::load(facts, now) {
                Ok(fresh) => *known = fresh,
                Err(error) => {
                    tracing::warn!(%error, "changed TLS files cannot be used: the old ones stay in force")
                }
            }
            return Ok(known.config(named, version));
        }
        let fresh = Loaded::load(facts, now)?;
        Ok(loaded.insert(fresh).config(named, version))
    }
}

impl Loaded {
    fn load(facts: &ClientTls, now: Instant) -> Result<Self, TlsError> {
        let files = stamps(facts);
        let roots = trusted(&facts.trust)?.map(read).transpose()?;
        let revoked = facts.revocation_list.as_deref().map(read).transpose()?;
        let keypair = files_of(facts)?.map(|certificate| {
            Ok::<_, TlsError>(Keypair::from_pem(
                &read(&certificate.chain)?,
                &read(&certificate.key)?,
            )?)
        });
        let keypair = keypair.transpose()?;
        let mut asked = Origination {
            roots: roots.as_deref(),
            revoked: revoked.as_deref(),
            names: exact(&facts.subject_alt_names)?,
            verify_server_name: facts.verify_request_host,
            keypair: keypair.as_ref(),
            application_protocols: facts.application_protocols.clone(),
        };
        let named = Offers::new(asked.config()?);
        asked.verify_server_name = false;
        Ok(Self {
            facts: facts.clone(),
            named,
            unnamed: Offers::new(asked.config()?),
            files,
            looked: now,
        })
    }

    fn config(&self, named: bool, version: Option<Version>) -> Arc<ClientConfig> {
        let offers = if named { &self.named } else { &self.unnamed };
        offers.of(version)
    }
}

pub(super) fn trusted(trust: &Trust) -> Result<Option<&str>, TlsError> {
    match trust {
        Trust::Anybody => Ok(None),
        Trust::System => {
            let found = SYSTEM.iter().find(|path| fs::metadata(path).is_ok());
            Ok(Some(found.unwrap_or(&SYSTEM[0])))
        }
        Trust::File(path) => Ok(Some(path)),
        Trust::Mesh => Err(TlsError::NoSettings),
    }
}

fn files_of(facts: &ClientTls) -> Result<Option<&CertificateFiles>, TlsError> {
    match &facts.certificate {
        None => Ok(None),
        Some(Certificate::Files(files)) => Ok(Some(files)),
        Some(Certificate::Workload) => Err(TlsError::NoSettings),
    }
}

fn exact(names: &[SubjectMatch]) -> Result<Vec<String>, TlsError> {
    let names = names.iter().map(|name| match name {
        SubjectMatch::Exact(name) => Ok(name.clone()),
        SubjectMatch::Prefix { .. } => Err(TlsError::NoSettings),
    });
    names.collect()
}

/// Whether the files that TLS settings name can be used now.
pub(crate) fn check(facts: &ClientTls) -> Result<(), TlsError> {
    Loaded::load(facts, clock::now()).map(drop)
}

fn stamps(facts: &ClientTls) -> Vec<Stamp> {
    let certificate = files_of(facts)
        .ok()
        .flatten()
        .into_iter()
        .flat_map(|files| [&files.chain, &files.key]);
    let paths = trusted(&facts.trust)
        .ok()
        .flatten()
        .into_iter()
        .chain(facts.revocation_list.as_deref())
        .chain(certificate.map(String::as_str));
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
