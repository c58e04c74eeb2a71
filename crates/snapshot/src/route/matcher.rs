//! The pure matchers: one condition, one request.
//!
//! Compiled once per table, run once per request and route. Semantics are Envoy's `RouteMatch`: the path is
//! matched without its query, values of a repeated header are joined by commas, the first of several query
//! parameters counts, regular expressions match the whole text.

use regex::bytes::{Regex, RegexBuilder};

use super::{HeaderMatch, QueryMatch, RouteMatch, StringMatch};

/// What a matcher may know of one request.
pub trait RequestView {
    /// `:method`.
    fn method(&self) -> &str;
    /// `:path` with query.
    fn path_and_query(&self) -> &str;
    /// `:authority` (or `Host`), port included if sent.
    fn authority(&self) -> &str;
    /// `:scheme`.
    fn scheme(&self) -> &str;
    /// Calls `each` with every value of that header, in order.
    fn header(&self, name: &str, each: &mut dyn FnMut(&str));
}

/// A header of a request, name in lower case.
pub type HeaderView<'a> = (&'a str, &'a str);

/// Largest compiled regular expression; what a person writes stays far below.
const REGEX_SIZE_LIMIT: usize = 4 << 20;

/// Compiles a regular expression that must match a whole text, within bounds of memory.
///
/// The error says why it is not acceptable.
pub fn compile_regex(pattern: &str) -> Result<Regex, String> {
    // Alone first: a pattern such as `a)|(b` would close the group that the anchors stand around.
    let is_ascii = match build_regex(pattern, false) {
        Ok(_) => true,
        Err(_) => build_regex(pattern, true).map(|_| false)?,
    };
    build_regex(&format!(r"\A(?:{pattern})\z"), !is_ascii)
}

/// Compiles a regular expression that may match anywhere, for replacing.
pub(super) fn compile_search(pattern: &str) -> Result<Regex, String> {
    build_regex(pattern, false).or_else(|_| build_regex(pattern, true))
}

/// Classes such as `\w` are ASCII, as in RE2, unless the pattern names Unicode classes or letters in a class.
fn build_regex(pattern: &str, unicode: bool) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(pattern);
    builder
        .unicode(unicode)
        .size_limit(REGEX_SIZE_LIMIT)
        .dfa_size_limit(REGEX_SIZE_LIMIT);
    builder.build().map_err(|error| error.to_string())
}

/// A condition on text, ready to run.
#[derive(Clone, Debug)]
enum Text {
    Exact(String),
    ExactIgnoringCase(String),
    Prefix(String),
    PrefixIgnoringCase(String),
    Regex(Regex),
}

impl Text {
    fn new(condition: &StringMatch, ignore_case: bool) -> Result<Self, String> {
        Ok(match condition {
            StringMatch::Exact(text) if ignore_case => Self::ExactIgnoringCase(text.clone()),
            StringMatch::Exact(text) => Self::Exact(text.clone()),
            StringMatch::Prefix(text) if ignore_case => Self::PrefixIgnoringCase(text.clone()),
            StringMatch::Prefix(text) => Self::Prefix(text.clone()),
            StringMatch::Regex(pattern) => Self::Regex(
                compile_regex(pattern).map_err(|error| format!("regular expression {pattern:?}: {error}"))?,
            ),
        })
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => text == wanted,
            Self::ExactIgnoringCase(wanted) => text.eq_ignore_ascii_case(wanted),
            Self::Prefix(wanted) => text.starts_with(wanted.as_str()),
            Self::PrefixIgnoringCase(wanted) => text
                .as_bytes()
                .get(..wanted.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes())),
            Self::Regex(regex) => regex.is_match(text.as_bytes()),
        }
    }
}

/// A condition on one header, ready to run.
#[derive(Clone, Debug)]
struct Header {
    name: String,
    value: Option<Text>,
    invert: bool,
}

impl Header {
    fn new(condition: &HeaderMatch) -> Result<Self, String> {
        let value = condition
            .value
            .as_ref()
            .map(|value| Text::new(value, false))
            .transpose();
        Ok(Self {
            name: condition.name.to_ascii_lowercase(),
            value: value.map_err(|error| format!("header {:?}: {error}", condition.name))?,
            invert: condition.invert,
        })
    }

    fn matches(&self, request: &impl RequestView) -> bool {
        let pseudo = match self.name.as_str() {
            ":method" => Some(request.method()),
            ":authority" | "host" => Some(request.authority()),
            ":scheme" => Some(request.scheme()),
            ":path" => Some(request.path_and_query()),
            _ => None,
        };
        let holds = match (pseudo, &self.value) {
            (Some(_), None) => true,
            (Some(text), Some(value)) => value.matches(text),
            (None, value) => self.header_matches(value.as_ref(), request),
        };
        holds != self.invert
    }

    /// Of a header that is repeated, each value is judged by itself, as Envoy does since 1.39.
    fn header_matches(&self, value: Option<&Text>, request: &impl RequestView) -> bool {
        let mut count = 0;
        request.header(&self.name, &mut |_| count += 1);
        let Some(value) = value else { return count > 0 };
        if count == 0 {
            // Istio sets `treat_missing_header_as_empty` on inverted conditions only.
            return self.invert && value.matches("");
        }
        let mut holds = false;
        request.header(&self.name, &mut |text| holds |= value.matches(text));
        holds
    }
}

/// A condition on one query parameter, ready to run.
#[derive(Clone, Debug)]
struct Query {
    name: String,
    value: Option<Text>,
}

impl Query {
    fn new(condition: &QueryMatch) -> Result<Self, String> {
        let value = condition
            .value
            .as_ref()
            .map(|value| Text::new(value, false))
            .transpose();
        Ok(Self {
            name: condition.name.clone(),
            value: value.map_err(|error| format!("query parameter {:?}: {error}", condition.name))?,
        })
    }

    fn matches(&self, query: &str) -> bool {
        let first = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(name, _)| *name == self.name);
        match (first, &self.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some((_, text)), Some(value)) => value.matches(text),
        }
    }
}

/// All conditions of a route, ready to run.
#[derive(Clone, Debug)]
pub struct Conditions {
    path: Option<Text>,
    headers: Vec<Header>,
    query: Vec<Query>,
}

impl Conditions {
    /// Compiles conditions.
    ///
    /// # Errors
    /// The condition that cannot be compiled, and why.
    pub fn new(matches: &RouteMatch) -> Result<Self, String> {
        let path = matches
            .path
            .as_ref()
            .map(|path| Text::new(path, matches.ignore_path_case))
            .transpose();
        Ok(Self {
            path: path.map_err(|error| format!("path: {error}"))?,
            headers: matches
                .headers
                .iter()
                .map(Header::new)
                .collect::<Result<_, _>>()?,
            query: matches.query.iter().map(Query::new).collect::<Result<_, _>>()?,
        })
    }

    /// Whether all of them hold.
    pub fn match_request(&self, request: &impl RequestView) -> bool {
        let (path, query) = split_path(request.path_and_query());
        self.path.as_ref().is_none_or(|condition| condition.matches(path))
            && self.headers.iter().all(|condition| condition.matches(request))
            && self.query.iter().all(|condition| condition.matches(query))
    }
}

/// The path, and the query without its question mark; a fragment (which no client should send) belongs to neither.
fn split_path(path_and_query: &str) -> (&str, &str) {
    let whole = path_and_query
        .split_once('#')
        .map_or(path_and_query, |(before, _)| before);
    whole.split_once('?').unwrap_or((whole, ""))
}
