//! The rules for service addresses: a pure function of Services and EndpointSlices.
//!
//! An address of a Service goes to one of its ready endpoints, by chance for each connection; if none is ready, to one
//! that ends but still serves. The same holds for node ports at the addresses of nodes. Where a Service keeps its
//! traffic local or close, the address of the calling pod tells its node, hence which endpoints it gets. Whatever else
//! is sent to the service range is refused at once.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};

use netfilter::{Chain, Expression, Family, Hook, Is, Kind, Pick, Point, Prefix, Protocol, Rule, Table};
use serde_json::Value;

use crate::api::client::Object;
use crate::controllers::object::{self, list, number, text};

const TABLE: &str = "services";
/// Cluster addresses of Services.
const RANGE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 16);
/// After the translation of destinations: what still has a service address then has no endpoint.
const AFTER_TRANSLATION: i32 = -90;

/// Everything that the rules are made of; pods are needed only where [`tells_callers_apart`] says so.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) services: Vec<Object>,
    pub(super) slices: Vec<Object>,
    pub(super) nodes: Vec<Object>,
    pub(super) pods: Vec<Object>,
}

/// Whether the calling pod matters to any Service. With one node, everything is local.
pub(super) fn tells_callers_apart(services: &[Object], nodes: &[Object]) -> bool {
    let chooses = |service: &Object| is_local(service) || prefers_zone(service);
    nodes.len() > 1 && services.iter().any(chooses)
}

fn is_local(service: &Value) -> bool {
    service["spec"]["internalTrafficPolicy"] == "Local"
}

fn prefers_zone(service: &Value) -> bool {
    let preference = text(&service["spec"]["trafficDistribution"]);
    matches!(preference, "PreferClose" | "PreferSameZone" | "PreferSameNode")
}

pub(super) fn table(cluster: &Cluster) -> Table {
    let Cluster {
        services,
        slices,
        nodes,
        ..
    } = cluster;
    let endpoints = endpoints_by_port(slices);
    let callers = Callers::of(cluster);
    let mut dispatch = Chain::called("services");
    let mut node_ports = Chain::called("node-ports");
    let mut targets = BTreeSet::new();
    let mut services: Vec<&Object> = services.iter().collect();
    services.sort_by_key(|service| (object::namespace(service), object::name(service)));
    for service in services {
        for port in list(&service["spec"]["ports"]) {
            let Some((of_service, at_nodes, to)) = rules(service, port, &endpoints, &callers) else {
                continue;
            };
            targets.extend(to.iter().map(|target| *target.ip()));
            dispatch.rules.extend(of_service);
            node_ports.rules.extend(at_nodes);
        }
    }
    let mut jumps = vec![Rule::new([
        Expression::destination(range()),
        Expression::jump("services"),
    ])];
    let to_nodes = node_addresses(nodes);
    if !node_ports.rules.is_empty() && !to_nodes.is_empty() {
        let to_nodes = Expression::Destination(Is::In(to_nodes));
        jumps.push(Rule::new([to_nodes, Expression::jump("node-ports")]));
    }
    let hooked = |name, hook| {
        let mut chain = Chain::at(name, hook);
        chain.rules.clone_from(&jumps);
        chain
    };
    let mut table = Table::new(Family::Ipv4, TABLE).chain(dispatch);
    if !node_ports.rules.is_empty() {
        table = table.chain(node_ports);
    }
    table
        .chain(hooked("prerouting", Hook::NAT_PREROUTING))
        .chain(hooked("output", Hook::NAT_OUTPUT))
        .chain(hairpin(&targets))
        .chain(refusals("refuse-prerouting", Point::Prerouting))
        .chain(refusals("refuse-output", Point::Output))
}

fn range() -> Prefix {
    Prefix::new(RANGE.0, RANGE.1)
}

fn node_addresses(nodes: &[Object]) -> Vec<Prefix> {
    let addresses = nodes.iter().flat_map(|node| list(&node["status"]["addresses"]));
    let internal = addresses.filter(|address| address["type"] == "InternalIP");
    let parsed: BTreeSet<Ipv4Addr> = internal
        .filter_map(|address| text(&address["address"]).parse().ok())
        .collect();
    parsed.into_iter().map(Prefix::host).collect()
}

