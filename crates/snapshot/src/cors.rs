//! Cross-origin resource sharing. Istio: `CorsPolicy`; Envoy: the CORS filter, configured by the route.

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use crate::route::{StringMatch, compile_regex};

/// Which scripts of other origins may call a route, and what browsers are told about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins that may call; one condition must hold. A condition that takes `*` takes every origin.
    pub allow_origins: Vec<StringMatch>,
    /// `access-control-allow-methods`; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub allow_methods: String,
    /// `access-control-allow-headers`; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub allow_headers: String,
    /// `access-control-expose-headers`; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expose_headers: String,
    /// `access-control-max-age`, in seconds; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub max_age: String,
    /// `access-control-allow-credentials: true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_credentials: bool,
    /// Preflight requests of other origins are answered here, without permission, instead of being forwarded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer_unmatched_preflights: bool,
}

/// Conditions on origins, ready to run.
#[derive(Clone, Debug)]
pub struct CompiledOrigins(Vec<Origin>);

#[derive(Clone, Debug)]
enum Origin {
    Any,
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

impl CompiledOrigins {
    /// The error says which expression is not acceptable.
    pub(crate) fn new(conditions: &[StringMatch]) -> Result<Self, String> {
        let origins = conditions.iter().map(Origin::new);
        origins
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|problem| format!("origin: {problem}"))
    }

    /// Whether scripts of that origin may call.
    pub fn allow(&self, origin: &[u8]) -> bool {
        self.0.iter().any(|condition| match condition {
            Origin::Any => true,
            Origin::Exact(wanted) => wanted.as_bytes() == origin,
            Origin::Prefix(wanted) => origin.starts_with(wanted.as_bytes()),
            Origin::Regex(regex) => regex.is_match(origin),
        })
    }
}

impl Origin {
    fn new(condition: &StringMatch) -> Result<Self, String> {
        Ok(match condition {
            StringMatch::Exact(text) if text == "*" => Self::Any,
            StringMatch::Prefix(text) if "*".starts_with(text.as_str()) => Self::Any,
            StringMatch::Exact(text) => Self::Exact(text.clone()),
            StringMatch::Prefix(text) => Self::Prefix(text.clone()),
            StringMatch::Regex(pattern) => {
                let regex = compile_regex(pattern)
                    .map_err(|error| format!("regular expression {pattern:?}: {error}"))?;
                if regex.is_match(b"*") {
                    Self::Any
                } else {
                    Self::Regex(regex)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_as_a_whole_and_a_star_takes_all() {
        let allows = |condition: StringMatch, origin: &str| {
            CompiledOrigins::new(&[condition])
                .unwrap()
                .allow(origin.as_bytes())
        };
        let exact = |text: &str| StringMatch::Exact(text.to_owned());
        assert!(allows(exact("https://a.org"), "https://a.org"));
        assert!(!allows(exact("https://a.org"), "https://a.org:8443"));
        assert!(allows(exact("*"), "anything"));
        assert!(allows(
            StringMatch::Prefix("https://".to_owned()),
            "https://b.org"
        ));
        assert!(!allows(
            StringMatch::Prefix("https://".to_owned()),
            "http://b.org"
        ));
        let regex = |text: &str| StringMatch::Regex(text.to_owned());
        assert!(allows(regex(r"https://[a-z]+\.org"), "https://b.org"));
        assert!(!allows(regex(r"https://[a-z]+\.org"), "https://b.org.evil"));
        assert!(allows(regex(r"\*"), "anything"), "as Envoy reads it");
        assert!(CompiledOrigins::new(&[regex("(")]).is_err());
    }
}
