//! Outbound clusters: one for each port of each service, one more for each subset, and the special ones.

use std::collections::BTreeMap;
use std::time::Duration;

use resources::istio::destination_rule::Subset;
use snapshot::cluster::UpstreamHttp;
use snapshot::{
    Cluster, ClusterName, Direction, Discovery, Endpoint, Endpoints, Locality, LocalityEndpoints, Origin,
    Snapshot,
};

use super::CONNECT_TIMEOUT;
use crate::Protocol;
use crate::connection_pool;
use crate::load_balancing::{discovery, load_balancing};
use crate::mesh::services::{ServicePort, contains_all};
use crate::proxy_protocol::proxy_protocol;
use crate::scope::{Scope, VisibleService};
use crate::tls::client_tls;
use crate::traffic_policy::Effective;

/// How long an idle connection to a place that nobody declared is kept.
const PASSTHROUGH_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) fn add(scope: &Scope, snapshot: &mut Snapshot) {
    for seen in scope
        .services
        .iter()
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
                add_cluster(seen, port, subset, snapshot);
            }
        }
    }
    snapshot
        .clusters
        .insert(special(ClusterName::PASSTHROUGH, Discovery::OriginalDestination));
    snapshot
        .clusters
        .insert(special(ClusterName::BLACK_HOLE, Discovery::Nobody));
}

fn add_cluster(seen: &VisibleService, port: &ServicePort, subset: Option<&Subset>, snapshot: &mut Snapshot) {
    let name = ClusterName::outbound(
        port.port,
        subset.map_or("", |subset| &subset.name),
        &seen.service.host,
    );
    let effective = seen
        .policy
        .as_ref()
        .map(|policy| Effective::of(policy, subset, port.port))
        .unwrap_or_default();
    let mut cluster = Cluster {
        load_balancing: load_balancing(effective.load_balancer),
        http: port.protocol.upstream_http(),
        connect_timeout: CONNECT_TIMEOUT,
        service: Some(seen.service.reference()),
        origin: origin(seen),
        proxy_protocol: proxy_protocol(effective.proxy_protocol),
        ..Cluster::new(
            name.clone(),
            discovery(effective.load_balancer, seen.service.is_headless),
        )
    };
    connection_pool::apply(&effective, Direction::Outbound, &mut cluster);
    cluster.tls = client_tls(effective.tls, cluster.http);
    if cluster.discovery == Discovery::Endpoints {
        snapshot.endpoints.insert(endpoints(seen, port, subset, name));
    }
    snapshot.clusters.insert(cluster);
}

/// The oldest of the objects that made the policy.
fn origin(seen: &VisibleService) -> Option<Origin> {
    let (key, _) = seen.policy.as_ref()?.sources.first()?;
    Some(Origin {
        resource: key.path().into(),
        field: "".into(),
    })
}

/// Members with the labels of the subset, by place. Places weigh as much as they have members.
fn endpoints(
    seen: &VisibleService,
    port: &ServicePort,
    subset: Option<&Subset>,
    cluster: ClusterName,
) -> Endpoints {
    let mut places: BTreeMap<Locality, Vec<Endpoint>> = BTreeMap::new();
    let members = seen
        .members
        .iter()
        .flat_map(|members| members.of_port(&port.name));
    for (address, member) in members {
        if subset.is_none_or(|subset| contains_all(&member.labels, &subset.labels)) {
            places.entry(member.locality.clone()).or_default().push(Endpoint {
                health: member.health,
                workload: member.workload.clone(),
                ..Endpoint::new(address)
            });
        }
    }
    let localities = places.into_iter().map(|(locality, mut endpoints)| {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        // An address in two slices, while a slice is rewritten, is one endpoint.
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        let weight = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        LocalityEndpoints {
            locality,
            priority: 0,
            weight,
            endpoints,
        }
    });
    Endpoints {
        cluster,
        localities: localities.collect(),
    }
}

/// A cluster that stands for no service.
pub(super) fn special(name: &str, discovery: Discovery) -> Cluster {
    let mut special = plain(name, discovery);
    if discovery == Discovery::OriginalDestination {
        special.circuit_breaker.idle_timeout = Some(PASSTHROUGH_IDLE_TIMEOUT);
    }
    special
}

/// A cluster that sets nothing.
pub(super) fn plain(name: &str, discovery: Discovery) -> Cluster {
    Cluster {
        load_balancing: load_balancing(None),
        http: UpstreamHttp::Downstream,
        connect_timeout: CONNECT_TIMEOUT,
        ..Cluster::new(name.into(), discovery)
    }
}
