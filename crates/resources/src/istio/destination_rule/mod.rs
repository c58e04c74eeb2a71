//! DestinationRule: how traffic to a host is spread, limited and secured, once a route has chosen the host.
//!
//! Reference: <https://istio.io/latest/docs/reference/config/networking/destination-rule/>.

#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use types::*;
