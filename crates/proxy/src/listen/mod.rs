//! From a socket to the chain that serves a connection. Repeated once per connection.
//!
//! `accept` takes connections, `original_dst` says where each was going, `sniff` what it speaks, and `chain` which
//! chain that makes. `exemption` checks at the start that the proxy does not capture itself.

pub(crate) mod accept;
pub(crate) mod chain;
pub(crate) mod exemption;
pub(crate) mod original_dst;
pub(crate) mod sniff;

use snapshot::Listener;

use crate::transport::Transport;
use chain::{Chosen, Listeners};
use sniff::Detected;

/// Chooses the chain of one accepted connection; looks at its first bytes only where a chain asks for them.
/// `None` is: close it.
pub(crate) async fn choose(
    transport: &mut Transport,
    listeners: &Listeners,
    captured_by: &std::sync::Arc<Listener>,
    destination: std::net::SocketAddr,
) -> Option<Chosen> {
    let listener = listeners.select(captured_by, destination);
    let port = destination.port();
    let detected = if chain::needs_detection(&listener, port) {
        sniff::detect(transport, sniff::PATIENCE).await
    } else {
        Detected::NotAsked
    };
    chain::choose(listener, port, detected)
}
