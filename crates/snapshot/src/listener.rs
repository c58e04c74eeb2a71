//! Listeners: addresses that connections arrive at, with the chains that decide what happens to them.
//!
//! A sidecar binds two sockets only (15001 and 15006). The other listeners are virtual: a connection redirected
//! to 15001 is handed to the listener whose address equals its original destination, else to the wildcard
//! listener of that port, else it stays with `virtualOutbound` (Envoy: `use_original_dst`).

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{AccessLog, Chain, ListenerName, Named};

/// Which way traffic flows through a listener, as seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards the workload.
    Inbound,
    /// Away from the workload.
    Outbound,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Istio's name of it.
    pub name: ListenerName,
    /// Address to bind, or, for a virtual listener, the original destination that selects it
    /// (an unspecified IP selects by port alone).
    pub address: SocketAddr,
    /// Whether a socket is bound. Virtual listeners receive their connections from the one that captured them.
    pub bind: bool,
    /// Clients address this listener itself: what it accepts was going to its own address. `false` means that
    /// connections arrive captured, on their way to somewhere else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub direct: bool,
    /// Hand connections to the virtual listener of their original destination first.
    #[serde(default, skip_serializing_if = "is_false")]
    pub use_original_destination: bool,
    /// Inbound or outbound.
    pub direction: Direction,
    /// Look at the first bytes to tell HTTP/1 and HTTP/2 from other protocols, for chains that match on
    /// [`crate::ChainMatch::application_protocols`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub detect_http: bool,
    /// Read the ClientHello of connections that begin with TLS, for chains that match on
    /// [`crate::ChainMatch::server_names`] or [`crate::ChainMatch::transport_protocol`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub detect_tls: bool,
    /// Tried by specificity (see [`crate::chain_table`]), not by order.
    pub chains: Vec<Chain>,
    /// When no chain matches. Without one the connection is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_chain: Option<Chain>,
    /// Where connections are written down that no chain takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_log: Vec<Arc<AccessLog>>,
}

impl Listener {
    /// A virtual listener without chains.
    pub fn new(name: ListenerName, address: SocketAddr, direction: Direction) -> Self {
        Self {
            name,
            address,
            bind: false,
            direct: false,
            use_original_destination: false,
            direction,
            detect_http: false,
            detect_tls: false,
            chains: Vec::new(),
            default_chain: None,
            access_log: Vec::new(),
        }
    }
}

impl Named for Listener {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
