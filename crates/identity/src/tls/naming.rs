//! Names that a peer's certificate must have, and the comparison.

use std::net::IpAddr;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;

use super::PeerCertificate;

/// A name that a certificate must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// A DNS name, address or URI; a certificate's star stands for one whole label.
    Exact(String),
    /// How a name begins: `spiffe://cluster.local/`.
    Prefix(String),
}

impl PeerName {
    fn fits(&self, peer: &PeerCertificate) -> bool {
        match self {
            Self::Exact(name) => is_named(peer, name),
            Self::Prefix(prefix) => peer
                .uris
                .iter()
                .chain(&peer.dns_names)
                .any(|name| name.starts_with(prefix)),
        }
    }
}

/// Whether the certificate has one of the names; none asks for none. One of a workload has exactly one URI: with two,
/// its owner could be whoever suits, and without one it would be nobody.
pub(super) fn verify(
    certificate: &CertificateDer<'_>,
    names: &[PeerName],
    is_workload: bool,
) -> Result<(), rustls::Error> {
    if names.is_empty() && !is_workload {
        return Ok(());
    }
    let peer = PeerCertificate::of(std::slice::from_ref(certificate))
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    if is_workload && peer.uris.len() != 1 {
        return Err(CertificateError::NotValidForName.into());
    }
    if names.is_empty() {
        return Ok(());
    }
    match names.iter().any(|name| name.fits(&peer)) {
        true => Ok(()),
        false => Err(CertificateError::NotValidForName.into()),
    }
}

fn is_named(peer: &PeerCertificate, name: &str) -> bool {
    let address: Option<IpAddr> = name.parse().ok();
    peer.dns_names.iter().any(|pattern| covers(pattern, name))
        || peer.uris.iter().any(|uri| uri == name)
        || address.is_some_and(|address| peer.addresses.contains(&address))
}

/// A star stands for one whole label, the first.
fn covers(pattern: &str, name: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix("*.")
        && let Some((label, rest)) = name.split_once('.')
        && !label.is_empty()
    {
        return rest.eq_ignore_ascii_case(suffix);
    }
    pattern.eq_ignore_ascii_case(name)
}
