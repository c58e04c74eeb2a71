//! Who is who: private keys, certificates, authorities, SPIFFE names, TLS settings and signed tokens.
//!
//! The only crate that touches private keys, kept small enough to audit. The types that hold a key implement neither
//! `Debug` nor `Serialize`; a key leaves by the functions named `key_pem` and `write_private` alone. Nothing here
//! reads a clock: time is always passed in.
#![deny(missing_docs)]

mod authority;
mod bundle;
mod file;
pub mod jwt;
mod key;
mod pem;
mod request;
pub mod spiffe;
pub mod tls;
pub mod token;

use std::path::PathBuf;

pub use authority::{Authority, Part, Unusable};
pub use bundle::Bundle;
pub use file::write_private;
pub use key::{Keypair, PrivateKey};
pub use request::CertificateRequest;
pub use rustls_pki_types::CertificateDer;
pub use spiffe::SpiffeId;

/// Why a key, a certificate or a request for one was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not what it should be.
    #[error("not a valid {what}: {reason}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate was made for another key.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// A name that no certificate may carry.
    #[error("{0:?} cannot be a name in a certificate")]
    BadName(String),
    /// An authority whose own certificate has run out.
    #[error("the signing certificate has expired")]
    AuthorityExpired,
    /// The cryptographic library refused.
    #[error("signing failed: {0}")]
    Signing(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS library refused the combination of keys and roots.
    #[error("unusable for TLS: {0}")]
    Tls(String),
}

impl Error {
    fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed {
            what,
            reason: reason.to_string(),
        }
    }

    fn signing(reason: impl std::fmt::Display) -> Self {
        Self::Signing(reason.to_string())
    }

    fn tls(reason: impl std::fmt::Display) -> Self {
        Self::Tls(reason.to_string())
    }
}

/// Certificates in PEM, one after the other.
pub fn chain_pem(chain: &[CertificateDer<'_>]) -> String {
    pem::encode_chain(chain)
}

/// Makes aws-lc-rs the process's cryptography; harmless when called again. First thing in `main` and in tests.
pub fn install_provider() {
    // An error means that a provider is installed already, and the build contains only this one.
    let _ = tls::for_clients().install_default();
}

/// Handshakes in tests read the real clock inside the TLS library, so their certificates must do so too.
#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "identity does not depend on daemon, where the clock is"
)]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(test)]
mod tests {
    #[test]
    fn installing_the_provider_twice_is_harmless() {
        super::install_provider();
        super::install_provider();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
