//! The part of the Mesh that one class of proxies may see, with everything already looked up that depends on who asks.
//!
//! Two proxies with equal hash get the same Snapshot; the hash is the key of the cache. So labels count only when a
//! rule asks for them, and addresses of the proxy do not count at all: replicas of a Deployment share one Scope.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use resources::kubernetes::{Pod, TargetPort};
use resources::{AuthorizationPolicy, RateLimit, RequestAuthentication};
use snapshot::cluster::ServiceRef;
use snapshot::{Host, Locality};

use crate::ext_authz::{self, Providers};
use crate::locality::Setting;
use crate::mesh::endpoints::{Members, place_of, with_place};
use crate::mesh::key_sets::{KeySets, KeySource};
use crate::mesh::oldest_first::Indexed;
use crate::mesh::peer_authentications::{Modes, Mutual};
use crate::mesh::policies::{Client, Policy};
use crate::mesh::rate_limits::Applied;
use crate::mesh::routes::IndexedRoutes;
use crate::mesh::selection::Subject;
use crate::mesh::services::{Service, ServicePort};
use crate::mesh::settings::MeshSettings;
use crate::traffic_policy::Effective;
use crate::{Mesh, Node, Protocol, Role};

/// What one class of proxies may see.
#[derive(Debug)]
pub struct Scope {
    pub(crate) role: Role,
    pub(crate) namespace: String,
    /// Labels of the workload that rules ask for.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where the workload is, if that makes a difference.
    pub(crate) locality: Locality,
    /// Visible services, oldest first.
    pub(crate) services: Vec<VisibleService>,
    /// Positions in `services`.
    by_host: BTreeMap<Host, usize>,
    /// Visible VirtualServices that sidecars apply, oldest first.
    pub(crate) routes: Vec<Arc<IndexedRoutes>>,
    /// Ports of this workload that services declare.
    pub(crate) inbound: Vec<InboundPort>,
    /// Policies of the services of this workload, by host, as the workload's own proxy applies them.
    pub(crate) inbound_policies: BTreeMap<String, Arc<Policy>>,
    /// Which connections this workload takes.
    pub(crate) modes: Modes,
    /// Who may do what with this workload.
    pub(crate) authorization: Vec<Indexed<AuthorizationPolicy>>,
    /// Tokens that the workload accepts, in the order of the policies.
    pub(crate) request_authentications: Vec<Indexed<RequestAuthentication>>,
    pub(crate) key_sets: Arc<KeySets>,
    /// Limits on requests to this workload, oldest first.
    pub(crate) rate_limits: Vec<Applied>,
    /// Names and numbers of the workload's ports that services stand for, by their hosts; where limits ask for them.
    pub(crate) targets: Targets,
    pub(crate) settings: Arc<MeshSettings>,
    /// Services that policies may ask, wherever they can be seen from.
    pub(crate) providers: Providers,
    /// Those of them that are not among [`Scope::services`].
    pub(crate) unseen: Vec<VisibleService>,
    settings_revision: u64,
    hash: u64,
}

/// Names and numbers of a workload's ports, by the hosts of services.
pub(crate) type Targets = BTreeMap<String, Vec<(String, u16)>>;

/// A service with what this proxy applies to it.
#[derive(Debug)]
pub(crate) struct VisibleService {
    pub(crate) service: Arc<Service>,
    pub(crate) members: Option<Arc<Members>>,
    pub(crate) policy: Option<Arc<Policy>>,
    /// The VirtualService with the most specific host.
    pub(crate) routes: Option<Arc<IndexedRoutes>>,
    /// What its namespace takes.
    pub(crate) mutual: Mutual,
}

/// A port that this workload serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InboundPort {
    pub(crate) target: u16,
    pub(crate) service_port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) service: ServiceRef,
}

