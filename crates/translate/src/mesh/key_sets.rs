//! Keys of issuers that somebody fetched for the mesh. Translation is pure: what is not here yet is not waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use resources::RequestAuthentication;
use resources::istio::request_authentication::JwtRule;

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

impl std::fmt::Display for KeySource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uri(uri) => out.write_str(uri),
            Self::Issuer(issuer) => write!(out, "issuer {issuer}"),
        }
    }
}

/// All sources that these ask for, with how long fetching may take: the longest that any rule allows.
pub fn key_sources<'a>(
    policies: impl IntoIterator<Item = &'a RequestAuthentication>,
) -> BTreeMap<KeySource, Duration> {
    let mut sources = BTreeMap::new();
    let rules = policies.into_iter().flat_map(|policy| &policy.spec.jwt_rules);
    for rule in rules {
        if let Some(source) = KeySource::of(rule) {
            let timeout = rule.timeout.map_or(FETCH_TIMEOUT, |timeout| timeout.0);
            let longest = sources.entry(source).or_insert(timeout);
            *longest = timeout.max(*longest);
        }
    }
    sources
}
