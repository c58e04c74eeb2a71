//! The textual form of certificates and keys (RFC 7468).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::Error;

const LINE: usize = 64;

/// One block of base64 between its two markers.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for start in (0..body.len()).step_by(LINE) {
        text.push_str(&body[start..body.len().min(start + LINE)]);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// Certificates one after the other, as files and Secrets hold them.
pub(crate) fn encode_chain(chain: &[CertificateDer<'_>]) -> String {
    chain
        .iter()
        .map(|certificate| encode("CERTIFICATE", certificate))
        .collect()
}

/// Every certificate in `text`, at least one.
pub(crate) fn decode_chain(text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::malformed("certificate", error))?;
    if chain.is_empty() {
        return Err(Error::malformed("certificate", "there is no CERTIFICATE block"));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_same_bytes() {
        let chain = vec![
            CertificateDer::from(vec![1; 48]),
            CertificateDer::from(vec![2; 100]),
        ];
        assert_eq!(decode_chain(&encode_chain(&chain)).unwrap(), chain);
    }

    #[test]
    fn lines_have_at_most_64_characters() {
        assert!(encode("X", &[7; 200]).lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn text_without_a_certificate_is_refused() {
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
        ] {
            assert!(decode_chain(text).is_err(), "{text:?}");
        }
    }
}
