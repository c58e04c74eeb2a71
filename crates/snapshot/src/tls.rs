//! TLS and PROXY protocol towards the members of a cluster, and TLS of clients. Istio: `DestinationRule.trafficPolicy.tls`,
//! `.proxyProtocol`. Names of files only: keys never travel in a Snapshot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How connections to the members of a cluster are encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientTls {
    /// Server name to ask for; empty asks for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Ask for the host of the request instead (Envoy: `auto_sni`); connections that carry no HTTP ask for
    /// [`ClientTls::server_name`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub request_names_server: bool,
    /// Who may have signed the server's certificate.
    pub trust: Trust,
    /// The certificate must be for the host of the request (Envoy: `auto_san_validation`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub verify_request_host: bool,
    /// The certificate must have one of these names; empty asks for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// File with lists of revoked certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_list: Option<String>,
    /// What the client shows when asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFiles>,
    /// Protocols that the client offers, by preference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub application_protocols: Vec<String>,
}

impl ClientTls {
    /// TLS that trusts those, and asks for nothing else.
    pub fn new(trust: Trust) -> Self {
        Self {
            server_name: String::new(),
            request_names_server: false,
            trust,
            verify_request_host: false,
            subject_alt_names: Vec::new(),
            revocation_list: None,
            certificate: None,
            application_protocols: Vec::new(),
        }
    }
}

/// How connections of clients are encrypted. Envoy: `DownstreamTlsContext`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerTls {
    /// What the server shows.
    pub certificate: CertificateFiles,
    /// Protocols that the server agrees to; a client that offers none of them speaks what it likes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub application_protocols: Vec<String>,
    /// File with the authorities that may have signed the certificates of clients; `None` asks for no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_trust: Option<String>,
    /// Clients without a certificate are turned away.
    #[serde(default, skip_serializing_if = "is_false")]
    pub require_client_certificate: bool,
    /// Longest time for a handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<Duration>,
}

/// Who may sign certificates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Anybody: certificates are not looked at.
    Anybody,
    /// The authorities that the proxy's operating system trusts.
    System,
    /// The authorities in a file of the proxy's.
    File(String),
}

/// A certificate with its key, in files of the proxy's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its authority.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

/// Version of the PROXY protocol header that connections to members begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

fn is_false(value: &bool) -> bool {
    !value
}
