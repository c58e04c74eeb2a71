//! What a connection to a member is opened for, beyond its address: the server name that a request asks for, and the
//! client that a PROXY protocol header names. Only requests that agree in it share connections.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use snapshot::Cluster;

use crate::listen::accept::Ends;

/// What a connection is opened for. Most clusters ask for nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Purpose {
    pub(crate) server_name: Option<Rc<str>>,
    /// Who connects, and where it was going.
    pub(crate) client: Option<(SocketAddr, SocketAddr)>,
}

impl Purpose {
    /// For a request with that authority.
    pub(crate) fn of_request(cluster: &Cluster, authority: &str, ends: Ends) -> Self {
        let named = cluster.tls.as_ref().is_some_and(|tls| tls.request_names_server);
        Self {
            server_name: named.then(|| host(authority).into()),
            ..Self::of_connection(cluster, ends)
        }
    }

    /// For opaque bytes.
    pub(crate) fn of_connection(cluster: &Cluster, ends: Ends) -> Self {
        Self {
            server_name: None,
            client: cluster.proxy_protocol.map(|_| (ends.peer, ends.destination)),
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Without port and brackets.
fn host(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if authority.parse::<IpAddr>().is_err() => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority_has_no_port() {
        for (authority, expected) in [
            ("a.example:443", "a.example"),
            ("a.example", "a.example"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[fd00::1]:80", "fd00::1"),
            ("fd00::1", "fd00::1"),
        ] {
            assert_eq!(host(authority), expected);
        }
    }
}
