//! Endpoints: the members of a cluster, by locality.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{ClusterName, Named};

/// All members of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The cluster they belong to.
    pub cluster: ClusterName,
    /// Grouped by place.
    #[serde(default)]
    pub localities: Vec<LocalityEndpoints>,
}

impl Named for Endpoints {
    fn name(&self) -> &str {
        self.cluster.as_str()
    }
}

impl Endpoints {
    /// All members, whatever their locality.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.localities.iter().flat_map(|group| &group.endpoints)
    }
}

/// Members in one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LocalityEndpoints {
    /// Where they are.
    #[serde(default)]
    pub locality: Locality,
    /// 0 is used first; higher numbers are failover.
    #[serde(default)]
    pub priority: u32,
    /// Share among localities of one priority.
    pub weight: u32,
    /// The members.
    pub endpoints: Vec<Endpoint>,
}

/// A place, from the node labels `topology.kubernetes.io/region` and `…/zone`; empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Locality {
    /// Region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Zone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Sub-zone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub_zone: String,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Share of requests relative to its neighbours; at least 1.
    pub weight: u32,
    /// Whether it may be picked.
    #[serde(default)]
    pub health: Health,
    /// Who it is, for metrics.
    #[serde(default, skip_serializing_if = "Workload::is_empty")]
    pub workload: Workload,
    /// It takes mutual TLS of the mesh: what [`crate::Cluster::auto_tls`] is for. Istio: `tlsMode: istio`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutual: bool,
}

impl Endpoint {
    /// A healthy member of which nothing else is known.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            weight: 1,
            health: Health::Healthy,
            workload: Workload::default(),
            mutual: false,
        }
    }
}

/// Whether an endpoint may be picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Yes.
    #[default]
    Healthy,
    /// Not for new requests; those in flight finish (a terminating pod).
    Draining,
    /// No.
    Unhealthy,
}

/// The workload behind an endpoint or proxy, as named in Istio's metrics. Unknown parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// `backend-0`, the owner of the pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `shop`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `service.istio.io/canonical-name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub canonical_name: String,
    /// `service.istio.io/canonical-revision`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub canonical_revision: String,
    /// Cluster id, `Kubernetes` unless set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
}

impl Workload {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
