//! Istio's own kinds: complete types, their CRDs, and what its validation webhook would say about one object.
//!
//! Field by field after the reference at <https://istio.io/latest/docs/reference/config/networking/>.

pub mod authorization_policy;
pub mod crd;
pub mod destination_rule;
mod duration;
mod names;
pub mod peer_authentication;
pub mod policy_target;
pub(crate) mod report;
pub mod request_authentication;
mod schema;
mod string_match;
pub(crate) mod structural;
pub mod virtual_service;

pub use duration::Duration;
pub use names::{ALL_GATEWAYS_MESH, has_wildcard, host_covers, resolve_host};
pub use policy_target::PolicyTargetReference;
pub use schema::{Destination, Percent, PortSelector, WorkloadSelector};
pub use string_match::{Condition, StringMatch};
