//! AuthorizationPolicy: who may do what with a workload.
//!
//! Reference: <https://istio.io/latest/docs/reference/config/security/authorization-policy/>.

mod attribute;
#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use attribute::Attribute;
pub use types::*;
