//! What limits may know of a caller, besides the head of its request.

use std::net::IpAddr;

use snapshot::rate_limit::CallerView;

use crate::http::exchange::Exchange;
use crate::tls::peer::peer_identity;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    address: IpAddr,
    /// Claims of a verified token.
    claims: Option<&'a serde_json::Value>,
    peer: Option<&'a str>,
}

impl<'a> Caller<'a> {
    /// The caller of an exchange, as far as it has shown a token and a certificate.
    pub(super) fn of(exchange: &'a Exchange<'_>) -> Self {
        Self {
            address: exchange.connection.ends.peer.ip(),
            claims: exchange.claims.as_deref().map(|claims| &claims.payload),
            peer: peer_identity(exchange.connection).map(|peer| peer.uri.as_str()),
        }
    }

    #[cfg(test)]
    pub(super) fn from(address: IpAddr) -> Self {
        Self {
            address,
            claims: None,
            peer: None,
        }
    }
}

impl CallerView for Caller<'_> {
    fn claim(&self, name: &str) -> Option<&str> {
        self.claims?.get(name)?.as_str()
    }

    fn peer_identity(&self) -> Option<&str> {
        self.peer
    }

    fn source_address(&self) -> Option<IpAddr> {
        Some(self.address)
    }
}
