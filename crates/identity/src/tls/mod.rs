//! TLS settings made of keys and roots, and what a peer's certificate says.
//!
//! TLS 1.2 and 1.3. Our own clients always check the server's name; what users ask for towards servers of theirs is
//! in [`Origination`].

mod acceptance;
mod naming;
mod origination;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

pub use acceptance::{Acceptance, Clients, Sessions};
pub use naming::PeerName;
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
    let verifier = WebPkiClientVerifier::builder_with_provider(root_store(roots)?, for_servers())
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
    let verifier = WebPkiClientVerifier::builder_with_provider(root_store(client_roots)?, for_servers())
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
    let builder = ClientConfig::builder_with_provider(Arc::new(for_clients()))
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

/// What clients are made with. They begin with a key of the first group, which every server takes. They do not name
/// groups that servers prefer and have no key for yet, as stock Envoy does with X25519MLKEM768: it would ask for one,
/// which costs a round trip.
pub(crate) fn for_clients() -> CryptoProvider {
    // Said here, because the library's own order hangs on features that any dependency may turn on.
    CryptoProvider {
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// What servers are made with: they take the group that a client prefers.
fn for_servers() -> Arc<CryptoProvider> {
    let mut provider = for_clients();
    provider.kx_groups.push(kx_group::X25519MLKEM768);
    Arc::new(provider)
}

fn server_builder() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, Error> {
    ServerConfig::builder_with_provider(for_servers())
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

/// Where systems keep the authorities that they trust, in PEM; the first that exists counts. (The places of Go's
/// `crypto/x509`.)
pub const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn root_store(roots: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    for certificate in pem::decode_chain(roots)? {
        store.add(certificate).map_err(Error::tls)?;
    }
    Ok(Arc::new(store))
}

/// Lists of revoked certificates; at least one where there is any text.
fn revocation_lists(text: Option<&str>) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let lists = CertificateRevocationListDer::pem_slice_iter(text.unwrap_or_default().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::malformed("revocation list", error))?;
    if text.is_some() && lists.is_empty() {
        return Err(Error::malformed("revocation list", "there is no X509 CRL block"));
    }
    Ok(lists)
}

/// Whether roots and lists of revoked certificates can be used by both ends of connections: what one reader of lists
/// takes another one refuses, so those are asked that will judge.
///
/// # Errors
/// What is wrong with them.
pub fn check_trust(roots: &str, revoked: Option<&str>) -> Result<(), Error> {
    mesh_clients(roots, revoked).check()?;
    mesh_servers(roots, revoked).check()
}

/// What workloads ask of their clients.
pub(crate) fn mesh_clients<'a>(roots: &'a str, revoked: Option<&'a str>) -> Clients<'a> {
    Clients {
        roots,
        revoked,
        required: true,
        are_workloads: true,
        names: Vec::new(),
    }
}

/// What workloads ask of their servers.
pub(crate) fn mesh_servers<'a>(roots: &'a str, revoked: Option<&'a str>) -> Origination<'a> {
    Origination {
        roots: Some(roots),
        revoked,
        lists_are_partial: true,
        is_workload: true,
        ..Origination::default()
    }
}

/// The SHA-256 digest of a certificate, in lower-case hexadecimal.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("this suite is one of TLS 1.3");
    let digest = suite.common.hash_provider.hash(certificate);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
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
    /// The beginning of its validity.
    pub begins: SystemTime,
    /// The end of its validity.
    pub expires: SystemTime,
    /// The whole subject as RFC 2253 writes it, the last part first; empty for workloads of a mesh.
    pub subject: String,
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
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let validity = certificate.validity();
        let mut peer = Self {
            common_name: subject.iter_common_name().find_map(text),
            organisations: subject.iter_organization().filter_map(text).collect(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            begins: time(validity.not_before.timestamp()),
            expires: time(validity.not_after.timestamp()),
            subject: written_out(subject),
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

/// `CN=admin,O=shop`; what has no short name goes by its number.
fn written_out(subject: &X509Name<'_>) -> String {
    let name = |number: &str| {
        let known = match number {
            "2.5.4.3" => "CN",
            "2.5.4.6" => "C",
            "2.5.4.7" => "L",
            "2.5.4.8" => "ST",
            "2.5.4.9" => "STREET",
            "2.5.4.10" => "O",
            "2.5.4.11" => "OU",
            "0.9.2342.19200300.100.1.1" => "UID",
            "0.9.2342.19200300.100.1.25" => "DC",
            "1.2.840.113549.1.9.1" => "emailAddress",
            other => return other.to_owned(),
        };
        known.to_owned()
    };
    let mut parts: Vec<String> = subject
        .iter_attributes()
        .filter_map(|attribute| {
            let value = attribute.as_str().ok()?;
            let escaped: String = value.chars().flat_map(escaped).collect();
            Some(format!("{}={escaped}", name(&attribute.attr_type().to_string())))
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// What means something in RFC 2253 stands behind a backslash.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
    special.then_some('\\').into_iter().chain([letter])
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
