//! Index of endpoints: who stands behind a service, with labels, place and health.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use resources::kubernetes::{Conditions, Endpoint, EndpointSlice, Node, Pod};
use resources::{Kind, Resource};
use snapshot::endpoint::Workload;
use snapshot::{Health, Host, Locality};

use super::Mesh;
use super::peer_authentications::{Modes, Mutual};
use super::selection::Subject;
use super::services::service_host;
use crate::{locality, workload_of};

/// The label with the id of the cluster, and the id, unless it has another one.
const CLUSTER_LABEL: &str = "topology.istio.io/cluster";
const CLUSTER: &str = "Kubernetes";

/// Members by service.
#[derive(Debug, Default)]
pub struct EndpointIndex {
    by_service: BTreeMap<Host, Arc<Members>>,
}

/// Who stands behind one service.
#[derive(Debug, Default)]
pub struct Members {
    groups: Vec<Group>,
    /// Changes whenever anything in `groups` does.
    pub(crate) fingerprint: u64,
}

/// Nodes and pods, as EndpointSlices name them.
struct Known<'m> {
    mesh: &'m Mesh,
    nodes: BTreeMap<&'m str, &'m Node>,
    /// Namespace and address → the pod that has it for itself.
    pods: BTreeMap<(&'m str, IpAddr), &'m Pod>,
}

/// Members that share port numbers: one EndpointSlice.
#[derive(Debug, Hash)]
struct Group {
    /// Port name → number.
    ports: BTreeMap<String, u16>,
    members: Vec<Member>,
}

/// One address.
#[derive(Debug, Hash)]
pub struct Member {
    pub address: IpAddr,
    pub health: Health,
    pub labels: BTreeMap<String, String>,
    pub workload: Workload,
    pub locality: Locality,
    /// Whose identity it has; `None` for what is no pod.
    pub(crate) account: Option<Account>,
    /// What it takes; `None` for what has no proxy that speaks mutual TLS.
    pub(crate) modes: Option<Modes>,
}

/// The service account of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The label by which injected pods say that they speak mutual TLS, and what they say.
const TLS_MODE: (&str, &str) = ("security.istio.io/tlsMode", "istio");

impl Member {
    /// Whether it takes mutual TLS on that port.
    pub(crate) fn is_mutual(&self, port: u16) -> bool {
        let mode = self.modes.as_ref().map(|modes| modes.at(port).mode);
        mode.is_some_and(|mode| mode != Mutual::Disabled)
    }
}

impl EndpointIndex {
    pub(super) fn derive(mesh: &Mesh) -> Self {
        let known = Known::of(mesh);
        let mut groups: BTreeMap<Host, Vec<Group>> = BTreeMap::new();
        for stored in mesh.kind(Kind::EndpointSlice) {
            if let Resource::EndpointSlice(slice) = &stored.resource
                && let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name")
            {
                let host = service_host(service, &slice.metadata.namespace);
                groups.entry(host).or_default().push(Group::of(slice, &known));
            }
        }
        let by_service = groups.into_iter().map(|(host, groups)| {
            let mut hasher = DefaultHasher::new();
            groups.hash(&mut hasher);
            (
                host,
                Arc::new(Members {
                    groups,
                    fingerprint: hasher.finish(),
                }),
            )
        });
        Self {
            by_service: by_service.collect(),
        }
    }

    /// Who stands behind that host.
    pub fn get(&self, host: &Host) -> Option<&Arc<Members>> {
        self.by_service.get(host)
    }
}

impl Members {
    /// Members that serve the service port of that name, with the address that they serve it on.
    pub fn of_port<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (SocketAddr, &'a Member)> {
        self.groups.iter().flat_map(move |group| {
            let port = group.ports.get(name).copied();
            let address = move |member: &'a Member| Some((SocketAddr::new(member.address, port?), member));
            group.members.iter().filter_map(address)
        })
    }

    /// Whose identities they have.
    pub(crate) fn accounts(&self) -> BTreeSet<&Account> {
        let members = self.groups.iter().flat_map(|group| &group.members);
        members.filter_map(|member| member.account.as_ref()).collect()
    }
}

impl Account {
    fn of(pod: &Pod) -> Self {
        // Pods that come from files need not say what the API would add.
        let name = match pod.spec.service_account_name.as_str() {
            "" => "default",
            name => name,
        };
        Self {
            namespace: pod.metadata.namespace.clone(),
            name: name.to_owned(),
        }
    }
}

impl<'m> Known<'m> {
    fn of(mesh: &'m Mesh) -> Self {
        let nodes = mesh.kind(Kind::Node).filter_map(|stored| match &stored.resource {
            Resource::Node(node) => Some((node.metadata.name.as_str(), &**node)),
            _ => None,
        });
        let pods = mesh.kind(Kind::Pod).filter_map(|stored| match &stored.resource {
            Resource::Pod(pod) => Some(((pod.metadata.namespace.as_str(), own_address(pod)?), &**pod)),
            _ => None,
        });
        Self {
            mesh,
            nodes: nodes.collect(),
            pods: pods.collect(),
        }
    }

