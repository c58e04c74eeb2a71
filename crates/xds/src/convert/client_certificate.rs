//! What becomes of `x-forwarded-client-cert` ⇄ two fields of `HttpConnectionManager`.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use hcm::HttpConnectionManager;
use hcm::http_connection_manager::{ForwardClientCertDetails, SetCurrentClientCertDetails};
use snapshot::{CertificateDetails, CertificatePolicy, ClientCertificateHeader};

use super::proto::{is, refuse, yes};
use crate::rejected::Reason;

pub(super) fn to_proto(header: &ClientCertificateHeader, message: &mut HttpConnectionManager) {
    let policy = match header.policy {
        CertificatePolicy::Sanitize => ForwardClientCertDetails::Sanitize,
        CertificatePolicy::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        CertificatePolicy::AppendForward => ForwardClientCertDetails::AppendForward,
        CertificatePolicy::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        CertificatePolicy::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    };
    message.forward_client_cert_details = policy.into();
    let details = header.details;
    message.set_current_client_cert_details =
        (details != CertificateDetails::default()).then(|| SetCurrentClientCertDetails {
            subject: if details.subject { yes() } else { None },
            cert: details.certificate,
            chain: details.chain,
            dns: details.dns,
            uri: details.uri,
            ..Default::default()
        });
}

pub(super) fn from_proto(message: &HttpConnectionManager) -> Result<ClientCertificateHeader, Reason> {
    let policy = match message.forward_client_cert_details() {
        ForwardClientCertDetails::Sanitize => CertificatePolicy::Sanitize,
        ForwardClientCertDetails::ForwardOnly => CertificatePolicy::ForwardOnly,
        ForwardClientCertDetails::AppendForward => CertificatePolicy::AppendForward,
        ForwardClientCertDetails::SanitizeSet => CertificatePolicy::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => CertificatePolicy::AlwaysForwardOnly,
    };
    let details = message.set_current_client_cert_details.unwrap_or_default();
    refuse!(details, "SetCurrentClientCertDetails", [format, issuer]);
    Ok(ClientCertificateHeader {
        policy,
        details: CertificateDetails {
            subject: is(details.subject, false),
            certificate: details.cert,
            chain: details.chain,
            dns: details.dns,
            uri: details.uri,
        },
    })
}