impl Scope {
    /// What that proxy may see of the mesh.
    pub fn of(mesh: &Mesh, node: &Node) -> Arc<Self> {
        let pod = mesh.pod(&node.namespace, &node.pod_name);
        // The API's word on labels counts; the proxy's own is for workloads that the API does not know.
        let labels = pod.map_or(&node.labels, |pod| &pod.metadata.labels);
        let client = Client {
            namespace: &node.namespace,
            labels,
        };
        let routes: Vec<_> = mesh.routes.for_sidecars(&node.namespace).cloned().collect();
        let by_host = RoutesByHost::of(&routes);
        let visible = mesh
            .services
            .iter()
            .filter(|service| service.visibility.includes(&node.namespace));
        let services: Vec<_> = visible
            .map(|service| VisibleService {
                members: mesh.endpoints.get(&service.host).cloned(),
                policy: mesh.policies.find(client, service).cloned(),
                routes: by_host.find(service.host.as_str()).cloned(),
                mutual: mesh.peer_authentications.of_namespace(&service.namespace),
                service: service.clone(),
            })
            .collect();
        let place = Place::of(mesh, node, pod.map(Arc::as_ref), labels);
        let mut asked = mesh.policies.asked_labels(&node.namespace);
        let (relative, nearness) = asked_of_place(&services);
        asked.extend(nearness);
        asked.extend(
            routes
                .iter()
                .flat_map(|routes| routes.asked_labels.iter().cloned()),
        );
        let inbound = inbound_ports(mesh, &node.namespace, labels, pod.map(Arc::as_ref));
        let workload = Subject {
            namespace: &node.namespace,
            labels,
        };
        let rate_limits = match node.role {
            Role::Sidecar => mesh.rate_limits.of_workload(&mesh.services, workload),
            Role::Proxyless => Vec::new(),
        };
        let mut scope = Self {
            inbound_policies: inbound_policies(mesh, &node.namespace, &inbound),
            modes: mesh.peer_authentications.of(workload),
            authorization: mesh.authorization_policies.of(workload).cloned().collect(),
            targets: targets(mesh, &rate_limits, pod.map(Arc::as_ref)),
            rate_limits,
            role: node.role,
            namespace: node.namespace.clone(),
            labels: asked_only(&place.labels, &asked),
            locality: if relative {
                place.locality
            } else {
                Locality::default()
            },
            by_host: services
                .iter()
                .enumerate()
                .map(|(at, seen)| (seen.service.host.clone(), at))
                .collect(),
            inbound,
            unseen: unseen(mesh, client, &services),
            providers: Providers::of(&mesh.services, &mesh.settings.extension_providers),
            services,
            routes,
            request_authentications: mesh.request_authentications.of(workload).cloned().collect(),
            key_sets: mesh.key_sets.clone(),
            settings: mesh.settings.clone(),
            settings_revision: mesh.settings_revision,
            hash: 0,
        };
        scope.hash = scope.fingerprint();
        Arc::new(scope)
    }

    /// Equal for proxies that get the same Snapshot from meshes of one lineage.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Ports of the workload that services declare: the host of the service, its port, and the workload's own.
    pub fn ports(&self) -> impl Iterator<Item = (&str, u16, u16)> {
        let ports = self.inbound.iter();
        ports.map(|port| (port.service.host.as_str(), port.service_port, port.target))
    }

    /// Who may do what with the workload.
    pub fn authorization_policies(&self) -> impl Iterator<Item = &AuthorizationPolicy> {
        self.authorization.iter().map(|policy| &*policy.object)
    }

