//! What becomes of `x-forwarded-client-cert`: the header by which a proxy tells the workload whose certificate the client
//! showed, and which nobody else may write.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>

use serde::{Deserialize, Serialize};

/// What an HTTP handler does with the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificateHeader {
    /// Who is believed.
    #[serde(default)]
    pub policy: CertificatePolicy,
    /// Parts of the certificate that are told, beside its hash and whom it was shown to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub details: CertificateDetails,
}

/// Whose word on certificates is passed on. Without a certificate of the client's, all but the last remove the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificatePolicy {
    /// Nobody's: the header is removed.
    #[default]
    Sanitize,
    /// The client's.
    ForwardOnly,
    /// The client's, and then ours about the client.
    AppendForward,
    /// Ours.
    SanitizeSet,
    /// The client's, with or without a certificate.
    AlwaysForwardOnly,
}

/// Parts of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateDetails {
    /// Its subject.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subject: bool,
    /// The whole certificate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub certificate: bool,
    /// It, and those that lead to its authority.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chain: bool,
    /// Its names in DNS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dns: bool,
    /// Its URIs, among them the identity of a workload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uri: bool,
}

impl ClientCertificateHeader {
    /// What Istio's sidecars tell their workloads: who called, after whatever the caller says of those before it.
    pub const OF_SIDECARS: Self = Self {
        policy: CertificatePolicy::AppendForward,
        details: CertificateDetails {
            subject: true,
            certificate: false,
            chain: false,
            dns: true,
            uri: true,
        },
    };
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
