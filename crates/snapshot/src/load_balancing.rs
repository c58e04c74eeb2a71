//! How one endpoint is picked. Istio: `LoadBalancerSettings`.

use serde::{Deserialize, Serialize};

/// The algorithm that picks an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancing {
    /// The better of two random endpoints by requests in flight; Istio's default.
    #[default]
    LeastRequest,
    /// Any endpoint with equal chance (or by weight).
    Random,
    /// One after the other (or by weight).
    RoundRobin,
}
