//! Requests for certificates (PKCS #10, RFC 2986): made for a key of ours, and read from strangers.
//!
//! A value of [`CertificateRequest`] was signed by the key that it asks a certificate for: nobody gets one for
//! a key that he does not have.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, PublicKey, PublicKeyData,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::authority::subject_names;
use crate::{Error, PrivateKey};

/// No request of a workload comes near this: its largest part is an RSA key of some hundred bytes.
const LONGEST: usize = 64 << 10;

/// A request whose signature was checked.
pub struct CertificateRequest(CertificateSigningRequestParams);

impl CertificateRequest {
    /// Reads a request. What it asks for besides its key is for the authority to grant or to ignore.
    ///
    /// # Errors
    /// When the text is no request, is too long, or was signed by another key.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let malformed =
            |reason: &dyn std::fmt::Display| Error::malformed("certificate signing request", reason);
        if text.len() > LONGEST {
            return Err(malformed(&"it is too long"));
        }
        let parameters = match CertificateSigningRequestParams::from_pem(text) {
            Ok(parameters) => parameters,
            Err(error) => return Err(malformed(&error)),
        };
        // The library takes the kind of key from the signature: a certificate for a key on P-384 whose request was
        // signed with SHA-256 would say that it is on P-256, and nobody could use it.
        let block = CertificateSigningRequestDer::from_pem_slice(text.as_bytes());
        let block = block.map_err(|error| malformed(&error))?;
        let (_, asked) = X509CertificationRequest::from_der(&block).map_err(|error| malformed(&error))?;
        if asked.certification_request_info.subject_pki.raw != parameters.public_key.subject_public_key_info()
        {
            return Err(malformed(
                &"its key is of another kind than its signature: sign with SHA-256 on P-256, with SHA-384 on P-384",
            ));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }
}

impl PrivateKey {
    /// A request for a certificate of this key with these names, in PEM.
    ///
    /// # Errors
    /// [`Error::BadName`].
    pub fn request<N: AsRef<str>>(&self, names: &[N]) -> Result<String, Error> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.subject_alt_names = subject_names(names)?;
        let request = parameters
            .serialize_request(&self.signing()?)
            .map_err(Error::signing)?;
        request.pem().map_err(Error::signing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_ours_is_read_again() {
        let key = PrivateKey::generate().unwrap();
        let text = key.request(&["spiffe://cluster.local/ns/shop/sa/cart"]).unwrap();
        assert!(CertificateRequest::from_pem(&text).is_ok());
        assert!(key.request(&["a b"]).is_err());
    }

    #[test]
    fn a_request_that_was_changed_after_its_signature_is_refused() {
        let key = PrivateKey::generate().unwrap();
        let text = key.request(&["spiffe://cluster.local/ns/shop/sa/cart"]).unwrap();
        let mut der = pem_bytes(&text);
        let name = der.windows(4).position(|part| part == b"cart").unwrap();
        der[name] = b'C';
        let forged = crate::pem::encode("CERTIFICATE REQUEST", &der);
        assert!(CertificateRequest::from_pem(&forged).is_err());
    }

    #[test]
    fn a_key_that_the_certificate_would_say_wrong_is_refused() {
        let mixed = include_str!("testdata/p384_sha256.csr");
        let refused = CertificateRequest::from_pem(mixed).err().unwrap().to_string();
        assert!(
            refused.contains("of another kind than its signature"),
            "{refused}"
        );
        for good in [
            include_str!("testdata/p384_sha384.csr"),
            include_str!("testdata/rsa_sha256.csr"),
        ] {
            assert!(CertificateRequest::from_pem(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            "A".repeat(LONGEST)
        );
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            &long,
        ] {
            assert!(CertificateRequest::from_pem(text).is_err());
        }
    }

    fn pem_bytes(text: &str) -> Vec<u8> {
        use base64::Engine;
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        base64::engine::general_purpose::STANDARD.decode(body).unwrap()
    }
}
