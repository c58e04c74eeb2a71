//! Outbound clusters: one for each port of each service, one more for each subset, and the special ones.

use std::collections::BTreeMap;
use std::time::Duration;

use resources::istio::destination_rule::Subset;
use snapshot::cluster::UpstreamHttp;
use snapshot::{
    Cluster, ClusterName, Direction, Discovery, Endpoint, Endpoints, Health, Locality, LocalityEndpoints,
    Origin, Snapshot,
};

use crate::Protocol;
use crate::connection_pool;
use crate::load_balancing::{discovery, load_balancing, slow_start};
use crate::locality::{Group, Here, Setting};
use crate::mesh::services::{ServicePort, TrafficDistribution, contains_all};
use crate::mtls;
use crate::outlier_detection::{outlier_detection, panic_percent};
use crate::proxy_protocol::proxy_protocol;
use crate::scope::{Scope, VisibleService};
use crate::traffic_policy::Effective;

/// How long an idle connection to a place that nobody declared is kept.
const PASSTHROUGH_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// What a cluster stands for.
#[derive(Clone, Copy)]
struct One<'a> {
    seen: &'a VisibleService,
    port: &'a ServicePort,
    subset: Option<&'a Subset>,
}

pub(super) fn add(scope: &Scope, snapshot: &mut Snapshot) {
    add_services(scope, snapshot);
    snapshot.clusters.insert(special(
        scope,
        ClusterName::PASSTHROUGH,
        Discovery::OriginalDestination,
    ));
    snapshot
        .clusters
        .insert(special(scope, ClusterName::BLACK_HOLE, Discovery::Nobody));
}

/// The clusters of services and subsets, with their members.
pub(crate) fn add_services(scope: &Scope, snapshot: &mut Snapshot) {
    for seen in scope
        .services
        .iter()
        .chain(&scope.unseen)
        .filter(|seen| seen.service.external_name.is_none())
    {
        for port in seen
            .service
            .ports
            .iter()
            .filter(|port| port.protocol != Protocol::Udp)
        {
            let subsets = seen.policy.iter().flat_map(|policy| &policy.subsets).map(Some);
            for subset in std::iter::once(None).chain(subsets) {
                add_cluster(scope, One { seen, port, subset }, snapshot);
            }
        }
    }
}

fn add_cluster(scope: &Scope, one: One<'_>, snapshot: &mut Snapshot) {
    let One { seen, port, subset } = one;
    let name = ClusterName::outbound(
        port.port,
        subset.map_or("", |subset| &subset.name),
        &seen.service.host,
    );
    let effective = Effective::of_service(seen.policy.as_deref(), subset, port.port);
    let places = Setting::of(effective, seen.service.traffic_distribution);
    let detection = effective.outlier_detection;
    let mut cluster = Cluster {
        load_balancing: load_balancing(effective.load_balancer),
        slow_start: slow_start(effective.load_balancer),
        locality: places.as_ref().map(Setting::balancing).unwrap_or_default(),
        panic_percent: one.panic_percent(effective),
        outlier_detection: detection.map(outlier_detection),
        http: port.protocol.upstream_http(),
        connect_timeout: scope.settings.connect_timeout(),
        service: Some(seen.service.reference()),
        origin: origin(seen),
        proxy_protocol: proxy_protocol(effective.proxy_protocol),
        ..Cluster::new(
            name.clone(),
            discovery(effective.load_balancer, seen.service.is_headless),
        )
    };
    connection_pool::apply(&effective, Direction::Outbound, &mut cluster);
    connection_pool::complete(&effective, &scope.settings, &mut cluster);
    mtls::client::apply(scope, seen, port, effective.tls, &mut cluster);
    if cluster.discovery == Discovery::Endpoints {
        let groups = one.groups(&cluster);
        let here = Here {
            locality: &scope.locality,
            labels: &scope.labels,
        };
        let localities = match places {
            Some(places) => places.apply(here, groups),
            None => groups.into_iter().map(|group| group.facts).collect(),
        };
        snapshot.endpoints.insert(Endpoints {
            cluster: name,
            localities,
        });
    }
    snapshot.clusters.insert(cluster);
}

