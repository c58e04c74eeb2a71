//! Who is asking: a proxy, as it introduces itself over xDS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use snapshot::Locality;

/// A proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub role: Role,
    pub namespace: String,
    pub pod_name: String,
    /// Labels of the pod, as the proxy says. The Mesh knows better when it has the pod.
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
    pub service_account: String,
    pub locality: Locality,
    /// Cluster id; `Kubernetes` unless set.
    pub cluster: String,
}

/// What a proxy is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Beside a workload, for all of its traffic.
    #[default]
    Sidecar,
    /// A gRPC client that routes its calls itself.
    Proxyless,
}

impl Node {
    /// Reads Istio's node id, `sidecar~10.0.0.1~pod.namespace~namespace.svc.cluster.local`.
    pub fn from_id(id: &str) -> Option<Self> {
        let mut parts = id.split('~');
        let role = match parts.next()? {
            "sidecar" => Role::Sidecar,
            _ => return None,
        };
        let address: IpAddr = parts.next()?.parse().ok()?;
        let (pod_name, namespace) = parts.next()?.rsplit_once('.')?;
        Some(Self {
            role,
            namespace: namespace.into(),
            pod_name: pod_name.into(),
            addresses: vec![address],
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_names_role_address_pod_and_namespace() {
        let node = Node::from_id("sidecar~10.0.0.1~web.v1-0.shop~shop.svc.cluster.local").unwrap();
        assert_eq!(
            (node.pod_name.as_str(), node.namespace.as_str()),
            ("web.v1-0", "shop")
        );
        assert_eq!(Node::from_id("router~10.0.0.1~a.b~b.svc"), None);
        assert_eq!(Node::from_id("sidecar~nowhere~a.b~b.svc"), None);
    }
}
