//! The names of the cluster, and what each leads to: a pure function of Services and EndpointSlices.
//!
//! <https://github.com/kubernetes/dns/blob/master/docs/specification.md>

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::api::client::Object;
use crate::controllers::object::{self, list, number, text};

/// All names below one domain.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// Without a dot at the end: `cluster.local`.
    pub(super) domain: String,
    /// By namespace, then by name.
    services: HashMap<String, BTreeMap<String, Service>>,
    /// Whose address it is, for reverse lookups.
    reverse: HashMap<Ipv4Addr, String>,
}

#[derive(Debug)]
struct Service {
    address: Address,
    ports: Vec<Port>,
}

#[derive(Debug)]
enum Address {
    Cluster(Ipv4Addr),
    Headless(Vec<Endpoint>),
    External(String),
}

#[derive(Clone, Debug, PartialEq)]
struct Port {
    name: String,
    /// `tcp`, lower case.
    protocol: String,
    number: u16,
}

#[derive(Debug)]
struct Endpoint {
    /// The pod's `hostname`, or its address with dashes.
    host: String,
    address: Ipv4Addr,
    ports: Vec<Port>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Address,
    Service,
    Name,
    /// Any other kind of record: there is none, but the name may exist.
    Other,
}

/// What is known about a name.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The name is not one of ours.
    Elsewhere,
    /// There is no such name.
    Nothing,
    /// There is; what it leads to may be nothing of the wanted kind.
    Records(Vec<Record>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Address(Ipv4Addr),
    /// A port, the name where it is, and that name's address.
    Service {
        port: u16,
        target: String,
        address: Ipv4Addr,
    },
    Name(String),
    Alias(String),
}

impl Zone {
    pub(super) fn of(domain: &str, services: &[Object], slices: &[Object]) -> Self {
        let mut endpoints: HashMap<(&str, &str), Vec<&Object>> = HashMap::new();
        for slice in slices.iter().filter(|slice| slice["addressType"] == "IPv4") {
            let service = object::label(slice, "kubernetes.io/service-name");
            endpoints
                .entry((object::namespace(slice), service))
                .or_default()
                .push(slice);
        }
        let mut zone = Self {
            domain: domain.to_owned(),
            ..Self::default()
        };
        for service in services {
            let (namespace, name) = (object::namespace(service), object::name(service));
            let slices = endpoints.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
            zone.add(namespace, name, read(service, slices));
        }
        zone
    }

    fn add(&mut self, namespace: &str, name: &str, service: Service) {
        let full = format!("{name}.{namespace}.svc.{}", self.domain);
        match &service.address {
            Address::Cluster(address) => drop(self.reverse.insert(*address, full)),
            Address::Headless(endpoints) => {
                for endpoint in endpoints {
                    self.reverse
                        .insert(endpoint.address, format!("{}.{full}", endpoint.host));
                }
            }
            Address::External(_) => {}
        }
        self.services
            .entry(namespace.to_owned())
            .or_default()
            .insert(name.to_owned(), service);
    }

    /// What a name leads to; `name` is in lower case and without a dot at the end.
    pub(super) fn lookup(&self, name: &str, wanted: Wanted) -> Found {
        if let Some(address) = reversed(name) {
            return self.lookup_reverse(address, wanted);
        }
        let Some(rest) = name.strip_suffix(&self.domain) else {
            return Found::Elsewhere;
        };
        if rest.is_empty() {
            return Found::Records(Vec::new());
        }
        let Some(rest) = rest.strip_suffix('.') else {
            return Found::Elsewhere;
        };
        let labels: Vec<&str> = rest.rsplit('.').collect();
        match labels.as_slice() {
            ["svc"] | ["pod"] => Found::Records(Vec::new()),
            ["svc", namespace, below @ ..] => match self.services.get(*namespace) {
                None => Found::Nothing,
                Some(services) => self.lookup_service(services, namespace, below, wanted),
            },
            ["pod", _namespace, below @ ..] => lookup_pod(below, wanted),
            _ => Found::Nothing,
        }
    }

    fn lookup_service(
        &self,
        services: &BTreeMap<String, Service>,
        namespace: &str,
        below: &[&str],
        wanted: Wanted,
    ) -> Found {
        let [name, below @ ..] = below else {
            return Found::Records(Vec::new());
        };
        let Some(service) = services.get(*name) else {
            return Found::Nothing;
        };
        let full = format!("{name}.{namespace}.svc.{}", self.domain);
        match below {
            [] => Found::Records(service.records(&full, None, wanted)),
            [host] if !host.starts_with('_') => service.host(host, wanted),
            [protocol, port] => {
                let (Some(protocol), Some(port)) = (protocol.strip_prefix('_'), port.strip_prefix('_'))
                else {
                    return Found::Nothing;
                };
                if !service.has_port(port, protocol) {
                    return Found::Nothing;
                }
                match wanted {
                    Wanted::Service => Found::Records(service.records(&full, Some((port, protocol)), wanted)),
                    _ => Found::Records(Vec::new()),
                }
            }
            _ => Found::Nothing,
        }
    }

