//! PeerAuthentication: whether a workload's proxy takes connections under mutual TLS, without it, or both.
//!
//! Reference: <https://istio.io/latest/docs/reference/config/security/peer_authentication/>.

#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use types::*;
