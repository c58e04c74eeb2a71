//! From resources to what one proxy must do. Pure: no clock, no network, no state; the same input gives the same
//! output, which makes goldens, `analyze`, `explain` and caching trivial.
//!
//! | step | where |
//! | --- | --- |
//! | changes become the next [`Mesh`]; only indexes whose inputs changed are derived again | [`mesh`] |
//! | a proxy ([`Node`]) sees a [`Scope`] of it; the hash of the Scope is the cache key | [`scope`] |
//! | the Scope becomes a [`Snapshot`](snapshot::Snapshot) | [`snapshot()`], `sidecar/` |
//! | resource field → snapshot field, with Istio's defaults and precedence | `routes/`, one file per policy |
//! | what is wrong across objects | [`analyze`] |
//! | what would happen to a call | [`explain`] |

pub mod analyze;
pub mod authorization;
mod circuit_breaker;
mod connection_pool;
mod destination;
pub mod explain;
mod ext_authz;
mod headers;
pub mod jwt;
mod load_balancing;
mod locality;
pub mod mesh;
pub mod mtls;
pub mod node;
mod outlier_detection;
mod protocol;
mod proxy_protocol;
mod proxyless;
pub mod rate_limit;
mod retry;
mod routes;
pub mod scope;
mod sidecar;
mod timeout;
mod tls;
mod traffic_policy;
mod tunnel;
mod workload;

pub use analyze::{analyze, missing_subsets};
pub use explain::{Call, Outcome, explain};
pub use mesh::key_sets::{Demand, Fetched, KeySets, KeySource, key_sources, without_secrets};
pub use mesh::settings::MeshSettings;
pub use mesh::{Change, Mesh};
pub use node::{Node, Role};
pub use protocol::Protocol;
pub use scope::Scope;
pub use workload::workload_of;

/// The domain of the cluster. (A setting of the mesh, once there is a MeshConfig.)
pub const DOMAIN: &str = "cluster.local";

/// The namespace whose policies are for the whole mesh. (A setting of the mesh, once there is a MeshConfig.)
pub const ROOT_NAMESPACE: &str = "istio-system";

/// Everything that a proxy with this scope must do.
pub fn snapshot(scope: &Scope) -> snapshot::Snapshot {
    match scope.role {
        Role::Sidecar => sidecar::snapshot(scope),
        Role::Proxyless => proxyless::snapshot(scope),
    }
}
