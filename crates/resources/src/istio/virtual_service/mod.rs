//! VirtualService: which requests to a host go where.
//!
//! Reference: <https://istio.io/latest/docs/reference/config/networking/virtual-service/>.

#[cfg(test)]
mod tests;
mod types;
mod validate;
mod validate_http;

pub use types::*;
