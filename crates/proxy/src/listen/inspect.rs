//! Looks at the first bytes of a connection, as far as the choice of its chain depends on them.
//!
//! A client that says nothing at all may wait for its server to begin: it is not waited for long (Istio's Envoy waits for
//! ever). Nothing is taken out of the stream: whoever serves the connection reads the same bytes again.

use std::time::Duration;

use daemon::clock;
use snapshot::TransportProtocol;
use snapshot::chain_table::{Arrival, Asked};

use super::accept::Ends;
use super::client_hello::{self, Begun, ClientHello};
use super::sniff::{self, PATIENCE, Protocol};
use crate::transport::Transport;

/// How long a ClientHello may take once it has begun.
const HELLO: Duration = Duration::from_secs(15);

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) hello: Option<ClientHello>,
    protocol: Option<Protocol>,
}

/// Finds out what is asked. `None` when the connection cannot be served.
pub(crate) async fn inspect(transport: &mut Transport, asked: Asked) -> Option<Found> {
    let mut found = Found::default();
    if asked.tls {
        // Where nothing but HTTP or TLS is served, no client waits for its server.
        let patience = if asked.server_first { PATIENCE } else { HELLO };
        match begun(transport, patience).await? {
            Some(Begun::Tls(hello)) => found.hello = Some(hello),
            Some(Begun::TooLong) => return None,
            Some(Begun::Other | Begun::Unfinished) => {}
            // Waiting once more for a protocol would only make the server's first words late.
            None => return Some(found),
        }
    }
    if asked.application_protocol && found.hello.is_none() {
        found.protocol = Some(sniff::sniff(transport).await?);
    }
    Some(found)
}

impl Found {
    /// Calls `choose` with all that is known.
    pub(crate) fn with_arrival<T>(&self, ends: Ends, choose: impl FnOnce(&Arrival<'_>) -> T) -> T {
        let detected = self.protocol.and_then(Protocol::name);
        let offered = self.hello.iter().flat_map(|hello| &hello.application_protocols);
        let protocols: Vec<&str> = detected.into_iter().chain(offered.map(String::as_str)).collect();
        choose(&Arrival {
            destination: ends.destination,
            server_name: self.hello.as_ref().map_or("", |hello| &hello.server_name),
            transport_protocol: match self.hello {
                Some(_) => TransportProtocol::Tls,
                None => TransportProtocol::RawBuffer,
            },
            application_protocols: &protocols,
        })
    }
}

/// How the connection begins; `Some(None)` when its client is silent, `None` when it has left without a word.
async fn begun(transport: &mut Transport, patience: Duration) -> Option<Option<Begun>> {
    if transport.read_ahead().is_empty() {
        match clock::timeout(patience, transport.read_more()).await {
            Ok(Ok(0) | Err(_)) => return None,
            Ok(Ok(_)) => {}
            Err(_) => return Some(None),
        }
    }
    let rest = clock::timeout(HELLO, finish(transport)).await;
    Some(Some(rest.unwrap_or(Begun::Other)))
}

/// The ClientHello of a connection that must begin with one. Whoever asks has a limit for the whole handshake.
pub(crate) async fn hello(transport: &mut Transport) -> Option<ClientHello> {
    match finish(transport).await {
        Begun::Tls(hello) => Some(hello),
        Begun::Other | Begun::Unfinished | Begun::TooLong => None,
    }
}

async fn finish(transport: &mut Transport) -> Begun {
    loop {
        match client_hello::read(transport.read_ahead()) {
            Begun::Unfinished => {}
            begun => return begun,
        }
        if !matches!(transport.read_more().await, Ok(read) if read > 0) {
            return Begun::Other;
        }
    }
}
