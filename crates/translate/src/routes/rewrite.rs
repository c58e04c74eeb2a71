//! `http.rewrite` → another path, another authority. Istio: `HTTPRewrite`.

use resources::istio::virtual_service::HttpRewrite;
use snapshot::route::PathRewrite;

pub(crate) fn path(rewrite: Option<&HttpRewrite>) -> Option<PathRewrite> {
    let rewrite = rewrite?;
    match &rewrite.uri_regex_rewrite {
        Some(regex) => Some(PathRewrite::Regex {
            pattern: regex.pattern.clone(),
            substitution: regex.rewrite.clone(),
        }),
        None => Some(rewrite.uri.clone())
            .filter(|uri| !uri.is_empty())
            .map(PathRewrite::Matched),
    }
}

pub(crate) fn authority(rewrite: Option<&HttpRewrite>) -> Option<String> {
    let authority = &rewrite?.authority;
    Some(authority.clone()).filter(|authority| !authority.is_empty())
}
