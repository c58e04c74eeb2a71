//! RequestAuthentication: which tokens workloads accept, where requests carry them, and what becomes of their claims.
//!
//! Reference: <https://istio.io/latest/docs/reference/config/security/request_authentication/>.

#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use types::*;
