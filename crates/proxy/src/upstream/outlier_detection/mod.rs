//! Sets failing endpoints aside for a while, as Envoy does with the detection by success rate off.
//!
//! Failures in a row are counted where they happen, by atomic counters that all workers share ([`Monitor`]): a proxy
//! has one opinion of an endpoint, whichever worker met it. The failure that completes a row is told to the
//! [`Keeper`], which alone decides, puts the next plan in force, and brings endpoints back. Requests wait for
//! neither.

mod keeper;
mod monitor;
#[cfg(test)]
mod tests;

pub(crate) use keeper::{Suspicion, keep};
pub(crate) use monitor::{Counters, Failure, Monitor, Outcome};