/// A pod that is sent to itself must see the node as the caller, or it would answer itself directly.
fn hairpin(targets: &BTreeSet<Ipv4Addr>) -> Chain {
    let chain = Chain::at("postrouting", Hook::NAT_POSTROUTING);
    if targets.is_empty() {
        return chain;
    }
    let pairs = targets.iter().map(|address| (*address, *address)).collect();
    chain.rule([
        Expression::DestinationTranslated,
        Expression::Pair(pairs),
        Expression::Masquerade,
    ])
}

fn refusals(name: &str, point: Point) -> Chain {
    let refuse = |protocol| [Expression::destination(range()), Expression::Reject(protocol)];
    Chain::at(name, Hook::accepting(Kind::Filter, point, AFTER_TRANSLATION))
        .rule(refuse(Protocol::Tcp))
        .rule(refuse(Protocol::Udp))
}

/// Of one port of a Service, by its namespace, name, and port name.
type PortKey = (String, String, String);

/// Endpoints of one port.
#[derive(Default)]
struct Endpoints(BTreeMap<SocketAddrV4, Endpoint>);

struct Endpoint {
    /// If not, it ends but still serves.
    is_ready: bool,
    node: String,
}

impl Endpoints {
    /// Those that are ready, or else those that still serve, among those on nodes that count.
    fn usable(&self, counts: impl Fn(&str) -> bool) -> Vec<SocketAddrV4> {
        let of_state = |is_ready| {
            let all = self.0.iter();
            let found = all.filter(|(_, endpoint)| endpoint.is_ready == is_ready && counts(&endpoint.node));
            found.map(|(address, _)| *address).collect::<Vec<_>>()
        };
        let ready = of_state(true);
        if ready.is_empty() { of_state(false) } else { ready }
    }
}

/// Which pods are where.
#[derive(Default)]
struct Callers {
    /// Addresses of pods, by their node.
    pods: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Zones of nodes.
    zones: BTreeMap<String, String>,
}

impl Callers {
    fn of(cluster: &Cluster) -> Self {
        let mut callers = Self::default();
        if !tells_callers_apart(&cluster.services, &cluster.nodes) {
            return callers;
        }
        for node in &cluster.nodes {
            let zone = object::label(node, "topology.kubernetes.io/zone");
            callers
                .zones
                .insert(object::name(node).to_owned(), zone.to_owned());
        }
        for pod in &cluster.pods {
            let in_node = pod["spec"]["hostNetwork"] == true;
            if let Ok(address) = text(&pod["status"]["podIP"]).parse()
                && !in_node
            {
                let node = text(&pod["spec"]["nodeName"]).to_owned();
                callers.pods.entry(node).or_default().insert(address);
            }
        }
        callers
    }

    /// For the pods of each node, the endpoints that they get; an empty list: none.
    fn choices(&self, service: &Value, endpoints: &Endpoints) -> Vec<(Expression, Vec<SocketAddrV4>)> {
        let choose = |node: &str| {
            let same_node = endpoints.usable(|other| other == node);
            if is_local(service) {
                return Some(same_node);
            }
            let prefers_node = service["spec"]["trafficDistribution"] == "PreferSameNode";
            if prefers_node && !same_node.is_empty() {
                return Some(same_node);
            }
            let zone = self.zones.get(node).filter(|zone| !zone.is_empty())?;
            let same_zone = endpoints.usable(|other| self.zones.get(other) == Some(zone));
            Some(same_zone).filter(|found| !found.is_empty())
        };
        if !(is_local(service) || prefers_zone(service)) {
            return Vec::new();
        }
        let chosen = self.pods.iter().filter_map(|(node, pods)| {
            let pods = pods.iter().copied().map(Prefix::host).collect();
            Some((Expression::Source(Is::In(pods)), choose(node)?))
        });
        chosen.collect()
    }
}

