//! SPIFFE names of workloads: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
//!
//! A value of [`SpiffeId`] is always well formed. <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>

use std::fmt;
use std::str::FromStr;

/// The identity of a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

/// Why a text is not the SPIFFE name of a Kubernetes workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a SPIFFE ID of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
)]
pub struct Malformed {
    text: String,
}

impl SpiffeId {
    /// The identity of a service account.
    ///
    /// # Errors
    /// When a part is empty or contains what it may not.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, Malformed> {
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    /// The trust domain, `cluster.local` unless the mesh says otherwise.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The workload's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The workload's service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl FromStr for SpiffeId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed {
            text: text.to_owned(),
        };
        // The standard lets implementations refuse what is longer than 2048 bytes.
        if text.len() > 2048 {
            return Err(malformed());
        }
        let path = text.strip_prefix("spiffe://").ok_or_else(malformed)?;
        let parts: Vec<&str> = path.split('/').collect();
        let [trust_domain, "ns", namespace, "sa", service_account] = parts[..] else {
            return Err(malformed());
        };
        let well_formed =
            is_trust_domain(trust_domain) && is_segment(namespace) && is_segment(service_account);
        well_formed
            .then(|| Self {
                trust_domain: trust_domain.to_owned(),
                namespace: namespace.to_owned(),
                service_account: service_account.to_owned(),
            })
            .ok_or_else(malformed)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            namespace,
            service_account,
        } = self;
        write!(
            formatter,
            "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
        )
    }
}

fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_name_survives_both_directions() {
        let text = "spiffe://cluster.local/ns/istio-http-example/sa/backend.v1";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(
            (id.trust_domain(), id.namespace(), id.service_account()),
            ("cluster.local", "istio-http-example", "backend.v1")
        );
        assert_eq!(
            SpiffeId::new("cluster.local", "istio-http-example", "backend.v1").unwrap(),
            id
        );
    }

    #[test]
    fn what_is_not_a_workload_name_is_refused() {
        for text in [
            "",
            "spiffe://",
            "https://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/ns/a/sa",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/../sa/b",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe://cluster.local:80/ns/a/sa/b",
            "spiffe://cluster.local/ns/a/sa/b?x",
            "spiffe://cluster.local/ns/a/sa/b%2f",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
        assert!(
            SpiffeId::new("a", "b/sa/c", "d").is_err(),
            "a part cannot smuggle in another"
        );
        assert!(SpiffeId::new("a", "b", &"c".repeat(2048)).is_err());
    }
}
