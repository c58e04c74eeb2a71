//! `tcp` and `tls` rules of VirtualServices → chains of a port that is not HTTP.
//!
//! Unlike for HTTP, all VirtualServices that have the host count, one after the other. Who asks and on which port is
//! decided here and now; server names and networks are asked of each connection. Conditions that nothing can reach
//! any more, because earlier ones take the same connections, are left out: Envoy refuses a listener that has the
//! same condition twice.

use std::collections::BTreeSet;

use resources::istio::virtual_service::{RouteDestination, TcpMatch, TlsMatch};
use resources::istio::{ALL_GATEWAYS_MESH, resolve_host};
use snapshot::{ChainMatch, ClusterName, Subnet, TcpHandler, TcpTarget, WeightedCluster};

use super::matching::Asked;
use crate::DOMAIN;
use crate::connection_pool;
use crate::destination::cluster_name;
use crate::load_balancing::hashes_source_address;
use crate::mesh::routes::{IndexedRoutes, specificity};
use crate::mesh::services::{ServicePort, contains_all};
use crate::scope::{Scope, VisibleService};
use crate::tunnel::tunnel;

/// What happens to the connections of a service port, by what is asked of them.
pub(crate) fn opaque_routes(
    scope: &Scope,
    seen: &VisibleService,
    port: &ServicePort,
) -> Vec<(ChainMatch, TcpHandler)> {
    let rules = Rules { scope, seen, port };
    let mut routes = match port.protocol {
        crate::Protocol::Tls => rules.tls(),
        _ => rules.tcp(),
    };
    let mut taken = BTreeSet::new();
    routes.retain_mut(|(matches, _)| leave_untaken(matches, &mut taken));
    routes
}

struct Rules<'a> {
    scope: &'a Scope,
    seen: &'a VisibleService,
    port: &'a ServicePort,
}

impl<'a> Rules<'a> {
    /// VirtualServices for the host, oldest first.
    fn virtual_services(&self) -> impl Iterator<Item = &'a IndexedRoutes> {
        let host = self.seen.service.host.as_str();
        let routes = self.scope.routes.iter().map(AsRef::as_ref);
        routes.filter(move |routes: &&IndexedRoutes| {
            routes
                .hosts
                .iter()
                .any(|pattern| specificity(pattern, host).is_some())
        })
    }

    /// A server name that no rule has goes nowhere: once there is a rule, the service has no other way in.
    fn tls(&self) -> Vec<(ChainMatch, TcpHandler)> {
        let mut routes = Vec::new();
        for virtual_service in self.virtual_services() {
            for rule in &virtual_service.object.spec.tls {
                let applying = rule
                    .matches
                    .iter()
                    .filter(|matches| self.applies(&(*matches).into()));
                routes.extend(applying.map(|matches| {
                    let mut server_names = matches.sni_hosts.clone();
                    server_names.sort();
                    if server_names.iter().any(|name| name == "*") {
                        server_names.clear();
                    }
                    let conditions = ChainMatch {
                        server_names,
                        ..networks(&matches.destination_subnets)
                    };
                    (conditions, self.handler(virtual_service, &rule.route))
                }));
            }
        }
        if routes.is_empty() {
            routes.push((ChainMatch::default(), self.to_service()));
        }
        routes
    }

    /// Rules until the first that takes every connection, which is the service itself if no rule does.
    fn tcp(&self) -> Vec<(ChainMatch, TcpHandler)> {
        let mut routes = Vec::new();
        for virtual_service in self.virtual_services() {
            for rule in &virtual_service.object.spec.tcp {
                let mut applying = rule
                    .matches
                    .iter()
                    .filter(|matches| self.applies(&(*matches).into()));
                let mut subnets: Vec<String> = Vec::new();
                let takes_all = rule.matches.is_empty()
                    || applying.any(|matches| {
                        subnets.extend(matches.destination_subnets.iter().cloned());
                        matches.destination_subnets.is_empty()
                    });
                if takes_all {
                    routes.push((ChainMatch::default(), self.handler(virtual_service, &rule.route)));
                    return routes;
                }
                if !subnets.is_empty() {
                    routes.push((networks(&subnets), self.handler(virtual_service, &rule.route)));
                }
            }
        }
        routes.push((ChainMatch::default(), self.to_service()));
        routes
    }

    /// Unlike for HTTP, a condition that names gateways is asked about its source as well.
    fn applies(&self, asked: &Asked<'_>) -> bool {
        let gateway =
            asked.gateways.is_empty() || asked.gateways.iter().any(|name| name == ALL_GATEWAYS_MESH);
        let port = asked.port.is_none_or(|port| port == u32::from(self.port.port));
        let namespace = ["", self.scope.namespace.as_str()].contains(&asked.source_namespace);
        gateway && port && namespace && contains_all(&self.scope.labels, asked.source_labels)
    }

    fn to_service(&self) -> TcpHandler {
        let host = &self.seen.service.host;
        let mut handler = TcpHandler::to(ClusterName::outbound(self.port.port, "", host));
        self.apply_policy(&mut handler, host.as_str(), "");
        handler
    }

    /// The policy of the first target's host counts for all: it belongs to the connection, not to a cluster.
    fn handler(&self, virtual_service: &IndexedRoutes, targets: &[RouteDestination]) -> TcpHandler {
        let meta = &virtual_service.object.metadata;
        let cluster = |target: &RouteDestination| {
            cluster_name(self.scope, &target.destination, &meta.namespace, self.port.port)
        };
        let mut handler = match targets {
            [] => TcpHandler::to(ClusterName::BLACK_HOLE.into()),
            [target] => TcpHandler::to(cluster(target)),
            targets => {
                let weighted = targets.iter().filter_map(|target| {
                    let weight = u32::try_from(target.weight).ok().filter(|weight| *weight > 0)?;
                    Some(WeightedCluster {
                        cluster: cluster(target),
                        weight,
                    })
                });
                let target = TcpTarget::Clusters(weighted.collect());
                TcpHandler::new(format!("{}.{}", meta.name, meta.namespace), target)
            }
        };
        if let Some(first) = targets.first() {
            let host = resolve_host(&first.destination.host, &meta.namespace, DOMAIN);
            let subset = first.destination.subset.as_deref().filter(|_| targets.len() == 1);
            self.apply_policy(&mut handler, &host, subset.unwrap_or_default());
        }
        handler
    }

    fn apply_policy(&self, handler: &mut TcpHandler, host: &str, subset: &str) {
        let service = self.scope.service(host);
        connection_pool::apply_to_tcp(service.and_then(|seen| seen.policy.as_deref()), handler);
        handler.tunnel = tunnel(self.scope, host, subset);
        handler.hash_source_address = hashes_source_address(self.scope, host, subset);
    }
}

