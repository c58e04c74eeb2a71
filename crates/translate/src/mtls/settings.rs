//! `MeshConfig.enableAutoMtls`, `meshMTLS`, `trustDomain` and `trustDomainAliases`.

use serde::Deserialize;
use serde_json::{Map, Value};
use snapshot::{SubjectMatch, TlsVersion};

use crate::DOMAIN;
use crate::mesh::endpoints::Account;
use crate::mesh::settings::typed;

/// Identities and mutual TLS of the whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Clients speak mutual TLS only where a DestinationRule asks for it.
    pub(crate) only_on_demand: bool,
    /// Older versions of TLS are refused by servers.
    pub(crate) minimum_version: TlsVersion,
    trust_domain: Option<String>,
    aliases: Vec<String>,
}

/// `meshMTLS`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MeshMtls {
    min_protocol_version: Option<Version>,
    cipher_suites: Vec<String>,
    ecdh_curves: Vec<String>,
}

#[derive(Deserialize)]
enum Version {
    #[serde(rename = "TLS_AUTO")]
    Auto,
    #[serde(rename = "TLSV1_2")]
    V12,
    #[serde(rename = "TLSV1_3")]
    V13,
}

impl Settings {
    /// Reads a MeshConfig.
    pub(crate) fn read(mesh: &Map<String, Value>) -> Result<Self, String> {
        let of_mesh = typed::<MeshMtls>(mesh, "meshMTLS")?.unwrap_or_default();
        for (name, stated) in [
            ("cipherSuites", &of_mesh.cipher_suites),
            ("ecdhCurves", &of_mesh.ecdh_curves),
        ] {
            if !stated.is_empty() {
                return Err(format!("meshMTLS.{name}: is not supported"));
            }
        }
        Ok(Self {
            only_on_demand: typed(mesh, "enableAutoMtls")? == Some(false),
            minimum_version: match of_mesh.min_protocol_version {
                Some(Version::V13) => TlsVersion::V13,
                Some(Version::Auto | Version::V12) | None => TlsVersion::V12,
            },
            trust_domain: typed::<String>(mesh, "trustDomain")?.filter(|domain| !domain.is_empty()),
            aliases: typed(mesh, "trustDomainAliases")?.unwrap_or_default(),
        })
    }

    /// The trust domain of the mesh, and others whose identities count as its own, without repetitions.
    pub(crate) fn domains(&self) -> Vec<&str> {
        let own = self.trust_domain.as_deref().unwrap_or(DOMAIN);
        let mut domains = vec![own];
        for alias in &self.aliases {
            if !alias.is_empty() && !domains.contains(&alias.as_str()) {
                domains.push(alias);
            }
        }
        domains
    }

    /// Names of the workloads that run under those service accounts.
    pub(crate) fn names<'a>(&self, accounts: impl IntoIterator<Item = &'a Account>) -> Vec<SubjectMatch> {
        let domains = self.domains();
        let name = |domain: &str, account: &Account| {
            let Account { namespace, name } = account;
            SubjectMatch::Exact(format!("spiffe://{domain}/ns/{namespace}/sa/{name}"))
        };
        let accounts = accounts.into_iter();
        let mut names: Vec<_> = accounts
            .flat_map(|account| domains.iter().map(move |domain| name(domain, account)))
            .collect();
        names.sort();
        names
    }

    /// Names of all workloads of the mesh.
    pub(crate) fn everybody(&self) -> Vec<SubjectMatch> {
        let prefix = |domain| SubjectMatch::Prefix {
            prefix: format!("spiffe://{domain}/"),
        };
        self.domains().into_iter().map(prefix).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mesh: Value) -> Result<Settings, String> {
        let Value::Object(mesh) = mesh else {
            panic!("an object")
        };
        Settings::read(&mesh)
    }

    #[test]
    fn without_a_word_clients_speak_mutual_tls_where_they_can() {
        assert_eq!(read(json!({})).unwrap(), Settings::default());
        assert!(read(json!({"enableAutoMtls": false})).unwrap().only_on_demand);
        assert!(!read(json!({"enableAutoMtls": true})).unwrap().only_on_demand);
    }

    #[test]
    fn identities_of_other_trust_domains_count_where_the_mesh_says_so() {
        let settings = read(json!({"trustDomain": "new", "trustDomainAliases": ["old", "new", ""]})).unwrap();
        let account = Account {
            namespace: "shop".into(),
            name: "web".into(),
        };
        let names =
            ["new", "old"].map(|domain| SubjectMatch::Exact(format!("spiffe://{domain}/ns/shop/sa/web")));
        assert_eq!(settings.names([&account]), names);
        let prefixes = ["new", "old"].map(|domain| SubjectMatch::Prefix {
            prefix: format!("spiffe://{domain}/"),
        });
        assert_eq!(settings.everybody(), prefixes);
        let prefix = "spiffe://cluster.local/".to_owned();
        assert_eq!(Settings::default().everybody(), [SubjectMatch::Prefix { prefix }]);
    }

    #[test]
    fn what_of_tls_cannot_be_set_is_refused_by_its_name() {
        let version = |version: &str| read(json!({"meshMTLS": {"minProtocolVersion": version}}));
        assert_eq!(version("TLSV1_3").unwrap().minimum_version, TlsVersion::V13);
        assert_eq!(version("TLS_AUTO").unwrap().minimum_version, TlsVersion::V12);
        assert!(
            version("TLSV1_1")
                .unwrap_err()
                .starts_with("meshMTLS: unknown variant")
        );
        assert_eq!(
            read(json!({"meshMTLS": {"ecdhCurves": ["P-256"]}})),
            Err("meshMTLS.ecdhCurves: is not supported".to_owned())
        );
    }
}
