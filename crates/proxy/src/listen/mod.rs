//! From a socket to the chain that serves a connection. Repeated once per connection.

pub(crate) mod exemption;
