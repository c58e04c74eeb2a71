//! TLS and PROXY protocol towards the members of a cluster, and TLS of clients. Istio: `DestinationRule.trafficPolicy.tls`,
//! `.proxyProtocol`, `PeerAuthentication`. Names only, of files and of what the proxy has from its CA: keys never travel
//! in a Snapshot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// By this protocol of TLS proxies of the mesh know each other.
const MESH: &str = "istio";

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
    pub subject_alt_names: Vec<SubjectMatch>,
    /// File with lists of revoked certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_list: Option<String>,
    /// What the client shows when asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Protocols that the client offers, by preference; what a connection offers says [`ClientTls::offers`].
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

    /// What one connection offers; `http` is `http/1.1` or `h2` for those that carry it, `None` for opaque bytes.
    ///
    /// Between proxies of the mesh the name says what lies under TLS, so that the server's proxy need not guess:
    /// `istio-http/1.1` and `istio-h2` (Istio: filter `istio.alpn`). Elsewhere HTTP offers its version where nothing
    /// is stated, as Envoy's does.
    pub fn offers(&self, http: Option<&str>) -> Vec<String> {
        match http {
            Some(http) if self.is_of_the_mesh() => {
                vec![format!("{MESH}-{http}"), MESH.to_owned(), http.to_owned()]
            }
            Some(http) if self.application_protocols.is_empty() => vec![http.to_owned()],
            _ => self.application_protocols.clone(),
        }
    }

    /// Whether the other end is a proxy of the mesh.
    pub fn is_of_the_mesh(&self) -> bool {
        self.application_protocols.iter().any(|protocol| protocol == MESH)
    }
}

/// How connections of clients are encrypted. Envoy: `DownstreamTlsContext`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerTls {
    /// What the server shows.
    pub certificate: Certificate,
    /// Protocols that the server agrees to; a client that offers none of them speaks what it likes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub application_protocols: Vec<String>,
    /// Who may have signed the certificates of clients; [`Trust::Anybody`] asks for no certificate.
    #[serde(default = "anybody", skip_serializing_if = "Trust::is_anybody")]
    pub client_trust: Trust,
    /// The certificate of a client must have one of these names; empty asks for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_names: Vec<SubjectMatch>,
    /// Clients without a certificate are turned away.
    #[serde(default, skip_serializing_if = "is_false")]
    pub require_client_certificate: bool,
    /// Older versions are refused.
    #[serde(default, skip_serializing_if = "TlsVersion::is_default")]
    pub minimum_version: TlsVersion,
    /// Longest time for a handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<Duration>,
}

impl ServerTls {
    /// TLS that shows this certificate, and asks clients for none.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate,
            application_protocols: Vec::new(),
            client_trust: Trust::Anybody,
            client_names: Vec::new(),
            require_client_certificate: false,
            minimum_version: TlsVersion::default(),
            handshake_timeout: None,
        }
    }
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
    /// The authorities of the mesh, as its CA names them now (SDS: `ROOTCA`).
    Mesh,
}

impl Trust {
    /// Whether certificates are not looked at.
    pub fn is_anybody(&self) -> bool {
        *self == Self::Anybody
    }
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certificate {
    /// In files of the proxy's.
    Files(CertificateFiles),
    /// The one of the workload's identity, as the mesh's CA renews it (SDS: `default`).
    Workload,
}

/// A certificate with its key, in files of the proxy's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its authority.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

/// A name that a certificate may have among its subject alternative names, of whatever type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SubjectMatch {
    /// This one.
    Exact(String),
    /// Every name that begins so.
    Prefix {
        /// `spiffe://cluster.local/`.
        prefix: String,
    },
}

impl SubjectMatch {
    /// Whether it takes that name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix { prefix } => name.starts_with(prefix.as_str()),
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// 1.3.
    #[serde(rename = "1.3")]
    V13,
}

impl TlsVersion {
    /// Whether it is the oldest that anybody here speaks.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
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

fn anybody() -> Trust {
    Trust::Anybody
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_between_proxies_of_the_mesh_says_so_and_elsewhere_only_where_nothing_is_stated() {
        let offers = |stated: &[&str], http| {
            let tls = ClientTls {
                application_protocols: stated.iter().map(ToString::to_string).collect(),
                ..ClientTls::new(Trust::Mesh)
            };
            tls.offers(http).join(" ")
        };
        let mesh = ["istio-peer-exchange", "istio"];
        assert_eq!(offers(&mesh, Some("http/1.1")), "istio-http/1.1 istio http/1.1");
        assert_eq!(offers(&mesh, Some("h2")), "istio-h2 istio h2");
        assert_eq!(offers(&mesh, None), "istio-peer-exchange istio");
        assert_eq!(offers(&["h2"], Some("http/1.1")), "h2");
        assert_eq!(offers(&[], Some("http/1.1")), "http/1.1");
        assert_eq!(offers(&[], None), "");
    }

    #[test]
    fn names_are_compared_whole_or_by_how_they_begin() {
        let exact = SubjectMatch::Exact("spiffe://a/ns/x/sa/y".into());
        assert!(exact.matches("spiffe://a/ns/x/sa/y") && !exact.matches("spiffe://a/ns/x/sa/y2"));
        let prefix = SubjectMatch::Prefix {
            prefix: "spiffe://a/".into(),
        };
        assert!(prefix.matches("spiffe://a/ns/x/sa/y") && !prefix.matches("spiffe://a.example/ns/x/sa/y"));
    }
}
