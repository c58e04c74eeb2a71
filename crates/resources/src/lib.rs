//! What users write: Kubernetes and Istio objects as types, read from YAML or from the API, and judged alone.
//!
//! Nothing here does IO or looks at two objects at once; that is `translate`. A bad object never hides a good
//! one: readers return what they understood together with the [`Problem`]s.
//!
//! Kubernetes types are narrow views with only the fields that the mesh reads. Istio types are complete, and
//! their CRDs are generated from them ([`crds`]).

pub mod istio;
pub mod key;
pub mod kind;
pub mod kubernetes;
pub mod meta;
pub mod policy;
pub mod problem;
pub mod resource;
pub mod yaml;

pub use istio::authorization_policy::AuthorizationPolicy;
pub use istio::crd::crds;
pub use istio::destination_rule::DestinationRule;
pub use istio::peer_authentication::PeerAuthentication;
pub use istio::request_authentication::RequestAuthentication;
pub use istio::virtual_service::VirtualService;
pub use key::Key;
pub use kind::Kind;
pub use meta::{Meta, OwnerReference};
pub use policy::rate_limit::RateLimit;
pub use problem::{Code, Level, Problem};
pub use resource::{Decoded, Resource};
