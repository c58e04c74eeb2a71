//! Redirects. Istio: `HTTPRedirect`; Envoy: `RedirectAction`.

use serde::{Deserialize, Serialize};

use super::{PathRewrite, RequestView};

/// An answer that sends the client elsewhere. What is not stated stays as it was requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Host, port included if it is not the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<RedirectPath>,
    /// The query of the request goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strip_query: bool,
}

/// A change of the path. The query stays, unless the new path has one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectPath {
    /// The whole path.
    Replace(String),
    /// A part of it.
    Rewrite(PathRewrite),
}

impl Redirect {
    /// The value of `location`. `rewritten` is the path after [`RedirectPath::Rewrite`], query included.
    pub fn location(&self, request: &impl RequestView, rewritten: &str) -> String {
        let scheme = self.scheme.as_deref().unwrap_or_else(|| request.scheme());
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let host = match &self.host {
            Some(host) => host,
            None => host_for(request, scheme, self.port),
        };
        let path = match &self.path {
            Some(RedirectPath::Replace(path)) if self.strip_query => path.clone(),
            Some(RedirectPath::Replace(path)) => with_query(path, request.path_and_query()),
            Some(RedirectPath::Rewrite(_)) | None => match rewritten.split_once('?') {
                Some((path, _)) if self.strip_query => path.to_owned(),
                _ => rewritten.to_owned(),
            },
        };
        format!("{scheme}://{host}{port}{path}")
    }
}

/// The host as requested; its port goes when another one comes, or when it was the default of a scheme that changes.
fn host_for<'a>(request: &'a impl RequestView, scheme: &str, port: Option<u16>) -> &'a str {
    let authority = request.authority();
    let host = super::host_without_port(authority);
    let default = match request.scheme() {
        "https" => ":443",
        _ => ":80",
    };
    let changes = scheme != request.scheme() && &authority[host.len()..] == default;
    if port.is_some() || changes {
        host
    } else {
        authority
    }
}

fn with_query(path: &str, requested: &str) -> String {
    match requested.find('?') {
        Some(query) if !path.contains('?') => format!("{path}{}", &requested[query..]),
        _ => path.to_owned(),
    }
}
