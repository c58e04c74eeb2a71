//! Redirects ⇄ `config.route.v3.RedirectAction`.

use envoy_types::pb::envoy::config::route::v3 as pb;
use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use snapshot::route::{PathRewrite, Redirect, RedirectPath};

use super::rewrite;
use crate::rejected::Reason;

const STATUSES: [(RedirectResponseCode, u16); 5] = [
    (RedirectResponseCode::MovedPermanently, 301),
    (RedirectResponseCode::Found, 302),
    (RedirectResponseCode::SeeOther, 303),
    (RedirectResponseCode::TemporaryRedirect, 307),
    (RedirectResponseCode::PermanentRedirect, 308),
];

pub(super) fn to_proto(redirect: &Redirect) -> pb::RedirectAction {
    let path = redirect.path.as_ref().map(|path| match path {
        RedirectPath::Replace(path) => PathRewriteSpecifier::PathRedirect(path.clone()),
        RedirectPath::Rewrite(PathRewrite::Matched(prefix)) => {
            PathRewriteSpecifier::PrefixRewrite(prefix.clone())
        }
        RedirectPath::Rewrite(PathRewrite::Regex {
            pattern,
            substitution,
        }) => PathRewriteSpecifier::RegexRewrite(rewrite::regex_to_proto(pattern, substitution)),
    });
    let status = STATUSES.iter().find(|(_, status)| *status == redirect.status);
    pb::RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.unwrap_or_default().into(),
        response_code: status
            .map_or(RedirectResponseCode::MovedPermanently, |(code, _)| *code)
            .into(),
        scheme_rewrite_specifier: redirect
            .scheme
            .clone()
            .map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        strip_query: redirect.strip_query,
    }
}

pub(super) fn from_proto(message: pb::RedirectAction) -> Result<Redirect, Reason> {
    let status = STATUSES
        .iter()
        .find(|(code, _)| i32::from(*code) == message.response_code);
    let port = u16::try_from(message.port_redirect)
        .map_err(|_| Reason::new("RedirectAction.port_redirect", "is no port"))?;
    let path = match message.path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(path)) => Some(RedirectPath::Replace(path)),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            Some(RedirectPath::Rewrite(PathRewrite::Matched(prefix)))
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => Some(RedirectPath::Rewrite(
            rewrite::regex_from_proto(regex, "RedirectAction.regex_rewrite")?,
        )),
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(Reason::unsupported("RedirectAction.path_rewrite"));
        }
    };
    Ok(Redirect {
        status: status
            .ok_or_else(|| Reason::unsupported("RedirectAction.response_code"))?
            .1,
        scheme: match message.scheme_rewrite_specifier {
            None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => None,
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme),
        },
        host: Some(message.host_redirect).filter(|host| !host.is_empty()),
        port: Some(port).filter(|port| *port != 0),
        path,
        strip_query: message.strip_query,
    })
}