/// Conditions on the destination. `0.0.0.0/0` is any, as in Istio.
fn networks(subnets: &[String]) -> ChainMatch {
    let mut subnets: Vec<Subnet> = subnets.iter().filter_map(|subnet| subnet.parse().ok()).collect();
    subnets.sort();
    subnets.dedup();
    if subnets.iter().any(|subnet| subnet.address().is_unspecified()) {
        subnets.retain(|subnet| !subnet.address().is_unspecified());
    }
    ChainMatch {
        destination_subnets: subnets,
        ..ChainMatch::default()
    }
}

/// A network and a server name; `None` is any.
type Taken = (Option<Subnet>, Option<String>);

/// Takes out of a condition what earlier ones have; `None` stands for any. Whether anything is left.
fn leave_untaken(matches: &mut ChainMatch, taken: &mut BTreeSet<Taken>) -> bool {
    let (subnets, names) = (&mut matches.destination_subnets, &mut matches.server_names);
    let networks: Vec<_> = match subnets.is_empty() {
        true => vec![None],
        false => subnets.iter().copied().map(Some).collect(),
    };
    if names.is_empty() {
        let free: Vec<_> = networks
            .into_iter()
            .filter(|network| taken.insert((*network, None)))
            .collect();
        *subnets = free.iter().copied().flatten().collect();
        return !free.is_empty();
    }
    names.retain(|name| {
        let free = |network: &Option<Subnet>| !taken.contains(&(*network, Some(name.clone())));
        networks.iter().all(free)
    });
    let now = networks
        .iter()
        .flat_map(|network| names.iter().map(|name| (*network, Some(name.clone()))));
    taken.extend(now);
    !names.is_empty()
}

impl<'a> From<&'a TcpMatch> for Asked<'a> {
    fn from(matches: &'a TcpMatch) -> Self {
        Self {
            gateways: &matches.gateways,
            port: matches.port,
            source_labels: &matches.source_labels,
            source_namespace: &matches.source_namespace,
        }
    }
}

impl<'a> From<&'a TlsMatch> for Asked<'a> {
    fn from(matches: &'a TlsMatch) -> Self {
        Self {
            gateways: &matches.gateways,
            port: matches.port,
            source_labels: &matches.source_labels,
            source_namespace: &matches.source_namespace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_same_condition_only_the_first_is_left() {
        let mut taken = BTreeSet::new();
        let mut left = |subnets: &[&str], names: &[&str]| {
            let subnets: Vec<_> = subnets.iter().map(|subnet| (*subnet).to_owned()).collect();
            let mut matches = ChainMatch {
                server_names: names.iter().map(|name| (*name).to_owned()).collect(),
                ..networks(&subnets)
            };
            leave_untaken(&mut matches, &mut taken)
                .then(|| (matches.destination_subnets.len(), matches.server_names.join(" ")))
        };
        let one = |subnets: usize, names: &str| Some((subnets, names.to_owned()));
        assert_eq!(left(&[], &["a", "b"]), one(0, "a b"));
        assert_eq!(left(&[], &["b", "c"]), one(0, "c"));
        assert_eq!(left(&[], &["a"]), None);
        assert_eq!(left(&["10.0.0.0/8"], &["a"]), one(1, "a"));
        assert_eq!(left(&["10.0.0.0/8", "11.0.0.0/8"], &[]), one(2, ""));
        assert_eq!(left(&["10.0.0.0/8", "12.0.0.0/8"], &[]), one(1, ""));
        assert_eq!(left(&["0.0.0.0/0"], &[]), one(0, ""));
        assert_eq!(left(&[], &[]), None);
    }
}
