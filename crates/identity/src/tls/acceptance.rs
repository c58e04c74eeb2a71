//! TLS towards clients: what the server shows, whom it lets in, and sessions that are taken up again.
//!
//! Sessions are tickets that only the holder of their keys can read. The keys belong to one [`Sessions`]: whoever
//! believes other roots from now on makes a new one, and sessions of clients that were let in before are worthless.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::naming::{self, PeerName};
use super::{for_servers, revocation_lists, root_store};
use crate::{Error, Keypair};

/// What a server shows, and whom it lets in.
#[derive(Clone)]
pub struct Acceptance<'a> {
    /// What is shown.
    pub keypair: &'a Keypair,
    /// Who is asked for a certificate; `None` asks nobody.
    pub clients: Option<Clients<'a>>,
    /// Protocols that are agreed to, by preference.
    pub application_protocols: Vec<String>,
    /// TLS 1.2 is refused.
    pub only_1_3: bool,
    /// Keys of sessions; without them no session is taken up again.
    pub sessions: Option<&'a Sessions>,
}

/// What is asked of clients' certificates.
#[derive(Clone)]
pub struct Clients<'a> {
    /// Authorities in PEM.
    pub roots: &'a str,
    /// Lists of revoked certificates in PEM. Authorities without a list revoke nothing.
    pub revoked: Option<&'a str>,
    /// Clients without a certificate are turned away.
    pub required: bool,
    /// A certificate that is shown must be a workload's: it has exactly one URI.
    pub are_workloads: bool,
    /// The certificate must have one of these names; empty asks for none.
    pub names: Vec<PeerName>,
}

/// The keys of one server's session tickets, renewed by themselves.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<dyn ProducesTickets>);

impl Sessions {
    /// New keys.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new() -> Result<Self, Error> {
        rustls::crypto::aws_lc_rs::Ticketer::new()
            .map(Self)
            .map_err(Error::tls)
    }
}

impl Acceptance<'_> {
    /// Settings for a server.
    ///
    /// # Errors
    /// When keys, roots or lists cannot be used.
    pub fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let versions: &[&rustls::SupportedProtocolVersion] = match self.only_1_3 {
            true => &[&rustls::version::TLS13],
            false => rustls::DEFAULT_VERSIONS,
        };
        let builder = ServerConfig::builder_with_provider(for_servers())
            .with_protocol_versions(versions)
            .map_err(Error::tls)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(Arc::new(clients.verifier()?)),
        };
        let own = self.keypair;
        let mut config = builder
            .with_single_cert(own.chain.clone(), own.key.der().clone_key())
            .map_err(Error::tls)?;
        let protocols = self.application_protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.clone().into_bytes()).collect();
        match self.sessions {
            Some(Sessions(tickets)) => config.ticketer = tickets.clone(),
            None => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        Ok(Arc::new(config))
    }
}

impl Clients<'_> {
    /// Whether roots and lists can be used.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.verifier().map(drop)
    }

    /// Whether a chain is believed at that time; the library's words when it is not.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let Some((first, behind)) = chain.split_first() else {
            return Err(Error::malformed("certificate", "the chain is empty"));
        };
        let verifier = self.verifier()?;
        verifier
            .verify_client_cert(first, behind, now)
            .map_err(Error::tls)?;
        Ok(())
    }

    fn verifier(&self) -> Result<Verifier, Error> {
        let mut builder = WebPkiClientVerifier::builder_with_provider(root_store(self.roots)?, for_servers())
            .with_crls(revocation_lists(self.revoked)?)
            .allow_unknown_revocation_status();
        if !self.required {
            builder = builder.allow_unauthenticated();
        }
        Ok(Verifier {
            chain: builder.build().map_err(Error::tls)?,
            names: self.names.clone(),
            are_workloads: self.are_workloads,
        })
    }
}

#[derive(Debug)]
struct Verifier {
    chain: Arc<dyn ClientCertVerifier>,
    names: Vec<PeerName>,
    are_workloads: bool,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    /// Workloads have one certificate: hints would only make each handshake longer.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(certificate, intermediates, now)?;
        naming::verify(certificate, &self.names, self.are_workloads)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
