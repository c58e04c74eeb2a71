//! RateLimit: how many requests a service or a workload takes, from everybody together or from each caller.
//!
//! Attached as Gateway API attaches policies (GEP-713): by `targetRef`, or by `selector` as Istio's policies are.
//! Decision: docs/decisions/0022-rate-limit-shape.md.

#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use types::*;
