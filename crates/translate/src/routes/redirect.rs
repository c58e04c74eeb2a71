//! `http.redirect` → a redirect. Istio: `HTTPRedirect`.

use resources::istio::virtual_service::{DerivePort, HttpRedirect};
use snapshot::route::{PathRewrite, Redirect, RedirectPath};

/// Statuses that the data plane can redirect with.
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// The redirect on a listener of that port; `None` for a status that is none of a redirect.
pub(crate) fn redirect(stated: &HttpRedirect, listener_port: u16) -> Option<Redirect> {
    let status = match stated.redirect_code {
        0 => 301,
        code => u16::try_from(code).ok().filter(|code| STATUSES.contains(code))?,
    };
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let path = match (text(&stated.uri), text(&stated.prefix_rewrite)) {
        (Some(path), _) => Some(RedirectPath::Replace(path)),
        (None, Some(prefix)) => Some(RedirectPath::Rewrite(PathRewrite::Matched(prefix))),
        (None, None) => None,
    };
    Some(Redirect {
        status,
        scheme: text(&stated.scheme),
        host: text(&stated.authority),
        port: port(stated, listener_port),
        path,
        strip_query: false,
    })
}

/// The port to name. One that is the scheme's own is not named; a sidecar's listeners speak plain HTTP.
fn port(stated: &HttpRedirect, listener_port: u16) -> Option<u16> {
    let port = match (stated.port, stated.derive_port) {
        (Some(port), _) => u16::try_from(port).ok()?,
        (None, Some(DerivePort::FromRequestPort)) => listener_port,
        (None, Some(DerivePort::FromProtocolDefault) | None) => return None,
    };
    let default = if stated.scheme == "https" { 443 } else { 80 };
    Some(port).filter(|port| *port != default && *port != 0)
}