    /// The pod that an endpoint refers to.
    fn referred(&self, namespace: &str, name: &str) -> Option<&'m Pod> {
        self.mesh.pod(namespace, name).map(Arc::as_ref)
    }

    /// The pod of that namespace with that address.
    fn at(&self, namespace: &str, address: IpAddr) -> Option<&'m Pod> {
        self.pods.get(&(namespace, address)).copied()
    }
}

/// The address that leads to that pod alone. Pods of the host's network share theirs, and those that have ended had it.
fn own_address(pod: &Pod) -> Option<IpAddr> {
    let ended = ["Succeeded", "Failed"].contains(&pod.status.phase.as_str());
    if pod.spec.host_network || ended {
        return None;
    }
    pod.status.pod_ip.parse().ok()
}

/// Namespace and name of the pod that an endpoint of a slice in `namespace` says it is.
fn referred_pod<'e>(endpoint: &'e Endpoint, namespace: &'e str) -> Option<(&'e str, &'e str)> {
    let reference = endpoint.target_ref.as_ref()?;
    let stated = Some(reference.namespace.as_str()).filter(|stated| !stated.is_empty());
    (reference.kind == "Pod").then_some((stated.unwrap_or(namespace), reference.name.as_str()))
}

impl Group {
    fn of(slice: &EndpointSlice, known: &Known<'_>) -> Self {
        let namespace = slice.metadata.namespace.as_str();
        let tcp = slice
            .ports
            .iter()
            .filter(|port| ["", "TCP"].contains(&port.protocol.as_str()));
        let ports = tcp
            .filter_map(|port| Some((port.name.clone(), port.port?)))
            .collect();
        let members = slice.endpoints.iter().filter_map(|endpoint| {
            // Consumers read the first address only: the others name the same endpoint.
            let address = endpoint.addresses.first()?.parse().ok()?;
            let pod = match referred_pod(endpoint, namespace) {
                // What it takes is not known before its pod is: until then it is left out.
                Some((namespace, name)) => Some(known.referred(namespace, name)?),
                None => known.at(namespace, address),
            };
            let node = endpoint
                .node_name
                .as_deref()
                .or(pod.map(|pod| pod.spec.node_name.as_str()));
            let place = node.and_then(|node| known.nodes.get(node)).copied();
            let locality = place_of(pod, place, endpoint.zone.as_deref());
            let none = BTreeMap::new();
            let labels = pod.map_or(&none, |pod| &pod.metadata.labels);
            let workload = Subject {
                namespace: pod.map_or(namespace, |pod| pod.metadata.namespace.as_str()),
                labels,
            };
            let speaks = labels.get(TLS_MODE.0).is_some_and(|mode| mode == TLS_MODE.1);
            Some(Member {
                account: pod.map(Account::of),
                modes: speaks.then(|| known.mesh.peer_authentications.of(workload)),
                address,
                health: health(&endpoint.conditions)?,
                labels: with_place(labels, &locality, node),
                workload: pod.map(workload_of).unwrap_or_default(),
                locality,
            })
        });
        Self {
            ports,
            members: members.collect(),
        }
    }
}

/// One that terminates is left out, as in Istio: even counted among the unhealthy it would say that something is
/// wrong where nothing is.
fn health(conditions: &Conditions) -> Option<Health> {
    if conditions.ready.unwrap_or(true) {
        Some(Health::Healthy)
    } else if conditions.terminating.unwrap_or(true) {
        None
    } else {
        Some(Health::Unhealthy)
    }
}

/// The place of a pod: of its label `istio-locality` (`region.zone.subzone`), else of its node.
pub(crate) fn place_of(pod: Option<&Pod>, node: Option<&Node>, zone: Option<&str>) -> Locality {
    let said = pod.and_then(|pod| pod.metadata.labels.get("istio-locality"));
    if let Some(said) = said {
        let mut parts = said.split(['.', '/']).map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        return Locality {
            region: next(),
            zone: next(),
            sub_zone: next(),
        };
    }
    let label = |name: &str| node.and_then(|node| node.metadata.labels.get(name)).cloned();
    Locality {
        region: label(locality::REGION).unwrap_or_default(),
        zone: label(locality::ZONE)
            .or_else(|| zone.map(str::to_owned))
            .unwrap_or_default(),
        sub_zone: label(locality::SUB_ZONE).unwrap_or_default(),
    }
}

/// The labels of a pod, and those that its place gives it.
pub(crate) fn with_place(
    labels: &BTreeMap<String, String>,
    place: &Locality,
    node: Option<&str>,
) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    for (name, value) in [
        (locality::REGION, place.region.as_str()),
        (locality::ZONE, place.zone.as_str()),
        (locality::SUB_ZONE, place.sub_zone.as_str()),
        (CLUSTER_LABEL, CLUSTER),
        (locality::HOST_NAME, node.unwrap_or_default()),
    ] {
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    labels
}
