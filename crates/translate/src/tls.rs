//! `trafficPolicy.tls` → how connections to a cluster are encrypted.
//!
//! `ISTIO_MUTUAL` is `mtls::client`'s. Certificates from Secrets are not here yet, and `analyze` reports them: such
//! connections are not encrypted, which is also what Istio's sidecars do with `credentialName` unless the rule has a
//! `workloadSelector`.

use resources::istio::destination_rule::{ClientTls, TlsMode};
use snapshot::cluster::UpstreamHttp;
use snapshot::{Certificate, CertificateFiles, SubjectMatch, Trust};

/// How connections are encrypted; `None` is not at all.
pub(crate) fn client_tls(settings: Option<&ClientTls>, http: UpstreamHttp) -> Option<snapshot::ClientTls> {
    let settings = settings?;
    let certificate = match settings.mode? {
        TlsMode::Simple => None,
        TlsMode::Mutual => Some(Certificate::Files(CertificateFiles {
            chain: settings.client_certificate.clone(),
            key: settings.private_key.clone(),
        })),
        TlsMode::Disable | TlsMode::IstioMutual => return None,
    };
    if !settings.credential_name.is_empty() {
        return None;
    }
    let insecure = settings.insecure_skip_verify == Some(true);
    let trust = match settings.ca_certificates.as_str() {
        _ if insecure => Trust::Anybody,
        "" | "system" => Trust::System,
        path => Trust::File(path.to_owned()),
    };
    let asks_for_host = settings.sni.is_empty();
    Some(snapshot::ClientTls {
        server_name: settings.sni.clone(),
        request_names_server: asks_for_host,
        verify_request_host: asks_for_host && settings.subject_alt_names.is_empty() && !insecure,
        // Who is not verified at all is not asked for names either.
        subject_alt_names: match insecure {
            true => Vec::new(),
            false => exact(&settings.subject_alt_names),
        },
        revocation_list: Some(settings.ca_crl.clone()).filter(|path| !path.is_empty() && !insecure),
        certificate,
        application_protocols: match http {
            UpstreamHttp::Http2 => vec!["h2".into()],
            UpstreamHttp::Http1 | UpstreamHttp::Downstream => Vec::new(),
        },
        ..snapshot::ClientTls::new(trust)
    })
}

/// Certificates must have one of these names, to the letter.
pub(crate) fn exact(names: &[String]) -> Vec<SubjectMatch> {
    names.iter().cloned().map(SubjectMatch::Exact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simple(change: impl FnOnce(&mut ClientTls)) -> Option<snapshot::ClientTls> {
        let mut settings = ClientTls {
            mode: Some(TlsMode::Simple),
            ..ClientTls::default()
        };
        change(&mut settings);
        client_tls(Some(&settings), UpstreamHttp::Http1)
    }

    #[test]
    fn without_further_words_the_request_names_the_server_and_the_system_is_trusted() {
        let tls = simple(|_| {}).unwrap();
        assert_eq!(tls.trust, Trust::System);
        assert!(tls.request_names_server && tls.verify_request_host);
        assert!(tls.application_protocols.is_empty());
    }

    #[test]
    fn a_stated_name_is_asked_for_and_not_looked_for() {
        let tls = simple(|settings| settings.sni = "a.example".into()).unwrap();
        assert_eq!(tls.server_name, "a.example");
        assert!(!tls.request_names_server && !tls.verify_request_host);
        let tls = simple(|settings| settings.subject_alt_names = vec!["a.example".into()]).unwrap();
        assert!(tls.request_names_server && !tls.verify_request_host);
    }

    #[test]
    fn who_is_not_verified_is_not_asked_for_names() {
        let tls = simple(|settings| settings.insecure_skip_verify = Some(true)).unwrap();
        assert_eq!(tls.trust, Trust::Anybody);
        assert!(tls.request_names_server && !tls.verify_request_host);
    }

    #[test]
    fn secrets_are_left_out_and_the_meshs_own_certificates_are_not_made_here() {
        assert_eq!(simple(|settings| settings.credential_name = "c".into()), None);
        assert_eq!(
            simple(|settings| settings.mode = Some(TlsMode::IstioMutual)),
            None
        );
        assert_eq!(simple(|settings| settings.mode = None), None);
    }
}
