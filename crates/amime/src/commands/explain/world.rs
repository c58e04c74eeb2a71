//! Who is who in the objects: pods by name and address, services by the names that clients call them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use resources::kubernetes::Pod;
use resources::{Key, Kind, Resource};
use snapshot::Snapshot;
use translate::mesh::services::Service;
use translate::{DOMAIN, Mesh, Node, Scope};

use super::problem::Problem;
use super::question::PodName;

/// The container that makes a pod one of the mesh.
const PROXY: &str = "istio-proxy";
/// An address that is not known.
pub(super) const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A pod whose proxy is asked.
pub(super) struct Place<'m> {
    pub(super) name: PodName,
    pub(super) pod: &'m Pod,
    pub(super) node: Node,
    pub(super) scope: Arc<Scope>,
    pub(super) snapshot: Snapshot,
}

impl<'m> Place<'m> {
    pub(super) fn find(mesh: &'m Mesh, name: &PodName) -> Result<Self, Problem> {
        let key = Key::new(Kind::Pod, &name.namespace, &name.name);
        match mesh.get(&key) {
            Some(Resource::Pod(pod)) => Ok(Self::of(mesh, pod)),
            _ => Err(Problem::NoPod {
                namespace: name.namespace.clone(),
                name: name.name.clone(),
            }),
        }
    }

    pub(super) fn of(mesh: &Mesh, pod: &'m Pod) -> Self {
        let node = Node {
            namespace: pod.metadata.namespace.clone(),
            pod_name: pod.metadata.name.clone(),
            ..Node::default()
        };
        let scope = Scope::of(mesh, &node);
        Self {
            name: PodName {
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone(),
            },
            pod,
            snapshot: translate::snapshot(&scope),
            node,
            scope,
        }
    }

    /// Its address, as far as it is known.
    pub(super) fn address(&self) -> IpAddr {
        address_of(self.pod).unwrap_or(ANY)
    }

    /// The name in its certificate.
    pub(super) fn identity(&self, mesh: &Mesh) -> String {
        let account = match self.pod.spec.service_account_name.as_str() {
            "" => "default",
            account => account,
        };
        identity(mesh, &self.name.namespace, account)
    }

    /// Whether it is a pod of the mesh, by its containers or by what the injector leaves on it.
    pub(super) fn has_proxy(&self) -> bool {
        let (meta, spec) = (&self.pod.metadata, &self.pod.spec);
        let mut containers = spec.containers.iter().chain(&spec.init_containers);
        containers.any(|container| container.name == PROXY)
            || meta.labels.contains_key("security.istio.io/tlsMode")
            || meta.annotations.contains_key("sidecar.istio.io/status")
    }
}

/// The identity of a service account.
pub(super) fn identity(mesh: &Mesh, namespace: &str, account: &str) -> String {
    let domain = mesh.settings().trust_domain();
    format!("spiffe://{domain}/ns/{namespace}/sa/{account}")
}

fn address_of(pod: &Pod) -> Option<IpAddr> {
    pod.status.pod_ip.parse().ok()
}

/// The pod with that address. Those of the host's network share theirs, and those that have ended had it.
pub(super) fn pod_at(mesh: &Mesh, address: IpAddr) -> Option<&Pod> {
    let ended = |pod: &Pod| ["Succeeded", "Failed"].contains(&pod.status.phase.as_str());
    let mut pods = mesh.resources().filter_map(|resource| match resource {
        Resource::Pod(pod) if !pod.spec.host_network && !ended(pod) => Some(&**pod),
        _ => None,
    });
    pods.find(|pod| address_of(pod) == Some(address))
}

/// The service that a client in that namespace reaches by that name, or by its address.
pub(super) fn service<'m>(mesh: &'m Mesh, host: &str, namespace: &str) -> Option<&'m Arc<Service>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        let mut all = mesh.services().iter();
        return all.find(|service| service.addresses.contains(&address));
    }
    let full = match host.split('.').collect::<Vec<_>>()[..] {
        [name] => format!("{name}.{namespace}.svc.{DOMAIN}"),
        [name, namespace] | [name, namespace, "svc"] => format!("{name}.{namespace}.svc.{DOMAIN}"),
        _ => host.to_owned(),
    };
    mesh.services().get(&full)
}

/// Pods behind a service, those that are ready first.
pub(super) fn members<'m>(mesh: &'m Mesh, service: &Service) -> Vec<&'m Pod> {
    let slices = mesh.resources().filter_map(|resource| match resource {
        Resource::EndpointSlice(slice) => Some(slice),
        _ => None,
    });
    let own = slices.filter(|slice| {
        let meta = &slice.metadata;
        meta.namespace == service.namespace
            && meta.labels.get("kubernetes.io/service-name") == Some(&service.name)
    });
    let mut endpoints: Vec<_> = own.flat_map(|slice| &slice.endpoints).collect();
    endpoints.sort_by_key(|endpoint| endpoint.conditions.ready == Some(false));
    let addresses = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let addresses = addresses.filter_map(|address| address.parse().ok());
    addresses.filter_map(|address| pod_at(mesh, address)).collect()
}
