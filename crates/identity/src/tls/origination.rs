//! TLS towards servers, of the mesh or outside of it, whose certificates are verified as Envoy does it: by authority,
//! revocation and a list of names, each only if asked for.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::naming::{self, PeerName};
use super::{for_clients, revocation_lists, root_store};
use crate::{Error, Keypair, pem};

/// What is asked of a server, and what is shown to it.
#[derive(Clone, Default)]
pub struct Origination<'a> {
    /// Authorities in PEM; `None` believes everybody.
    pub roots: Option<&'a str>,
    /// Lists of revoked certificates in PEM.
    pub revoked: Option<&'a str>,
    /// Authorities without a list revoke nothing; otherwise nobody of theirs is believed.
    pub lists_are_partial: bool,
    /// The certificate must be a workload's: it has exactly one URI.
    pub is_workload: bool,
    /// The certificate must have one of these names; empty asks for none.
    pub names: Vec<PeerName>,
    /// The certificate must be for the server name of the connection.
    pub verify_server_name: bool,
    /// What is shown when the server asks.
    pub keypair: Option<&'a Keypair>,
    /// Protocols to offer.
    pub application_protocols: Vec<String>,
}

impl Origination<'_> {
    /// Settings for a client.
    ///
    /// # Errors
    /// When keys, roots or lists cannot be used.
    pub fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::new(for_clients()))
            .with_safe_default_protocol_versions()
            .map_err(Error::tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier()?));
        let mut config = match self.keypair {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(own.chain.clone(), own.key.der().clone_key())
                .map_err(Error::tls)?,
        };
        let protocols = self.application_protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.clone().into_bytes()).collect();
        Ok(Arc::new(config))
    }

    /// Whether roots and lists can be used.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.roots
            .map_or(Ok(()), |roots| self.chain_verifier(roots).map(drop))
    }

    /// Whether a server's chain is believed at that time, whatever server was asked for; the library's words when it is
    /// not.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let Some((first, behind)) = chain.split_first() else {
            return Err(Error::malformed("certificate", "the chain is empty"));
        };
        let anybody = ServerName::try_from("anybody").map_err(Error::tls)?;
        let judged = self
            .verifier()?
            .verify_server_cert(first, behind, &anybody, &[], now);
        judged.map(drop).map_err(Error::tls)
    }

    fn verifier(&self) -> Result<Verifier, Error> {
        Ok(Verifier {
            chain: self.roots.map(|roots| self.chain_verifier(roots)).transpose()?,
            trusted: self.roots.map(pem::decode_chain).transpose()?.unwrap_or_default(),
            names: self.names.clone(),
            is_workload: self.is_workload,
            verify_server_name: self.verify_server_name,
            algorithms: for_clients().signature_verification_algorithms,
        })
    }

    fn chain_verifier(&self, roots: &str) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let builder =
            WebPkiServerVerifier::builder_with_provider(root_store(roots)?, Arc::new(for_clients()))
                .with_crls(revocation_lists(self.revoked)?);
        let builder = match self.lists_are_partial {
            true => builder.allow_unknown_revocation_status(),
            false => builder,
        };
        builder.build().map_err(Error::tls)
    }
}