fn endpoints_by_port(slices: &[Object]) -> BTreeMap<PortKey, Endpoints> {
    let mut all: BTreeMap<PortKey, Endpoints> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice["addressType"] == "IPv4") {
        let service = object::label(slice, "kubernetes.io/service-name");
        for port in list(&slice["ports"]) {
            let key = (
                object::namespace(slice).to_owned(),
                service.to_owned(),
                text(&port["name"]).to_owned(),
            );
            let of_port = all.entry(key).or_default();
            for endpoint in list(&slice["endpoints"]) {
                note(of_port, endpoint, number(&port["port"]));
            }
        }
    }
    all
}

fn note(endpoints: &mut Endpoints, endpoint: &Value, port: i64) {
    let conditions = &endpoint["conditions"];
    // Absent means true, as in Kubernetes.
    let ready = conditions["ready"].as_bool().unwrap_or(true);
    let serving = conditions["serving"].as_bool().unwrap_or(ready);
    let terminating = conditions["terminating"] == true;
    let Ok(port) = u16::try_from(port) else {
        return;
    };
    // All addresses of an endpoint lead to the same pod; the first one counts.
    let Some(address) = list(&endpoint["addresses"])
        .first()
        .and_then(|address| text(address).parse().ok())
    else {
        return;
    };
    if ready || serving && terminating {
        let node = text(&endpoint["nodeName"]).to_owned();
        let endpoint = Endpoint {
            is_ready: ready,
            node,
        };
        endpoints.0.insert(SocketAddrV4::new(address, port), endpoint);
    }
}

/// The rules of a port of a Service, that of its node port, and where they lead.
type PortRules = (Vec<Rule>, Option<Rule>, Vec<SocketAddrV4>);

/// `None` where nothing is to be translated.
fn rules(
    service: &Value,
    port: &Value,
    endpoints: &BTreeMap<PortKey, Endpoints>,
    callers: &Callers,
) -> Option<PortRules> {
    let address: Ipv4Addr = text(&service["spec"]["clusterIP"]).parse().ok()?;
    let protocol = match port["protocol"].as_str().unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    let own_port = u16::try_from(number(&port["port"])).ok()?;
    let (namespace, name) = (object::namespace(service), object::name(service));
    let port_name = text(&port["name"]);
    let key = (namespace.to_owned(), name.to_owned(), port_name.to_owned());
    let endpoints = endpoints.get(&key)?;
    let targets = endpoints.usable(|_| true);
    if targets.is_empty() {
        return None;
    }
    let choose = |targets: &[SocketAddrV4]| match text(&service["spec"]["sessionAffinity"]) {
        // Not translated, it is refused.
        _ if targets.is_empty() => Expression::leave(),
        "ClientIP" => Expression::Dnat(sticky(targets), Pick::BySource),
        _ => Expression::Dnat(targets.to_vec(), Pick::Random),
    };
    let colon = if port_name.is_empty() { "" } else { ":" };
    let comment = format!("{namespace}/{name}{colon}{port_name}");
    let to_port = |port| Expression::destination_port(protocol, port);
    let here = [Expression::destination(address), to_port(own_port)];
    let by_caller = callers
        .choices(service, endpoints)
        .into_iter()
        .map(|(from, targets)| {
            let tests = here.iter().cloned().chain([from, choose(&targets)]);
            Rule::new(tests).comment(comment.clone())
        });
    let for_all = Rule::new(here.iter().cloned().chain([choose(&targets)])).comment(comment.clone());
    let of_service = by_caller.chain([for_all]).collect();
    let node_port = u16::try_from(number(&port["nodePort"]))
        .ok()
        .filter(|port| *port > 0);
    let at_nodes = node_port.map(|port| Rule::new([to_port(port), choose(&targets)]).comment(comment));
    Some((of_service, at_nodes, targets))
}

