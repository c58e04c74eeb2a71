//! Rewrites of path and authority ⇄ fields of `config.route.v3.RouteAction`.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};
use pb::route_action::HostRewriteSpecifier;
use pb::weighted_cluster::cluster_weight::HostRewriteSpecifier as TargetHostRewrite;
use snapshot::Action;
use snapshot::route::{PathRewrite, RedirectPath};

use crate::rejected::Reason;

/// Writes a rewrite of the path into its two fields.
pub(super) fn path_to_proto(rewrite: Option<&PathRewrite>, action: &mut pb::RouteAction) {
    match rewrite {
        None => {}
        Some(PathRewrite::Matched(replacement)) => action.prefix_rewrite = replacement.clone(),
        Some(PathRewrite::Regex {
            pattern,
            substitution,
        }) => {
            action.regex_rewrite = Some(regex_to_proto(pattern, substitution));
        }
    }
}

/// A prefix of whole segments matches as an expression, but only the prefix is replaced.
pub(super) fn segments(prefix: &str, action: &mut Action) {
    let rewrite = match action {
        Action::Forward(forward) => forward.path_rewrite.as_mut(),
        Action::Redirect(redirect) => match &mut redirect.path {
            Some(RedirectPath::Rewrite(rewrite)) => Some(rewrite),
            Some(RedirectPath::Replace(_)) | None => None,
        },
        Action::Respond(_) => None,
    };
    if let Some(rewrite) = rewrite
        && let PathRewrite::Matched(replacement) = rewrite
    {
        *rewrite = PathRewrite::Regex {
            pattern: format!("^{}", regex::escape(prefix)),
            substitution: replacement.replace('\\', r"\\"),
        };
    }
}

pub(super) fn path_from_proto(
    prefix: String,
    regex: Option<RegexMatchAndSubstitute>,
) -> Result<Option<PathRewrite>, Reason> {
    match regex {
        Some(_) if !prefix.is_empty() => Err(Reason::new(
            "RouteAction.regex_rewrite",
            "excludes prefix_rewrite",
        )),
        Some(regex) => regex_from_proto(regex, "RouteAction.regex_rewrite").map(Some),
        None => Ok((!prefix.is_empty()).then_some(PathRewrite::Matched(prefix))),
    }
}

pub(super) fn regex_to_proto(pattern: &str, substitution: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex: pattern.to_owned(),
            ..Default::default()
        }),
        substitution: substitution.to_owned(),
    }
}

pub(super) fn regex_from_proto(message: RegexMatchAndSubstitute, field: &str) -> Result<PathRewrite, Reason> {
    let pattern = message
        .pattern
        .ok_or_else(|| Reason::missing(format!("{field}.pattern")))?;
    let rewrite = PathRewrite::Regex {
        pattern: pattern.regex,
        substitution: message.substitution,
    };
    match rewrite.problem() {
        None => Ok(rewrite),
        Some(problem) => Err(Reason::new(field, problem)),
    }
}

pub(super) fn authority_to_proto(authority: Option<&String>) -> Option<HostRewriteSpecifier> {
    authority.cloned().map(HostRewriteSpecifier::HostRewriteLiteral)
}

pub(super) fn authority_from_proto(
    specifier: Option<HostRewriteSpecifier>,
) -> Result<Option<String>, Reason> {
    match specifier {
        None => Ok(None),
        Some(HostRewriteSpecifier::HostRewriteLiteral(authority)) => Ok(Some(authority)),
        Some(_) => Err(Reason::unsupported(
            "RouteAction.host_rewrite_specifier that is not literal",
        )),
    }
}

pub(super) fn target_authority_to_proto(authority: Option<&String>) -> Option<TargetHostRewrite> {
    authority.cloned().map(TargetHostRewrite::HostRewriteLiteral)
}

pub(super) fn target_authority_from_proto(specifier: Option<TargetHostRewrite>) -> Option<String> {
    specifier.map(|TargetHostRewrite::HostRewriteLiteral(authority)| authority)
}