    /// Limits on requests to the workload, oldest first.
    pub fn rate_limits(&self) -> impl Iterator<Item = &RateLimit> {
        self.rate_limits.iter().map(|applied| &*applied.indexed.object)
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.settings_revision.hash(&mut hasher);
        (self.role, &self.namespace, &self.labels, &self.inbound).hash(&mut hasher);
        self.modes.hash(&mut hasher);
        for (host, policy) in &self.inbound_policies {
            (host, &policy.sources).hash(&mut hasher);
        }
        for policy in &self.authorization {
            let meta = &policy.object.metadata;
            (&meta.namespace, &meta.name, policy.revision).hash(&mut hasher);
        }
        self.hash_tokens(&mut hasher);
        for applied in &self.rate_limits {
            let meta = &applied.indexed.object.metadata;
            (&meta.namespace, &meta.name, applied.indexed.revision).hash(&mut hasher);
        }
        self.targets.hash(&mut hasher);
        self.locality.hash(&mut hasher);
        for target in self.providers.targets() {
            target.hash(&mut hasher);
        }
        for seen in self.services.iter().chain(&self.unseen) {
            seen.service.hash(&mut hasher);
            seen.mutual.hash(&mut hasher);
            seen.members
                .as_ref()
                .map(|members| members.fingerprint)
                .hash(&mut hasher);
            seen.policy
                .as_ref()
                .map(|policy| &policy.sources)
                .hash(&mut hasher);
        }
        for routes in &self.routes {
            (
                &routes.object.metadata.name,
                &routes.object.metadata.namespace,
                routes.revision,
                routes.delegated.as_ref().map(|delegated| &delegated.sources),
            )
                .hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Policies, and the keys that they ask for: each set once, however many rules name it.
    fn hash_tokens(&self, hasher: &mut DefaultHasher) {
        let mut sources = BTreeSet::new();
        for policy in &self.request_authentications {
            let meta = &policy.object.metadata;
            (&meta.namespace, &meta.name, policy.revision).hash(hasher);
            sources.extend(policy.object.spec.jwt_rules.iter().filter_map(KeySource::of));
        }
        for source in &sources {
            let keys = self.key_sets.get(source).map(|fetched| &fetched.keys);
            keys.hash(hasher);
        }
    }

    pub(crate) fn service(&self, host: &str) -> Option<&VisibleService> {
        self.by_host.get(host).map(|at| &self.services[*at])
    }
}

/// What providers need that nobody else in this namespace may call.
fn unseen(mesh: &Mesh, client: Client<'_>, services: &[VisibleService]) -> Vec<VisibleService> {
    let mut unseen: Vec<VisibleService> = Vec::new();
    for service in ext_authz::services_of(&mesh.services, &mesh.settings.extension_providers) {
        let mut known = services.iter().chain(&unseen);
        if !known.any(|seen| seen.service.host == service.host) {
            unseen.push(VisibleService {
                mutual: mesh.peer_authentications.of_namespace(&service.namespace),
                members: mesh.endpoints.get(&service.host).cloned(),
                policy: mesh.policies.find(client, service).cloned(),
                routes: None,
                service: service.clone(),
            });
        }
    }
    unseen
}

/// VirtualServices by host. Of several for one host the first, that is the oldest, counts.
struct RoutesByHost<'a> {
    exact: HashMap<&'a str, &'a Arc<IndexedRoutes>>,
    /// By what follows the star; longest first.
    wildcards: Vec<(&'a str, &'a Arc<IndexedRoutes>)>,
}

impl<'a> RoutesByHost<'a> {
    fn of(routes: &'a [Arc<IndexedRoutes>]) -> Self {
        let mut exact = HashMap::new();
        let mut wildcards = Vec::new();
        for routes in routes {
            for host in &routes.hosts {
                match host.strip_prefix('*') {
                    Some(suffix) => wildcards.push((suffix, routes)),
                    None => drop(exact.entry(host.as_str()).or_insert(routes)),
                }
            }
        }
        // Stable: of equally long ones the oldest stays first.
        wildcards.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Self { exact, wildcards }
    }

    /// Exact beats every wildcard, and a longer wildcard beats a shorter one.
    fn find(&self, host: &str) -> Option<&'a Arc<IndexedRoutes>> {
        let by_wildcard = || self.wildcards.iter().find(|(suffix, _)| host.ends_with(suffix));
        self.exact
            .get(host)
            .copied()
            .or_else(|| by_wildcard().map(|(_, routes)| *routes))
    }
}

/// Where a proxy is, and its labels with those that this gives it.
struct Place {
    locality: Locality,
    labels: BTreeMap<String, String>,
}

