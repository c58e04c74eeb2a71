//! Newtypes for names that would otherwise get mixed up; cheap to clone.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

name! {
    /// An upstream group: `outbound|<service port>|<subset>|<host>`, `inbound|<target port>||`,
    /// `PassthroughCluster`, `InboundPassthroughCluster` or `BlackHoleCluster`.
    ClusterName
}
name! {
    /// A listener: `virtualOutbound`, `virtualInbound`, `0.0.0.0_<port>` or `<address>_<port>`.
    ListenerName
}
name! {
    /// A route table: the port (`9090`) outbound, `inbound|<port>||` inbound.
    RouteTableName
}
name! {
    /// A fully qualified service host in lower case: `backend.shop.svc.cluster.local`.
    Host
}
name! {
    /// A Kubernetes namespace.
    Namespace
}

impl ClusterName {
    /// Where a sidecar sends what the mesh does not know: the original destination.
    pub const PASSTHROUGH: &str = "PassthroughCluster";
    /// Where a sidecar sends inbound traffic on ports that no Service declares.
    pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
    /// No endpoint, ever: the connection is closed.
    pub const BLACK_HOLE: &str = "BlackHoleCluster";

    /// `outbound|<port>|<subset>|<host>`; no subset is the empty string.
    pub fn outbound(port: u16, subset: &str, host: &Host) -> Self {
        format!("outbound|{port}|{subset}|{host}").into()
    }

    /// `inbound|<target port>||`.
    pub fn inbound(port: u16) -> Self {
        format!("inbound|{port}||").into()
    }

    /// The parts of an `outbound|…` or `inbound|…` name; `None` for the special clusters.
    pub fn parts(&self) -> Option<ClusterNameParts<'_>> {
        let mut fields = self.as_str().split('|');
        let direction = fields.next()?;
        let port = fields.next()?.parse().ok()?;
        let subset = fields.next()?;
        let host = fields.next()?;
        fields.next().is_none().then_some(ClusterNameParts {
            direction,
            port,
            subset,
            host,
        })
    }
}

/// What an Istio cluster name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterNameParts<'a> {
    /// `outbound` or `inbound`.
    pub direction: &'a str,
    /// Service port (outbound) or target port (inbound).
    pub port: u16,
    /// Empty when the cluster is the whole service.
    pub subset: &'a str,
    /// Empty for inbound clusters.
    pub host: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_name_gives_back_its_parts() {
        let host = Host::from("backend.shop.svc.cluster.local");
        let name = ClusterName::outbound(9090, "v0", &host);
        assert_eq!(name.as_str(), "outbound|9090|v0|backend.shop.svc.cluster.local");
        let parts = name.parts().unwrap();
        assert_eq!(
            (parts.direction, parts.port, parts.subset, parts.host),
            ("outbound", 9090, "v0", host.as_str())
        );
        assert_eq!(ClusterName::from(ClusterName::PASSTHROUGH).parts(), None);
    }
}
