//! What rules may know of one request or connection.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::{JWT_METADATA, JWT_PAYLOAD};
use crate::route::RequestView;

/// Who asks for what. Borrowed: a judgement owns nothing.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The request; `None` for a connection.
    pub request: Option<RequestFacts<'a>>,
    /// The name in the certificate that the peer has shown; `None` on plain text.
    pub identity: Option<&'a str>,
    /// Who opened the connection.
    pub peer: IpAddr,
    /// The client, as proxies before say; the peer where nobody says anything.
    pub client: IpAddr,
    /// Where the connection was going.
    pub destination: SocketAddr,
    /// The server name of the client's TLS; empty without one.
    pub server_name: &'a str,
    /// The content of the token that was verified.
    pub claims: Option<&'a Value>,
    /// What other filters found out.
    pub findings: Option<&'a dyn Findings>,
}

/// What filters before left about a request or a connection. Envoy: dynamic metadata.
pub trait Findings: fmt::Debug {
    /// One fact of a filter, by names from the outside in.
    fn find(&self, filter: &str, path: &[String]) -> Option<Cow<'_, Value>>;
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The request.
    view: &'a dyn RequestView,
    /// Its path, without query and fragment.
    path: &'a str,
}

impl<'a> RequestFacts<'a> {
    /// The facts of a request whose path is in its final form.
    pub fn new(view: &'a dyn RequestView) -> Self {
        let whole = view.path_and_query();
        let end = whole.find(['?', '#']).unwrap_or(whole.len());
        Self {
            view,
            path: &whole[..end],
        }
    }

    /// The path, without query and fragment.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The host that was asked, port included if sent.
    pub fn authority(&self) -> &'a str {
        self.view.authority()
    }

    /// Calls `each` with every value of a header; pseudo headers have one. `Host` is another name of the authority.
    pub fn header(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            ":method" => each(self.view.method()),
            ":authority" | "host" => each(self.view.authority()),
            ":scheme" => each(self.view.scheme()),
            ":path" => each(self.view.path_and_query()),
            _ => self.view.header(name, each),
        }
    }
}

impl fmt::Debug for RequestFacts<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} {}{}",
            self.view.method(),
            self.view.authority(),
            self.view.path_and_query()
        )
    }
}

impl<'a> Subject<'a> {
    /// What a filter found out; `None` where it found nothing.
    pub(super) fn metadata(&self, filter: &str, path: &[String]) -> Option<Cow<'a, Value>> {
        let (first, rest) = path.split_first()?;
        let claims = self
            .claims
            .filter(|_| filter == JWT_METADATA && first == JWT_PAYLOAD);
        let Some(claims) = claims else {
            return self.findings?.find(filter, path);
        };
        rest.iter()
            .try_fold(claims, |value, name| value.get(name.as_str()))
            .map(Cow::Borrowed)
    }
}