impl Place {
    /// The node of its pod says it; what the proxy says itself is for those that the API does not know.
    fn of(mesh: &Mesh, node: &Node, pod: Option<&Pod>, labels: &BTreeMap<String, String>) -> Self {
        let name = pod.map(|pod| pod.spec.node_name.as_str());
        let known = name.and_then(|name| mesh.node(name));
        let locality = place_of(pod, known, None);
        let locality = match locality == Locality::default() {
            true => node.locality.clone(),
            false => locality,
        };
        Self {
            labels: with_place(labels, &locality, name),
            locality,
        }
    }
}

/// Whether any cluster depends on where the proxy is, and the labels that tell how near endpoints are.
fn asked_of_place(services: &[VisibleService]) -> (bool, BTreeSet<String>) {
    let (mut relative, mut labels) = (false, BTreeSet::new());
    for seen in services {
        for port in &seen.service.ports {
            let subsets = seen.policy.iter().flat_map(|policy| &policy.subsets).map(Some);
            for subset in std::iter::once(None).chain(subsets) {
                let effective = Effective::of_service(seen.policy.as_deref(), subset, port.port);
                let Some(setting) = Setting::of(effective, seen.service.traffic_distribution) else {
                    continue;
                };
                relative |= setting.is_relative();
                labels.extend(setting.asked_labels().map(str::to_owned));
            }
        }
    }
    (relative, labels)
}

fn asked_only(labels: &BTreeMap<String, String>, asked: &BTreeSet<String>) -> BTreeMap<String, String> {
    let known = labels.iter().filter(|(name, _)| asked.contains(*name));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Ports that services declare for this workload; of several services for one port the oldest names it.
fn inbound_ports(
    mesh: &Mesh,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    pod: Option<&Pod>,
) -> Vec<InboundPort> {
    let mut ports: BTreeMap<u16, InboundPort> = BTreeMap::new();
    for service in mesh
        .services
        .iter()
        .filter(|service| service.selects(namespace, labels))
    {
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            let Some(target) = target_port(port, pod) else {
                continue;
            };
            ports.entry(target).or_insert_with(|| InboundPort {
                target,
                service_port: port.port,
                protocol: port.protocol,
                service: service.reference(),
            });
        }
    }
    ports.into_values().collect()
}

/// What services of a workload say to its own proxy. Rules that select clients are for clients only.
fn inbound_policies(mesh: &Mesh, namespace: &str, ports: &[InboundPort]) -> BTreeMap<String, Arc<Policy>> {
    let unlabelled = BTreeMap::new();
    let client = Client {
        namespace,
        labels: &unlabelled,
    };
    let hosts = ports.iter().map(|port| &port.service.host);
    hosts
        .filter_map(|host| {
            let policy = mesh.policies.find(client, mesh.services.get(host)?)?;
            Some((host.clone(), policy.clone()))
        })
        .collect()
}

/// Which ports of the workload the services stand for that limits are attached to.
fn targets(mesh: &Mesh, limits: &[Applied], pod: Option<&Pod>) -> Targets {
    let hosts = limits.iter().filter_map(|applied| applied.target.as_ref());
    hosts
        .filter_map(|target| {
            let service = mesh.services.get(&target.service)?;
            let ports = service.ports.iter();
            let ports = ports.filter_map(|port| Some((port.name.clone(), target_port(port, pod)?)));
            Some((target.service.clone(), ports.collect()))
        })
        .collect()
}

/// The number of the port in the pod; a name that no container has leads nowhere.
pub(crate) fn target_port(port: &ServicePort, pod: Option<&Pod>) -> Option<u16> {
    match &port.target {
        None => Some(port.port),
        Some(TargetPort::Number(0)) => Some(port.port),
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => {
            let spec = &pod?.spec;
            let containers = spec.containers.iter().chain(&spec.init_containers);
            let mut ports = containers.flat_map(|container| &container.ports);
            ports
                .find(|port| port.name == *name)
                .map(|port| port.container_port)
        }
    }
}
