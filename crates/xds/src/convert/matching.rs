//! Conditions on text ⇄ `type.matcher.v3.StringMatcher`, and on a request ⇄ `config.route.v3.RouteMatch`.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use pb::header_matcher::HeaderMatchSpecifier;
use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
use pb::route_match::PathSpecifier;
use snapshot::RouteMatch;
use snapshot::route::{HeaderMatch, QueryMatch, StringMatch};

use super::proto::{is, no, refuse};
use crate::rejected::Reason;

/// Envoy's way to take every path.
const ANY_PATH: &str = "/";
/// What the content type of a gRPC call looks like.
const GRPC: &str = r"application/grpc(\+.*)?";

pub(super) fn to_proto(matches: &RouteMatch) -> pb::RouteMatch {
    let path = match &matches.path {
        None => PathSpecifier::Prefix(ANY_PATH.into()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(StringMatch::Regex(regex)) => PathSpecifier::SafeRegex(regex_to_proto(regex)),
    };
    pb::RouteMatch {
        path_specifier: Some(path),
        case_sensitive: if matches.ignore_path_case { no() } else { None },
        headers: matches.headers.iter().map(header_to_proto).collect(),
        query_parameters: matches.query.iter().map(query_to_proto).collect(),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: pb::RouteMatch) -> Result<RouteMatch, Reason> {
    refuse!(
        message,
        "RouteMatch",
        [
            runtime_fraction,
            cookies,
            tls_context,
            dynamic_metadata,
            filter_state
        ]
    );
    let path = match message.path_specifier {
        None => return Err(Reason::missing("RouteMatch.path_specifier")),
        Some(PathSpecifier::Prefix(prefix)) if prefix == ANY_PATH || prefix.is_empty() => None,
        Some(PathSpecifier::Prefix(prefix)) => Some(StringMatch::Prefix(prefix)),
        Some(PathSpecifier::Path(path)) => Some(StringMatch::Exact(path)),
        Some(PathSpecifier::SafeRegex(regex)) => Some(regex_from_proto(regex, "RouteMatch.safe_regex")?),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            Some(StringMatch::Regex(format!("{}(/.*)?", regex::escape(&prefix))))
        }
        Some(PathSpecifier::ConnectMatcher(_)) => {
            return Err(Reason::unsupported("RouteMatch.connect_matcher"));
        }
        Some(PathSpecifier::PathMatchPolicy(_)) => {
            return Err(Reason::unsupported("RouteMatch.path_match_policy"));
        }
    };
    let mut conditions: Vec<_> = message
        .headers
        .into_iter()
        .map(header_from_proto)
        .collect::<Result<_, _>>()?;
    if message.grpc.is_some() {
        conditions.push(HeaderMatch {
            name: "content-type".to_owned(),
            value: Some(StringMatch::Regex(GRPC.to_owned())),
            invert: false,
        });
    }
    Ok(RouteMatch {
        path,
        ignore_path_case: !is(message.case_sensitive, true),
        headers: conditions,
        query: message
            .query_parameters
            .into_iter()
            .map(query_from_proto)
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn header_to_proto(header: &HeaderMatch) -> pb::HeaderMatcher {
    let specifier = match &header.value {
        None => HeaderMatchSpecifier::PresentMatch(true),
        Some(value) => HeaderMatchSpecifier::StringMatch(text_to_proto(value)),
    };
    pb::HeaderMatcher {
        name: header.name.clone(),
        invert_match: header.invert,
        // Without it Envoy lets an absent header fail an inverted match; Istio's `withoutHeaders` passes it.
        treat_missing_header_as_empty: header.invert && header.value.is_some(),
        header_match_specifier: Some(specifier),
    }
}

fn header_from_proto(message: pb::HeaderMatcher) -> Result<HeaderMatch, Reason> {
    let field = |name: &str| Reason::unsupported(format!("HeaderMatcher.{name}"));
    let (value, inverted) = match message.header_match_specifier {
        None => (None, false),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => (None, !present),
        Some(HeaderMatchSpecifier::StringMatch(text)) => (Some(text_from_proto(text)?), false),
        Some(HeaderMatchSpecifier::ExactMatch(text)) => (Some(StringMatch::Exact(text)), false),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => (Some(StringMatch::Prefix(text)), false),
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => (
            Some(regex_from_proto(regex, "HeaderMatcher.safe_regex_match")?),
            false,
        ),
        Some(HeaderMatchSpecifier::RangeMatch(_)) => return Err(field("range_match")),
        Some(HeaderMatchSpecifier::SuffixMatch(_)) => return Err(field("suffix_match")),
        Some(HeaderMatchSpecifier::ContainsMatch(_)) => return Err(field("contains_match")),
    };
    if value.is_some() && message.treat_missing_header_as_empty != message.invert_match {
        let problem = "is only supported together with invert_match";
        return Err(Reason::new(
            "HeaderMatcher.treat_missing_header_as_empty",
            problem,
        ));
    }
    Ok(HeaderMatch {
        name: message.name.to_ascii_lowercase(),
        value,
        invert: message.invert_match != inverted,
    })
}

fn query_to_proto(query: &QueryMatch) -> pb::QueryParameterMatcher {
    let specifier = match &query.value {
        None => QueryParameterMatchSpecifier::PresentMatch(true),
        Some(value) => QueryParameterMatchSpecifier::StringMatch(text_to_proto(value)),
    };
    pb::QueryParameterMatcher {
        name: query.name.clone(),
        query_parameter_match_specifier: Some(specifier),
    }
}

fn query_from_proto(message: pb::QueryParameterMatcher) -> Result<QueryMatch, Reason> {
    let value = match message.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => None,
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => Some(text_from_proto(text)?),
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(Reason::unsupported("QueryParameterMatcher.present_match false"));
        }
    };
    Ok(QueryMatch {
        name: message.name,
        value,
    })
}

pub(super) fn text_to_proto(value: &StringMatch) -> StringMatcher {
    let pattern = match value {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(regex) => MatchPattern::SafeRegex(regex_to_proto(regex)),
    };
    StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: false,
    }
}

pub(super) fn text_from_proto(message: StringMatcher) -> Result<StringMatch, Reason> {
    refuse!(message, "StringMatcher", [ignore_case]);
    match message.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(StringMatch::Exact(text)),
        Some(MatchPattern::Prefix(text)) => Ok(StringMatch::Prefix(text)),
        Some(MatchPattern::SafeRegex(regex)) => regex_from_proto(regex, "StringMatcher.safe_regex"),
        Some(MatchPattern::Suffix(_)) => Err(Reason::unsupported("StringMatcher.suffix")),
        Some(MatchPattern::Contains(_)) => Err(Reason::unsupported("StringMatcher.contains")),
        Some(MatchPattern::Custom(_)) => Err(Reason::unsupported("StringMatcher.custom")),
        None => Err(Reason::missing("StringMatcher.match_pattern")),
    }
}

fn regex_to_proto(regex: &str) -> RegexMatcher {
    RegexMatcher {
        regex: regex.to_owned(),
        engine_type: None,
    }
}

/// Compiled once here, so that a bad pattern is refused by name and the proxy never meets one.
fn regex_from_proto(message: RegexMatcher, field: &str) -> Result<StringMatch, Reason> {
    match snapshot::route::compile_regex(&message.regex) {
        Ok(_) => Ok(StringMatch::Regex(message.regex)),
        Err(problem) => Err(Reason::new(field, problem)),
    }
}
