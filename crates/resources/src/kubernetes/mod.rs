//! Narrow views of Kubernetes objects: only the fields that the mesh reads, to save memory and pushes.

mod endpoint_slice;
mod namespace;
mod node;
mod pod;
mod service;

use serde::{Deserialize, Deserializer};

pub use endpoint_slice::{Conditions, Endpoint, EndpointPort, EndpointSlice, TargetReference};
pub use namespace::Namespace;
pub use node::Node;
pub use pod::{Container, ContainerPort, Pod, PodSpec, PodStatus};
pub use service::{Port, Service, ServiceSpec, TargetPort};

/// Go clients write `null` for empty lists and maps.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
