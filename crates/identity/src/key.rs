//! A private key, and a private key with the certificates that speak for it.

use std::path::Path;

use rcgen::{KeyPair as SigningKey, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Error, file, pem, tls};

/// A private key. Implements neither `Debug` nor `Serialize`.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl PrivateKey {
    /// A new ECDSA key on P-256.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, Error> {
        let key = SigningKey::generate().map_err(Error::signing)?;
        Ok(Self(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
            key.serialize_der(),
        ))))
    }

    /// Reads a PKCS #8, PKCS #1 or SEC 1 key.
    ///
    /// # Errors
    /// When the text holds no key of these forms.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| Error::malformed("private key", error))?;
        Ok(Self(key))
    }

    /// The key itself, for a Secret or a file of mode 0600 and nothing else.
    pub fn key_pem(&self) -> String {
        let label = match &self.0 {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(label, self.0.secret_der())
    }

    pub(crate) fn der(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }

    /// The key in the form that signs certificates and requests.
    pub(crate) fn signing(&self) -> Result<SigningKey, Error> {
        SigningKey::try_from(&self.0).map_err(|error| Error::malformed("private key", error))
    }
}

/// A private key with its certificate, followed by the certificates that lead towards the root.
#[derive(Clone)]
pub struct Keypair {
    /// The certificate, then its issuers; without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKey,
}

impl Keypair {
    /// Puts the two together.
    ///
    /// # Errors
    /// When either is malformed or they do not belong together.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, Error> {
        Self::with_key(chain, PrivateKey::from_pem(key)?)
    }

    /// Puts a key that was made here together with the certificates that were given for it.
    ///
    /// # Errors
    /// When the certificates cannot be read or are for another key.
    pub fn with_key(chain: &str, key: PrivateKey) -> Result<Self, Error> {
        let keypair = Self {
            chain: pem::decode_chain(chain)?,
            key,
        };
        keypair.check_match()?;
        Ok(keypair)
    }

    /// Reads both files.
    ///
    /// # Errors
    /// As [`Keypair::from_pem`], and when a file cannot be read.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, Error> {
        Self::from_pem(&file::read(chain)?, &file::read(key)?)
    }

    /// Writes both files, each in one step; the key's with mode 0600.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn store(&self, chain: &Path, key: &Path) -> Result<(), Error> {
        // The key first: who finds a new certificate finds its key as well.
        file::write_private(key, self.key.key_pem().as_bytes())?;
        file::write_public(chain, self.chain_pem().as_bytes())
    }

    /// The certificates.
    pub fn chain_pem(&self) -> String {
        pem::encode_chain(&self.chain)
    }

    /// What the certificate says about its owner.
    ///
    /// # Errors
    /// When it cannot be read, which a keypair made by [`Keypair::from_pem`] rules out.
    pub fn facts(&self) -> Result<tls::PeerCertificate, Error> {
        tls::PeerCertificate::of(&self.chain)
    }

    fn check_match(&self) -> Result<(), Error> {
        let first = self
            .chain
            .first()
            .ok_or_else(|| Error::malformed("certificate", "the chain is empty"))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(first)
            .map_err(|error| Error::malformed("certificate", error))?;
        let public_key = self.key.signing()?.subject_public_key_info();
        if certificate.public_key().raw == public_key {
            Ok(())
        } else {
            Err(Error::KeyMismatch)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Authority;

    fn keypair() -> Keypair {
        let authority = Authority::generate("test", Duration::from_secs(3600), crate::now()).unwrap();
        authority
            .issue_server(&["localhost"], Duration::from_secs(60), crate::now())
            .unwrap()
    }

    #[test]
    fn a_key_survives_its_textual_form() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.key_pem()).unwrap();
        assert!(key.der().secret_der() == again.der().secret_der());
    }

    #[test]
    fn garbage_is_not_a_key() {
        for text in [
            "",
            "key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let usable = PrivateKey::from_pem(text).and_then(|key| key.signing());
            assert!(usable.is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_stored_keypair_loads_again() {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        let stored = keypair();
        stored.store(&chain, &key).unwrap();
        assert!(Keypair::load(&chain, &key).unwrap().chain == stored.chain);
    }

    #[test]
    fn a_certificate_with_another_key_is_refused() {
        let result = Keypair::from_pem(&keypair().chain_pem(), &keypair().key.key_pem());
        assert!(matches!(result.err(), Some(Error::KeyMismatch)));
    }
}
