//! Requests for certificates (PKCS #10, RFC 2986): made for a key of ours, and read from strangers.
//!
//! A value of [`CertificateRequest`] was signed by the key that it asks a certificate for: nobody gets one for
//! a key that he does not have.

use rcgen::{CertificateParams, CertificateSigningRequestParams, DistinguishedName, PublicKey};

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
        match CertificateSigningRequestParams::from_pem(text) {
            Ok(parameters) => Ok(Self(parameters)),
            Err(error) => Err(malformed(&error)),
        }
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