    fn lookup_reverse(&self, address: Ipv4Addr, wanted: Wanted) -> Found {
        match self.reverse.get(&address) {
            Some(name) if wanted == Wanted::Name => Found::Records(vec![Record::Name(name.clone())]),
            Some(_) => Found::Records(Vec::new()),
            // Pods and services have addresses below 10; who else is there knows somebody else.
            None if matches!(address.octets(), [10, 96 | 244, ..]) => Found::Nothing,
            None => Found::Elsewhere,
        }
    }
}

impl Service {
    fn has_port(&self, name: &str, protocol: &str) -> bool {
        self.ports
            .iter()
            .any(|port| port.name == name && port.protocol == protocol)
    }

    fn records(&self, full: &str, port: Option<(&str, &str)>, wanted: Wanted) -> Vec<Record> {
        let is_asked =
            |one: &&Port| port.is_none_or(|(name, protocol)| one.name == name && one.protocol == protocol);
        match (&self.address, wanted) {
            (Address::External(name), _) => vec![Record::Alias(name.clone())],
            (Address::Cluster(address), Wanted::Address) => vec![Record::Address(*address)],
            (Address::Cluster(address), Wanted::Service) => self
                .ports
                .iter()
                .filter(is_asked)
                .map(|port| Record::Service {
                    port: port.number,
                    target: full.to_owned(),
                    address: *address,
                })
                .collect(),
            (Address::Headless(endpoints), Wanted::Address) => endpoints
                .iter()
                .map(|endpoint| Record::Address(endpoint.address))
                .collect(),
            (Address::Headless(endpoints), Wanted::Service) => endpoints
                .iter()
                .flat_map(|endpoint| endpoint.ports.iter().map(move |port| (endpoint, port)))
                .filter(|(_, port)| is_asked(port))
                .map(|(endpoint, port)| Record::Service {
                    port: port.number,
                    target: format!("{}.{full}", endpoint.host),
                    address: endpoint.address,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// One pod behind a headless Service.
    fn host(&self, host: &str, wanted: Wanted) -> Found {
        let Address::Headless(endpoints) = &self.address else {
            return Found::Nothing;
        };
        let of_host = endpoints.iter().filter(|endpoint| endpoint.host == host);
        let addresses: Vec<Record> = of_host
            .map(|endpoint| Record::Address(endpoint.address))
            .collect();
        match (addresses.is_empty(), wanted) {
            (true, _) => Found::Nothing,
            (false, Wanted::Address) => Found::Records(addresses),
            (false, _) => Found::Records(Vec::new()),
        }
    }
}

/// `10-244-0-3.NAMESPACE.pod`: the address in the name.
fn lookup_pod(below: &[&str], wanted: Wanted) -> Found {
    match below {
        [] => Found::Records(Vec::new()),
        [dashed] => match dashed.replace('-', ".").parse() {
            Ok(address) if wanted == Wanted::Address => Found::Records(vec![Record::Address(address)]),
            Ok(_) => Found::Records(Vec::new()),
            Err(_) => Found::Nothing,
        },
        _ => Found::Nothing,
    }
}

/// The address in `3.0.244.10.in-addr.arpa`.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = name
        .strip_suffix(".in-addr.arpa")?
        .rsplit('.')
        .map(|octet| octet.parse().ok())
        .collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?))
}

fn read(service: &Value, slices: &[&Object]) -> Service {
    let spec = &service["spec"];
    let address = match (text(&spec["type"]), text(&spec["clusterIP"]).parse()) {
        ("ExternalName", _) => Address::External(
            text(&spec["externalName"])
                .trim_end_matches('.')
                .to_ascii_lowercase(),
        ),
        (_, Ok(address)) => Address::Cluster(address),
        (_, Err(_)) => Address::Headless(slices.iter().flat_map(|slice| endpoints(slice)).collect()),
    };
    Service {
        address,
        ports: ports(&spec["ports"]),
    }
}

fn endpoints(slice: &Value) -> Vec<Endpoint> {
    let ports = ports(&slice["ports"]);
    let ready = list(&slice["endpoints"])
        .iter()
        .filter(|endpoint| endpoint["conditions"]["ready"] != false);
    ready
        .filter_map(|endpoint| {
            let address: Ipv4Addr = text(list(&endpoint["addresses"]).first()?).parse().ok()?;
            let host = match text(&endpoint["hostname"]) {
                "" => address.to_string().replace('.', "-"),
                host => host.to_owned(),
            };
            let ports = ports.clone();
            Some(Endpoint { host, address, ports })
        })
        .collect()
}

fn ports(ports: &Value) -> Vec<Port> {
    let read = |port: &Value| {
        Some(Port {
            name: text(&port["name"]).to_owned(),
            protocol: port["protocol"].as_str().unwrap_or("TCP").to_ascii_lowercase(),
            number: u16::try_from(number(&port["port"])).ok()?,
        })
    };
    list(ports).iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn zone() -> Zone {
        let service = |name: &str, spec: Value| {
            Arc::new(json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec}))
        };
        let ports = json!([{"name": "http", "port": 9090, "protocol": "TCP"}]);
        let services = [
            service(
                "backend",
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.20", "ports": ports}),
            ),
            service(
                "db",
                json!({"type": "ClusterIP", "clusterIP": "None", "ports": ports}),
            ),
            service(
                "out",
                json!({"type": "ExternalName", "externalName": "Example.com."}),
            ),
        ];
        let slice = json!({
            "metadata": {"namespace": "n", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.244.0.2"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.3"], "conditions": {"ready": true}},
                {"addresses": ["10.244.0.4"], "conditions": {"ready": false}},
            ],
        });
        Zone::of("cluster.local", &services, &[Arc::new(slice)])
    }

    fn addresses(name: &str) -> Found {
        zone().lookup(name, Wanted::Address)
    }

    fn found(addresses: &[[u8; 4]]) -> Found {
        Found::Records(
            addresses
                .iter()
                .map(|octets| Record::Address(Ipv4Addr::from(*octets)))
                .collect(),
        )
    }

    #[test]
    fn a_service_is_found_by_its_full_name() {
        assert_eq!(
            addresses("backend.n.svc.cluster.local"),
            found(&[[10, 96, 0, 20]])
        );
        assert_eq!(
            addresses("db.n.svc.cluster.local"),
            found(&[[10, 244, 0, 2], [10, 244, 0, 3]])
        );
        assert_eq!(
            addresses("db-0.db.n.svc.cluster.local"),
            found(&[[10, 244, 0, 2]])
        );
        assert_eq!(
            addresses("10-244-0-3.db.n.svc.cluster.local"),
            found(&[[10, 244, 0, 3]])
        );
        assert_eq!(
            addresses("10-244-7-7.n.pod.cluster.local"),
            found(&[[10, 244, 7, 7]])
        );
    }

    #[test]
    fn names_that_search_lists_make_do_not_exist() {
        for name in [
            "nobody.n.svc.cluster.local",
            "backend.nowhere.svc.cluster.local",
            "backend.n.svc.cluster.local.svc.cluster.local",
            "backend.n.cluster.local",
            "db-1.db.n.svc.cluster.local",
            "backend.backend.n.svc.cluster.local",
            "300-1-1-1.n.pod.cluster.local",
        ] {
            assert_eq!(addresses(name), Found::Nothing, "{name}");
        }
        for name in ["example.com", "backend", "notcluster.local"] {
            assert_eq!(addresses(name), Found::Elsewhere, "{name}");
        }
    }

    #[test]
    fn a_name_that_exists_has_no_records_of_other_kinds() {
        let zone = zone();
        for name in [
            "backend.n.svc.cluster.local",
            "n.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
        ] {
            assert_eq!(
                zone.lookup(name, Wanted::Other),
                Found::Records(Vec::new()),
                "{name}"
            );
        }
    }

    #[test]
    fn named_ports_are_services() {
        let record = |port, target: &str, address: [u8; 4]| Record::Service {
            port,
            target: target.to_owned(),
            address: address.into(),
        };
        let lookup = |name: &str| zone().lookup(name, Wanted::Service);
        assert_eq!(
            lookup("_http._tcp.backend.n.svc.cluster.local"),
            Found::Records(vec![record(9090, "backend.n.svc.cluster.local", [10, 96, 0, 20])])
        );
        assert_eq!(
            lookup("_http._tcp.db.n.svc.cluster.local"),
            Found::Records(vec![
                record(8080, "db-0.db.n.svc.cluster.local", [10, 244, 0, 2]),
                record(8080, "10-244-0-3.db.n.svc.cluster.local", [10, 244, 0, 3]),
            ])
        );
        assert_eq!(lookup("_http._udp.backend.n.svc.cluster.local"), Found::Nothing);
    }

    #[test]
    fn an_external_name_is_an_alias_whatever_is_wanted() {
        let alias = Found::Records(vec![Record::Alias("example.com".to_owned())]);
        assert_eq!(addresses("out.n.svc.cluster.local"), alias);
        assert_eq!(zone().lookup("out.n.svc.cluster.local", Wanted::Other), alias);
    }

    #[test]
    fn addresses_know_their_names() {
        let lookup = |name: &str| zone().lookup(name, Wanted::Name);
        let name = |name: &str| Found::Records(vec![Record::Name(name.to_owned())]);
        assert_eq!(
            lookup("20.0.96.10.in-addr.arpa"),
            name("backend.n.svc.cluster.local")
        );
        assert_eq!(
            lookup("2.0.244.10.in-addr.arpa"),
            name("db-0.db.n.svc.cluster.local")
        );
        assert_eq!(lookup("9.9.244.10.in-addr.arpa"), Found::Nothing);
        assert_eq!(lookup("8.8.8.8.in-addr.arpa"), Found::Elsewhere);
    }
}