/// Endpoints in many places, each at those where it wins: when one comes or goes, the clients of the others stay where
/// they are (rendezvous hashing). A client is held for longer than its `timeoutSeconds`, never for shorter.
fn sticky(targets: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
    if let [_] = targets {
        return targets.to_vec();
    }
    let places = (targets.len() * 8).next_power_of_two().clamp(64, 1024);
    let winner = |place: usize| {
        let weight = |target: &&SocketAddrV4| {
            let mut hash = DefaultHasher::new();
            (place, target).hash(&mut hash);
            hash.finish()
        };
        targets.iter().copied().max_by_key(|target| weight(&target))
    };
    (0..places).filter_map(winner).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn service(name: &str, spec: &Value) -> Object {
        Arc::new(json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec}))
    }

    fn slice(service: &str, ports: &Value, endpoints: &Value) -> Object {
        Arc::new(json!({
            "metadata": {"namespace": "n", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        }))
    }

    fn cluster(services: &[Object], slices: &[Object], nodes: &[Object]) -> Cluster {
        Cluster {
            services: services.to_vec(),
            slices: slices.to_vec(),
            nodes: nodes.to_vec(),
            pods: Vec::new(),
        }
    }

    fn endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> Value {
        json!({"addresses": [address],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
    }

    #[test]
    fn each_port_of_a_service_leads_to_its_ready_endpoints() {
        let ports = json!([{"name": "http", "port": 9090}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        let services = [
            service("b", &json!({"clusterIP": "10.96.0.20", "ports": ports})),
            service(
                "a",
                &json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30080}]}),
            ),
            service("headless", &json!({"clusterIP": "None", "ports": [{"port": 80}]})),
            service(
                "empty",
                &json!({"clusterIP": "10.96.0.30", "ports": [{"port": 80}]}),
            ),
        ];
        let two = json!([
            endpoint("10.244.0.3", true, true, false),
            endpoint("10.244.0.2", true, true, false),
            endpoint("10.244.0.4", false, true, true),
            endpoint("10.244.0.5", false, false, false),
        ]);
        let slices = [
            slice(
                "b",
                &json!([{"name": "http", "port": 8080}, {"name": "dns", "port": 5353}]),
                &two,
            ),
            slice("a", &json!([{"name": "", "port": 8080}]), &two),
            slice(
                "headless",
                &json!([{"name": "", "port": 8080}]),
                &json!([endpoint("10.244.0.9", true, true, false)]),
            ),
            slice("empty", &json!([]), &json!([])),
        ];
        let expected = "\
table ip services {
  chain services {
    ip daddr 10.96.0.10 tcp dport 80 dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.0.3 . 8080 } comment \"n/a\"
    ip daddr 10.96.0.20 tcp dport 9090 dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.0.3 . 8080 } comment \"n/b:http\"
    ip daddr 10.96.0.20 udp dport 53 dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.0.2 . 5353, 1 : 10.244.0.3 . 5353 } comment \"n/b:dns\"
  }
  chain node-ports {
    tcp dport 30080 dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.0.3 . 8080 } comment \"n/a\"
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    ip daddr 10.96.0.0/16 jump services
    ip daddr { 10.244.0.1 } jump node-ports
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr 10.96.0.0/16 jump services
    ip daddr { 10.244.0.1 } jump node-ports
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ct status dnat ip saddr . ip daddr { 10.244.0.2 . 10.244.0.2, 10.244.0.3 . 10.244.0.3 } masquerade
  }
  chain refuse-prerouting {
    type filter hook prerouting priority -90; policy accept;
    ip daddr 10.96.0.0/16 reject with tcp reset
    ip daddr 10.96.0.0/16 meta l4proto udp reject with port-unreachable
  }
  chain refuse-output {
    type filter hook output priority -90; policy accept;
    ip daddr 10.96.0.0/16 reject with tcp reset
    ip daddr 10.96.0.0/16 meta l4proto udp reject with port-unreachable
  }
}
";
        let node = Arc::new(json!({"status": {"addresses": [
            {"type": "Hostname", "address": "local"}, {"type": "InternalIP", "address": "10.244.0.1"}]}}));
        assert_eq!(table(&cluster(&services, &slices, &[node])).to_string(), expected);
    }

    #[test]
    fn endpoints_that_end_are_used_only_when_none_is_ready() {
        let services = [service(
            "a",
            &json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}),
        )];
        let targets = |endpoints: &Value| {
            let slices = [slice("a", &json!([{"name": "", "port": 8080}]), endpoints)];
            table(&cluster(&services, &slices, &[])).chains[0]
                .rules
                .iter()
                .map(Rule::to_string)
                .collect::<String>()
        };
        let ending = endpoint("10.244.0.2", false, true, true);
        let one = targets(&json!([ending, endpoint("10.244.0.3", true, true, false)]));
        assert!(one.ends_with("dnat to 10.244.0.3:8080"), "{one}");
        let last = targets(&json!([ending]));
        assert!(last.ends_with("dnat to 10.244.0.2:8080"), "{last}");
        assert_eq!(targets(&json!([endpoint("10.244.0.2", false, false, true)])), "");
        let unknown = targets(&json!([{"addresses": ["10.244.0.4"]}]));
        assert!(
            unknown.ends_with("dnat to 10.244.0.4:8080"),
            "no conditions mean ready: {unknown}"
        );
    }

    #[test]
    fn endpoints_of_several_slices_are_one_choice() {
        let services = [service(
            "a",
            &json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}),
        )];
        let part = |address: &str, port: u16| {
            slice(
                "a",
                &json!([{"name": "", "port": port}]),
                &json!([endpoint(address, true, true, false)]),
            )
        };
        let table = table(&cluster(
            &services,
            &[part("10.244.0.2", 1), part("10.244.0.3", 2)],
            &[],
        ))
        .to_string();
        assert!(
            table.contains("mod 2 map { 0 : 10.244.0.2 . 1, 1 : 10.244.0.3 . 2 }"),
            "{table}"
        );
    }

    #[test]
    fn a_client_with_affinity_stays_when_another_endpoint_goes() {
        let target = |last: u8| SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, last), 80);
        let (three, two) = ([target(2), target(3), target(4)], [target(2), target(4)]);
        let (before, after) = (sticky(&three), sticky(&two));
        assert_eq!((before.len(), after.len()), (64, 64));
        for (was, is) in before.iter().zip(&after) {
            assert!(was == is || *was == target(3));
        }
        for target in three {
            assert!(
                before.iter().filter(|one| **one == target).count() > 8,
                "{target}"
            );
        }
    }

    #[test]
    fn pods_get_endpoints_of_their_node_or_zone_where_the_service_says_so() {
        let node = |name: &str, zone: &str| {
            Arc::new(json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}}))
        };
        let pod = |address: &str, node: &str| {
            Arc::new(json!({"spec": {"nodeName": node}, "status": {"podIP": address}}))
        };
        let at = |address: &str, node: &str| {
            let mut at = endpoint(address, true, true, false);
            at["nodeName"] = node.into();
            at
        };
        let of = |spec: Value| {
            let mut spec = spec;
            spec["clusterIP"] = "10.96.0.10".into();
            spec["ports"] = json!([{"port": 80}]);
            let endpoints = json!([at("10.244.0.2", "one"), at("10.244.0.3", "two")]);
            let cluster = Cluster {
                services: vec![service("a", &spec)],
                slices: vec![slice("a", &json!([{"name": "", "port": 80}]), &endpoints)],
                nodes: vec![node("one", "x"), node("two", "y"), node("three", "y")],
                pods: vec![pod("10.244.0.2", "one"), pod("10.244.0.7", "three")],
            };
            let rules = table(&cluster).chains[0]
                .rules
                .iter()
                .map(Rule::to_string)
                .collect::<Vec<_>>();
            rules[..rules.len() - 1].to_vec()
        };
        let to = "ip daddr 10.96.0.10 tcp dport 80 ip saddr";
        assert_eq!(
            of(json!({"internalTrafficPolicy": "Local"})),
            [
                format!("{to} {{ 10.244.0.2 }} dnat to 10.244.0.2:80"),
                format!("{to} {{ 10.244.0.7 }} return")
            ]
        );
        assert_eq!(
            of(json!({"trafficDistribution": "PreferClose"})),
            [
                format!("{to} {{ 10.244.0.2 }} dnat to 10.244.0.2:80"),
                format!("{to} {{ 10.244.0.7 }} dnat to 10.244.0.3:80")
            ]
        );
        assert!(of(json!({})).is_empty());
    }
}
