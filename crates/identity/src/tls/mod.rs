//! TLS settings made of keys and roots, and what a peer's certificate says.
//!
//! TLS 1.2 and 1.3. Our own clients always check the server's name; what users ask for towards servers of theirs is
//! in [`Origination`].

mod origination;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

pub use origination::Origination;
pub use rustls;
pub use tokio_rustls;

use crate::{Error, Keypair, SpiffeId, pem};

/// A server that shows `keypair` and, with `client_roots`, insists on a client certificate that leads to them.
///
/// # Errors
/// When key or roots cannot be used.
pub fn server_config(
    keypair: &Keypair,
    client_roots: Option<&str>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let Some(roots) = client_roots else {
        let config = server_builder()?.with_no_client_auth();
        return finish_server(
            config.with_single_cert(keypair.chain.clone(), keypair.key.der().clone_key()),
            alpn,
        );
    };
    let verifier = WebPkiClientVerifier::builder_with_provider(root_store(roots)?, provider())
        .build()
        .map_err(Error::tls)?;
    let config = server_builder()?.with_client_cert_verifier(verifier);
    finish_server(
        config.with_single_cert(keypair.chain.clone(), keypair.key.der().clone_key()),
        alpn,
    )
}

/// The same for a server that lets callers without a certificate in; a certificate that is shown must be good.
///
/// # Errors
/// When key or roots cannot be used.
pub fn server_config_optional_client(
    keypair: &Keypair,
    client_roots: &str,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(root_store(client_roots)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(Error::tls)?;
    let config = server_builder()?.with_client_cert_verifier(verifier);
    finish_server(
        config.with_single_cert(keypair.chain.clone(), keypair.key.der().clone_key()),
        alpn,
    )
}

/// A client that trusts `roots` and, with a keypair, shows it when asked.
///
/// # Errors
/// When key or roots cannot be used.
pub fn client_config(
    roots: &str,
    keypair: Option<&Keypair>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::tls)?
        .with_root_certificates(root_store(roots)?);
    let mut config = match keypair {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(own.chain.clone(), own.key.der().clone_key())
            .map_err(Error::tls)?,
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_builder() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, Error> {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::tls)
}

fn finish_server(
    config: Result<ServerConfig, rustls::Error>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = config.map_err(Error::tls)?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn root_store(roots: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    for certificate in pem::decode_chain(roots)? {
        store.add(certificate).map_err(Error::tls)?;
    }
    Ok(Arc::new(store))
}

/// What a certificate says about its owner. Whether to believe it was decided by the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The subject's organisations, in their order.
    pub organisations: Vec<String>,
    /// Subject alternative names that are DNS names.
    pub dns_names: Vec<String>,
    /// Subject alternative names that are addresses.
    pub addresses: Vec<IpAddr>,
    /// Subject alternative names that are URIs.
    pub uris: Vec<String>,
    /// The end of its validity.
    pub expires: SystemTime,
}

impl PeerCertificate {
    /// Reads the first certificate of a chain, as `peer_certificates()` of a connection gives it.
    ///
    /// # Errors
    /// When the chain is empty or its first certificate malformed.
    pub fn of(chain: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let first = chain
            .first()
            .ok_or_else(|| Error::malformed("certificate", "the chain is empty"))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(first)
            .map_err(|error| Error::malformed("certificate", error))?;
        let subject = certificate.subject();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().ok().map(str::to_owned)
        };
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let mut peer = Self {
            common_name: subject.iter_common_name().find_map(text),
            organisations: subject.iter_organization().filter_map(text).collect(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            expires: UNIX_EPOCH + Duration::from_secs(seconds),
        };
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| Error::malformed("certificate", error))?;
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            peer.add(name);
        }
        Ok(peer)
    }

    /// The workload's identity: the only URI, if it is a SPIFFE ID.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        let [uri] = self.uris.as_slice() else { return None };
        uri.parse().ok()
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(text) => self.dns_names.push((*text).to_owned()),
            GeneralName::URI(text) => self.uris.push((*text).to_owned()),
            GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
            _ => {}
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
