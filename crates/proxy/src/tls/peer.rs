//! Who the peer of a connection is, as its certificate says. Nobody on plain text, and nobody whose certificate was not
//! verified.

use std::sync::Arc;

use crate::http::connection::Connection;
use crate::transport::Transport;

/// The holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The name in the certificate: `spiffe://cluster.local/ns/shop/sa/web`.
    pub(crate) uri: String,
}

/// The peer of a connection for requests.
pub(crate) fn peer_identity(connection: &Connection) -> Option<&Peer> {
    connection.peer.as_deref()
}

/// The peer behind a transport. Certificates of clients are not read yet.
pub(crate) fn of(_transport: &Transport) -> Option<Arc<Peer>> {
    None
}