#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are believed as they are, also when they are a server's own.
    trusted: Vec<CertificateDer<'static>>,
    names: Vec<PeerName>,
    is_workload: bool,
    verify_server_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn verify_names(
        &self,
        certificate: &CertificateDer<'_>,
        server: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        if !self.verify_server_name {
            return naming::verify(certificate, &self.names, self.is_workload);
        }
        let host = PeerName::Exact(server.to_str().into_owned());
        let wanted: Vec<PeerName> = self.names.iter().cloned().chain([host]).collect();
        naming::verify(certificate, &wanted, self.is_workload)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = chain.verify_server_cert(certificate, intermediates, server, staple, now);
        let believed = || self.trusted.iter().any(|trusted| trusted == certificate);
        match verified {
            Ok(_) => {}
            // Names come last there, and are ours to compare.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            // A server's own certificate in the list of roots is believed, though it is no authority.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) if believed() => {}
            Err(error) => return Err(error),
        }
        self.verify_names(certificate, server)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Authority;

    fn now() -> UnixTime {
        let since = crate::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        UnixTime::since_unix_epoch(since)
    }

    /// Verifies a certificate for `*.shop.example` and 10.0.0.1.
    fn verify(change: impl FnOnce(&mut Origination<'_>), server: &str) -> Result<(), String> {
        let authority = Authority::generate("test", Duration::from_secs(3600), crate::now()).unwrap();
        let hour = Duration::from_secs(3600);
        let keypair = authority
            .issue_server(&["*.shop.example", "10.0.0.1"], hour, crate::now())
            .unwrap();
        let roots = authority.certificate_pem();
        let mut asked = Origination {
            roots: Some(&roots),
            ..Origination::default()
        };
        change(&mut asked);
        let chain = asked.roots.map(|roots| asked.chain_verifier(roots).unwrap());
        let verifier = Verifier {
            chain,
            trusted: Vec::new(),
            names: asked.names.clone(),
            is_workload: asked.is_workload,
            verify_server_name: asked.verify_server_name,
            algorithms: for_clients().signature_verification_algorithms,
        };
        let server = ServerName::try_from(server.to_owned()).unwrap();
        let verified =
            verifier.verify_server_cert(&keypair.chain[0], &keypair.chain[1..], &server, &[], now());
        verified.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_compared_only_when_asked_for() {
        let nothing: fn(&mut Origination<'_>) = |_| {};
        let server: fn(&mut Origination<'_>) = |asked| asked.verify_server_name = true;
        let listed: fn(&mut Origination<'_>) = |asked| {
            asked.names = ["a.shop.example", "x"]
                .map(|name| PeerName::Exact(name.into()))
                .into()
        };
        let others: fn(&mut Origination<'_>) = |asked| asked.names = vec![PeerName::Exact("x".into())];
        for (change, name, good) in [
            (nothing, "elsewhere", true),
            (server, "A.shop.example", true),
            (server, "10.0.0.1", true),
            (server, "a.b.shop.example", false),
            (server, "shop.example", false),
            (server, "10.0.0.2", false),
            (listed, "elsewhere", true),
            (others, "a.shop.example", false),
        ] {
            let verified = verify(change, name);
            assert_eq!(verified.is_ok(), good, "{name}: {verified:?}");
        }
    }

    #[test]
    fn a_chain_that_leads_elsewhere_is_refused_unless_everybody_is_believed() {
        let other = Authority::generate("other", Duration::from_secs(3600), crate::now()).unwrap();
        let roots = other.certificate_pem();
        let verify_with = |roots: Option<&str>| {
            let authority = Authority::generate("test", Duration::from_secs(3600), crate::now()).unwrap();
            let keypair = authority
                .issue_server(&["a"], Duration::from_secs(60), crate::now())
                .unwrap();
            let asked = Origination {
                roots,
                ..Origination::default()
            };
            let verifier = Verifier {
                chain: roots.map(|roots| asked.chain_verifier(roots).unwrap()),
                trusted: Vec::new(),
                names: Vec::new(),
                is_workload: false,
                verify_server_name: false,
                algorithms: for_clients().signature_verification_algorithms,
            };
            let server = ServerName::try_from("a").unwrap();
            verifier
                .verify_server_cert(&keypair.chain[0], &keypair.chain[1..], &server, &[], now())
                .is_ok()
        };
        assert!(!verify_with(Some(&roots)));
        assert!(verify_with(None));
    }

    #[test]
    fn what_is_no_list_of_revoked_certificates_is_refused() {
        let authority = Authority::generate("test", Duration::from_secs(3600), crate::now()).unwrap();
        let roots = authority.certificate_pem();
        let asked = Origination {
            roots: Some(&roots),
            revoked: Some("nothing"),
            ..Origination::default()
        };
        assert!(asked.config().is_err());
    }
}
