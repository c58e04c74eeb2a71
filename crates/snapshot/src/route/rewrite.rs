//! What becomes of path and authority on their way to the upstream. Istio: `HTTPRewrite`; Envoy: `prefix_rewrite`,
//! `regex_rewrite`, `host_rewrite_literal`.

use std::borrow::Cow;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::StringMatch;

/// A change of the path. The query always stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRewrite {
    /// Replaces what the route's condition matched: its prefix, or the whole path.
    Matched(String),
    /// Replaces every match of an RE2 expression; `\1` stands for a group, `\0` for the match.
    Regex {
        /// The expression; it may match anywhere.
        pattern: String,
        /// What replaces each match.
        substitution: String,
    },
}

impl PathRewrite {
    /// Why it cannot work, if it cannot.
    pub fn problem(&self) -> Option<String> {
        CompiledRewrite::new(self, None).err()
    }
}

/// A [`PathRewrite`], ready to run.
#[derive(Clone, Debug)]
pub(super) enum CompiledRewrite {
    Prefix { length: usize, replacement: String },
    Whole(String),
    Regex(Regex, Vec<u8>),
}

impl CompiledRewrite {
    /// The error says why the expression is not acceptable.
    pub(super) fn new(rewrite: &PathRewrite, path: Option<&StringMatch>) -> Result<Self, String> {
        Ok(match rewrite {
            PathRewrite::Matched(replacement) => match path {
                Some(StringMatch::Prefix(prefix)) => Self::Prefix {
                    length: prefix.len(),
                    replacement: replacement.clone(),
                },
                // Without a condition Envoy's route has the prefix `/`.
                None => Self::Prefix {
                    length: 1,
                    replacement: replacement.clone(),
                },
                Some(StringMatch::Exact(_) | StringMatch::Regex(_)) => Self::Whole(replacement.clone()),
            },
            PathRewrite::Regex {
                pattern,
                substitution,
            } => Self::Regex(
                super::matcher::compile_search(pattern)
                    .map_err(|error| format!("regular expression {pattern:?}: {error}"))?,
                translate_substitution(substitution)?,
            ),
        })
    }

    /// The path for the upstream, query included.
    pub(super) fn rewrite<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        let end = path_and_query.find('?').unwrap_or(path_and_query.len());
        let (path, query) = path_and_query.split_at(end);
        match self {
            Self::Prefix { length, replacement } => {
                let rest = path.get(*length..).unwrap_or_default();
                Cow::Owned([replacement, rest, query].concat())
            }
            Self::Whole(replacement) => Cow::Owned([replacement, query].concat()),
            Self::Regex(regex, substitution) => {
                let changed = regex.replace_all(path.as_bytes(), substitution.as_slice());
                match String::from_utf8(changed.into_owned()) {
                    Ok(changed) => Cow::Owned(changed + query),
                    // An expression that cuts a character in two: the path stays.
                    Err(_) => Cow::Borrowed(path_and_query),
                }
            }
        }
    }
}

/// RE2's `\1` and `\\` in the notation of our library, `${1}` and `$$`.
fn translate_substitution(substitution: &str) -> Result<Vec<u8>, String> {
    let mut translated = String::with_capacity(substitution.len() + 8);
    let mut characters = substitution.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => translated.push_str("$$"),
            '\\' => match characters.next() {
                Some('\\') => translated.push('\\'),
                Some(digit @ '0'..='9') => {
                    translated.push_str("${");
                    translated.push(digit);
                    translated.push('}');
                }
                _ => {
                    return Err(format!(
                        "substitution {substitution:?}: after a backslash stands a digit or another backslash"
                    ));
                }
            },
            other => translated.push(other),
        }
    }
    Ok(translated.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(rewrite: &PathRewrite, condition: Option<&StringMatch>, path: &str) -> String {
        let compiled = CompiledRewrite::new(rewrite, condition).unwrap();
        compiled.rewrite(path).into_owned()
    }

    #[test]
    fn what_matched_is_replaced_and_the_query_stays() {
        let rewrite = PathRewrite::Matched("/new".to_owned());
        let prefix = Some(StringMatch::Prefix("/old".to_owned()));
        assert_eq!(
            rewritten(&rewrite, prefix.as_ref(), "/old/a?old=/old"),
            "/new/a?old=/old"
        );
        let exact = Some(StringMatch::Exact("/old".to_owned()));
        assert_eq!(rewritten(&rewrite, exact.as_ref(), "/old?a"), "/new?a");
        let regex = Some(StringMatch::Regex("/o.*".to_owned()));
        assert_eq!(rewritten(&rewrite, regex.as_ref(), "/old/a"), "/new");
        assert_eq!(rewritten(&rewrite, None, "/a"), "/newa", "as Envoy's prefix /");
    }

    #[test]
    fn every_match_of_an_expression_is_replaced_with_its_groups() {
        let rewrite = |pattern: &str, substitution: &str| PathRewrite::Regex {
            pattern: pattern.to_owned(),
            substitution: substitution.to_owned(),
        };
        let swap = rewrite(r"^/service/([^/]+)(/.*)$", r"\2/instance/\1");
        assert_eq!(
            rewritten(&swap, None, "/service/foo/v1?x=1"),
            "/v1/instance/foo?x=1"
        );
        assert_eq!(rewritten(&rewrite("one", "$1"), None, "/one/one"), "/$1/$1");
        assert!(CompiledRewrite::new(&rewrite("a", r"\x"), None).is_err());
        assert!(CompiledRewrite::new(&rewrite("(", "x"), None).is_err());
    }
}