/// Members of a service's port, by place, for a cluster that has its own word on everything else. They are the same
/// for every proxy, wherever it is.
pub(crate) fn members(scope: &Scope, host: &str, port: u16, cluster: &Cluster) -> Vec<LocalityEndpoints> {
    let mut services = scope.services.iter().chain(&scope.unseen);
    let Some(seen) = services.find(|seen| seen.service.host.as_str() == host) else {
        return Vec::new();
    };
    let is_it = |known: &&ServicePort| known.port == port && known.protocol != Protocol::Udp;
    let Some(port) = seen.service.ports.iter().find(is_it) else {
        return Vec::new();
    };
    let subset = None;
    let groups = One { seen, port, subset }.groups(cluster);
    groups.into_iter().map(|group| group.facts).collect()
}

/// The oldest of the objects that made the policy.
fn origin(seen: &VisibleService) -> Option<Origin> {
    let (key, _) = seen.policy.as_ref()?.sources.first()?;
    Some(Origin {
        resource: key.path().into(),
        field: "".into(),
    })
}

/// An endpoint and the labels of its pod.
type Labelled<'a> = (Endpoint, &'a BTreeMap<String, String>);

impl<'a> One<'a> {
    /// A service that asks for near endpoints needs to be told the unhealthy ones, and those are never used.
    fn panic_percent(&self, effective: Effective<'_>) -> u8 {
        match self.seen.service.traffic_distribution {
            TrafficDistribution::Any => panic_percent(effective.outlier_detection),
            TrafficDistribution::SameZone | TrafficDistribution::SameNode => 0,
        }
    }

    /// Members with the labels of the subset, by place. Places weigh as much as they have members.
    fn groups(&self, cluster: &Cluster) -> Vec<Group<'a>> {
        // Who would be used in panic although nobody should is not told of.
        let only_healthy = cluster.panic_percent > 0;
        let mut places: BTreeMap<Locality, Vec<Labelled<'a>>> = BTreeMap::new();
        let members = self.seen.members.as_deref().into_iter();
        for (address, member) in members.flat_map(|members| members.of_port(&self.port.name)) {
            let chosen = self
                .subset
                .is_none_or(|subset| contains_all(&member.labels, &subset.labels));
            if chosen && !(only_healthy && member.health != Health::Healthy) {
                let endpoint = Endpoint {
                    health: member.health,
                    workload: member.workload.clone(),
                    mutual: cluster.auto_tls.is_some() && member.is_mutual(address.port()),
                    ..Endpoint::new(address)
                };
                let place = places.entry(member.locality.clone()).or_default();
                place.push((endpoint, &member.labels));
            }
        }
        let groups = places.into_iter().map(|(locality, mut members)| {
            members.sort_by_key(|(endpoint, _)| endpoint.address);
            // An address in two slices, while a slice is rewritten, is one endpoint.
            members.dedup_by_key(|(endpoint, _)| endpoint.address);
            let (endpoints, labels): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            let facts = LocalityEndpoints {
                locality,
                priority: 0,
                weight: u32::try_from(endpoints.len()).unwrap_or(u32::MAX),
                endpoints,
            };
            Group { facts, labels }
        });
        groups.collect()
    }
}

/// A cluster that stands for no service.
pub(super) fn special(scope: &Scope, name: &str, discovery: Discovery) -> Cluster {
    let mut special = plain(scope, name, discovery);
    if discovery == Discovery::OriginalDestination {
        special.circuit_breaker.idle_timeout = Some(PASSTHROUGH_IDLE_TIMEOUT);
    }
    special
}

/// A cluster that sets nothing.
pub(super) fn plain(scope: &Scope, name: &str, discovery: Discovery) -> Cluster {
    Cluster {
        load_balancing: load_balancing(None),
        http: UpstreamHttp::Downstream,
        connect_timeout: scope.settings.connect_timeout(),
        ..Cluster::new(name.into(), discovery)
    }
}
