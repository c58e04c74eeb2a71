//! Keys of issuers that somebody fetched for the mesh. Translation is pure: what is not here yet is not waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use resources::RequestAuthentication;
use resources::istio::request_authentication::JwtRule;
pub use resources::istio::request_authentication::LONGEST_FETCH;

/// How long fetching may take, where a rule says nothing.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySource {
    /// They are published there.
    Uri(String),
    /// The issuer tells where: OpenID discovery.
    Issuer(String),
}

/// What came of fetching keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The last that could be read: a JSON Web Key Set.
    pub keys: Option<Arc<str>>,
    /// Why it failed the last time.
    pub problem: Option<String>,
}

/// What came of fetching, by source. One that is not here was not tried yet.
pub type KeySets = BTreeMap<KeySource, Fetched>;

impl KeySource {
    /// Where the keys of a rule come from; `None` where the rule has them.
    pub fn of(rule: &JwtRule) -> Option<Self> {
        match (rule.jwks.as_str(), rule.key_set_uri(), rule.issuer.as_str()) {
            ("", "", "") => None,
            ("", "", issuer) => Some(Self::Issuer(issuer.to_owned())),
            ("", uri, _) => Some(Self::Uri(uri.to_owned())),
            _ => None,
        }
    }
}

/// For logs and events, without secrets.
impl std::fmt::Display for KeySource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uri(uri) => out.write_str(&without_secrets(uri)),
            Self::Issuer(issuer) => write!(out, "issuer {}", without_secrets(issuer)),
        }
    }
}

/// An address without what may be secret in it: user, query and fragment.
pub fn without_secrets(address: &str) -> String {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let address = &address[..end];
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Who asks for the keys of a source, and how long fetching them may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The longest that any rule allows, at most [`LONGEST_FETCH`].
    pub limit: Duration,
    /// Namespaces of the policies.
    pub namespaces: BTreeSet<String>,
}

/// All sources that these ask for.
pub fn key_sources<'a>(
    policies: impl IntoIterator<Item = &'a RequestAuthentication>,
) -> BTreeMap<KeySource, Demand> {
    let mut sources: BTreeMap<KeySource, Demand> = BTreeMap::new();
    for policy in policies {
        for rule in &policy.spec.jwt_rules {
            let Some(source) = KeySource::of(rule) else {
                continue;
            };
            let timeout = rule.timeout.map_or(FETCH_TIMEOUT, |timeout| timeout.0);
            let demand = sources.entry(source).or_default();
            demand.limit = demand.limit.max(timeout.min(LONGEST_FETCH));
            demand.namespaces.insert(policy.metadata.namespace.clone());
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use resources::{Resource, yaml};

    use super::*;

    #[test]
    fn what_may_be_secret_in_an_address_is_not_printed() {
        for (address, printed) in [
            (
                "https://a.example:8443/keys?key=secret#more",
                "https://a.example:8443/keys",
            ),
            ("https://user:secret@a.example?x", "https://a.example"),
            ("a@b.example", "a@b.example"),
        ] {
            assert_eq!(KeySource::Uri(address.into()).to_string(), printed);
            assert_eq!(
                KeySource::Issuer(address.into()).to_string(),
                format!("issuer {printed}")
            );
        }
    }

    #[test]
    fn no_rule_has_a_fetch_last_for_ever_and_a_source_knows_who_asks() {
        let policy = |namespace: &str, timeout: &str| {
            let text = format!(
                "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
                 metadata: {{name: a, namespace: {namespace}}}\n\
                 spec: {{jwtRules: [{{issuer: a}}, {{issuer: {namespace}, timeout: {timeout}}}]}}"
            );
            match yaml::read(&text).resources.remove(0) {
                Resource::RequestAuthentication(policy) => policy,
                other => panic!("{other:?}"),
            }
        };
        let policies = [policy("shop", "1000h"), policy("other", "3s")];
        let sources = key_sources(policies.iter().map(AsRef::as_ref));
        let demand = |issuer: &str| sources[&KeySource::Issuer(issuer.into())].clone();
        assert_eq!(demand("shop").limit, LONGEST_FETCH);
        assert_eq!(demand("other").limit, Duration::from_secs(3));
        let both = demand("a");
        assert_eq!(both.limit, FETCH_TIMEOUT);
        assert_eq!(both.namespaces.into_iter().collect::<Vec<_>>(), ["other", "shop"]);
    }
}
