//! The four kinds of resource that make a snapshot.

/// A kind of xDS resource. The order is the one in which additions are pushed (make before break).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Upstream groups (CDS).
    Cluster,
    /// Members of clusters (EDS).
    Endpoints,
    /// Listeners (LDS).
    Listener,
    /// Route tables (RDS).
    Routes,
}

impl Kind {
    /// All kinds, in the order in which additions are pushed.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];

    /// The order in which removals are pushed: whoever refers goes before what it refers to.
    pub const REMOVAL: [Self; 4] = [Self::Listener, Self::Routes, Self::Cluster, Self::Endpoints];

    /// Envoy's name of the type.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The kind that Envoy calls so.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The short name that people use: `CDS`, `EDS`, `LDS`, `RDS`.
    pub fn short(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoints => "EDS",
            Self::Listener => "LDS",
            Self::Routes => "RDS",
        }
    }

    /// Whether a client gets all of them without asking by name.
    pub fn wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// Where it stands in arrays indexed by kind.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Cluster => 0,
            Self::Endpoints => 1,
            Self::Listener => 2,
            Self::Routes => 3,
        }
    }
}
