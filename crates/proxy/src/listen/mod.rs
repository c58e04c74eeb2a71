//! From a socket to the chain that handles the connection.

pub(crate) mod accept;
pub(crate) mod bind;
pub(crate) mod client_hello;
pub(crate) mod doors;
pub(crate) mod inspect;
pub(crate) mod original_dst;
pub(crate) mod sniff;
