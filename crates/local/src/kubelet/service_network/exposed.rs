//! Services on the host: node ports at 127.0.0.1, load balancers at an address of the loopback range each.
//!
//! The launcher makes the sockets ([`HostSockets`]); what connects to one goes on from the node to the Service's own
//! address, so that the same rules choose the endpoint. Where a port cannot be had, a higher one is taken, and the
//! Service's status and an event say which.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use daemon::{Tasks, clock};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::forwarding;
use crate::api::Status;
use crate::api::client::{Client, Object, Patch, Query};
use crate::api::gvr::SERVICES;
use crate::controllers::changes::Changes;
use crate::controllers::events::{self, Note};
use crate::controllers::object::{self, list, number, text};
use crate::kubelet::host_sockets::{HostSockets, Made, Wanted};

/// How long changes are collected.
const COLLECT: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_secs(2);
/// What is added to a port that the user may not bind or somebody else has.
const SHIFT: u16 = 10_000;

/// A socket of the host that a Service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    is_udp: bool,
    at: SocketAddrV4,
}

/// What a socket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Purpose {
    namespace: String,
    service: String,
    /// The Service's own address, where its rules are.
    to: SocketAddrV4,
    /// Whether another port will do.
    may_shift: bool,
}

/// A socket that is open, for as long as this lives.
struct Open {
    purpose: Purpose,
    /// The port that it got; none where it got none.
    port: Option<u16>,
    _alive: DropGuard,
}

/// Keeps the host's sockets as the Services want them.
pub(super) async fn keep_up(client: Client, sockets: HostSockets, tasks: Tasks) {
    let mut changes = Changes::of(&client, &SERVICES);
    let mut open = HashMap::new();
    loop {
        changes.next().await;
        let end = clock::now() + COLLECT;
        while clock::timeout(end.saturating_duration_since(clock::now()), changes.next())
            .await
            .is_ok()
        {}
        while let Err(status) = update(&client, &sockets, &mut open, &tasks).await {
            tracing::warn!(%status, "sockets for Services are out of date; trying again");
            clock::sleep(RETRY).await;
        }
    }
}

async fn update(
    client: &Client,
    sockets: &HostSockets,
    open: &mut HashMap<Place, Open>,
    tasks: &Tasks,
) -> Result<(), Status> {
    let services = client.list(&SERVICES, "", &Query::default())?.items;
    let wanted = wanted(&services);
    open.retain(|place, one| wanted.get(place) == Some(&one.purpose));
    for (place, purpose) in wanted {
        if open.contains_key(&place) {
            continue;
        }
        let (alive, purpose_too) = (CancellationToken::new(), purpose.clone());
        let port = begin(sockets, place, &purpose, alive.clone(), tasks).await?;
        let opened = Open {
            purpose,
            port,
            _alive: alive.drop_guard(),
        };
        open.insert(place, opened);
        if port != Some(place.at.port()) {
            tell(client, &services, place, &purpose_too, port).await;
        }
    }
    for service in &services {
        write_status(client, service, open).await?;
    }
    Ok(())
}

/// Opens a socket and forwards what comes; the port that it got.
async fn begin(
    sockets: &HostSockets,
    place: Place,
    purpose: &Purpose,
    alive: CancellationToken,
    tasks: &Tasks,
) -> Result<Option<u16>, Status> {
    let shifted = place.at.port().checked_add(SHIFT).unwrap_or_default();
    let ports = match purpose.may_shift {
        true => vec![place.at.port(), shifted, 0],
        false => vec![place.at.port()],
    };
    let broken = |error: std::io::Error| Status::internal(format!("no socket from the launcher: {error}"));
    for port in ports {
        let at = SocketAddrV4::new(*place.at.ip(), port);
        let (to, owner, alive) = (purpose.to, tasks.clone(), alive.clone());
        if place.is_udp {
            if let Ok(socket) = sockets.udp(Wanted::Udp(at)).await.map_err(broken)? {
                let port = socket.local_addr().map_err(broken)?.port();
                tasks.spawn("host datagrams", forwarding::datagrams(socket, to, alive, owner));
                return Ok(Some(port));
            }
        } else {
            match sockets.tcp(at).await.map_err(broken)? {
                Ok(listener) => {
                    let port = listener.local_addr().map_err(broken)?.port();
                    tasks.spawn(
                        "host connections",
                        forwarding::connections(listener, to, alive, owner),
                    );
                    return Ok(Some(port));
                }
                Err(Made::Nothing) => return Ok(None),
                Err(_) => {}
            }
        }
    }
    Ok(None)
}

/// Says on the Service that a port is not where it should be.
async fn tell(client: &Client, services: &[Object], place: Place, purpose: &Purpose, got: Option<u16>) {
    let is_it = |service: &&Object| {
        object::namespace(service) == purpose.namespace && object::name(service) == purpose.service
    };
    let Some(service) = services.iter().find(is_it) else {
        return;
    };
    let at = place.at;
    let message = match got {
        Some(port) => format!(
            "{at} cannot be bound on this host; the Service is reached at {}:{port} instead",
            at.ip()
        ),
        None => format!("{at} cannot be bound on this host: the Service is not reached there"),
    };
    let note = Note {
        about: service,
        warning: true,
        reason: if got.is_some() {
            "PortShifted"
        } else {
            "PortNotBound"
        },
        message,
        component: "service-lb-controller",
        field: None,
    };
    events::record(client, &note).await;
}

/// Every socket that the Services want.
fn wanted(services: &[Object]) -> BTreeMap<Place, Purpose> {
    let mut all = BTreeMap::new();
    for service in services.iter().filter(|service| !object::is_ending(service)) {
        let Ok(own) = text(&service["spec"]["clusterIP"]).parse::<Ipv4Addr>() else {
            continue;
        };
        let balancer = balancer_address(service);
        for port in list(&service["spec"]["ports"]) {
            let port_number = |field: &str| u16::try_from(number(&port[field])).ok().filter(|port| *port > 0);
            let is_udp = port["protocol"] == "UDP";
            let Some(to) = port_number("port").filter(|_| port["protocol"] != "SCTP") else {
                continue;
            };
            let purpose = |may_shift| Purpose {
                namespace: object::namespace(service).to_owned(),
                service: object::name(service).to_owned(),
                to: SocketAddrV4::new(own, to),
                may_shift,
            };
            let place = |address, port| Place {
                is_udp,
                at: SocketAddrV4::new(address, port),
            };
            if let Some(node_port) = port_number("nodePort") {
                all.insert(place(Ipv4Addr::LOCALHOST, node_port), purpose(false));
            }
            if let Some(address) = balancer {
                all.insert(place(address, to), purpose(true));
            }
        }
    }
    all
}

/// The address that a Service of type LoadBalancer has on the host: what it asks for within 127.0.0.0/8, or its cluster
/// address with 127 in front, which no other Service has for as long as it lives.
fn balancer_address(service: &Value) -> Option<Ipv4Addr> {
    let spec = &service["spec"];
    if spec["type"] != "LoadBalancer" || !text(&spec["loadBalancerClass"]).is_empty() {
        return None;
    }
    let asked = text(&spec["loadBalancerIP"]).parse::<Ipv4Addr>().ok();
    if let Some(asked) = asked.filter(Ipv4Addr::is_loopback) {
        return Some(asked);
    }
    let [_, b, c, d] = text(&spec["clusterIP"]).parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(127, b, c, d))
}

/// `status.loadBalancer` of a Service, when it is ours to write and says something else.
async fn write_status(client: &Client, service: &Value, open: &HashMap<Place, Open>) -> Result<(), Status> {
    if !text(&service["spec"]["loadBalancerClass"]).is_empty() {
        return Ok(());
    }
    let ingress = match balancer_address(service) {
        Some(address) => json!([ingress(service, address, open)]),
        None => json!([]),
    };
    let before = list(&service["status"]["loadBalancer"]["ingress"]);
    if object::canonical(&json!(before)) == object::canonical(&ingress) {
        return Ok(());
    }
    let ingress = if ingress == json!([]) {
        Value::Null
    } else {
        ingress
    };
    let patch =
        json!({"metadata": {"uid": object::uid(service)}, "status": {"loadBalancer": {"ingress": ingress}}});
    let (namespace, name) = (object::namespace(service), object::name(service));
    match client
        .patch_status(&SERVICES, namespace, name, Patch::Merge(patch))
        .await
    {
        // It has gone, or has a successor: that is news to come.
        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
        _ => Ok(()),
    }
}

fn ingress(service: &Value, address: Ipv4Addr, open: &HashMap<Place, Open>) -> Value {
    let ports = list(&service["spec"]["ports"]).iter().map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = u16::try_from(number(&port["port"])).unwrap_or_default();
        let place = Place {
            is_udp: protocol == "UDP",
            at: SocketAddrV4::new(address, number),
        };
        let mut status = json!({"port": number, "protocol": protocol});
        match open.get(&place).and_then(|open| open.port) {
            Some(got) if got == number => {}
            Some(got) => status["error"] = format!("local/ShiftedTo{got}").into(),
            None => status["error"] = "local/NotBound".into(),
        }
        status
    });
    json!({"ip": address.to_string(), "ipMode": "Proxy", "ports": ports.collect::<Vec<_>>()})
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn service(name: &str, spec: Value) -> Object {
        Arc::new(json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec}))
    }

    #[test]
    fn node_ports_are_at_localhost_and_balancers_at_addresses_of_their_own() {
        let services = [
            service(
                "plain",
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"port": 80}]}),
            ),
            service(
                "node",
                json!({"type": "NodePort", "clusterIP": "10.96.1.2",
                "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]}),
            ),
            service(
                "balancer",
                json!({"type": "LoadBalancer", "clusterIP": "10.96.1.3", "ports": [{"port": 443}]}),
            ),
            service(
                "asked",
                json!({"type": "LoadBalancer", "clusterIP": "10.96.1.4", "loadBalancerIP": "127.0.0.9",
                "ports": [{"port": 443}]}),
            ),
            service(
                "other",
                json!({"type": "LoadBalancer", "clusterIP": "10.96.1.5", "loadBalancerClass": "x/y",
                "ports": [{"port": 443}]}),
            ),
            service(
                "headless",
                json!({"type": "ClusterIP", "clusterIP": "None", "ports": [{"port": 80}]}),
            ),
        ];
        let found: Vec<String> = wanted(&services)
            .iter()
            .map(|(place, purpose)| {
                let protocol = if place.is_udp { "udp" } else { "tcp" };
                format!("{protocol} {} -> {}", place.at, purpose.to)
            })
            .collect();
        assert_eq!(
            found,
            [
                "tcp 127.0.0.1:30080 -> 10.96.1.2:80",
                "tcp 127.0.0.9:443 -> 10.96.1.4:443",
                "tcp 127.96.1.3:443 -> 10.96.1.3:443",
                "udp 127.0.0.1:30053 -> 10.96.1.2:53",
            ]
        );
    }

    #[test]
    fn the_status_says_which_port_is_elsewhere() {
        let balancer = service(
            "b",
            json!({"type": "LoadBalancer", "clusterIP": "10.96.1.3",
            "ports": [{"port": 80}, {"port": 8080}, {"port": 53, "protocol": "UDP"}]}),
        );
        let address = Ipv4Addr::new(127, 96, 1, 3);
        let mut open = HashMap::new();
        for (place, purpose) in wanted(std::slice::from_ref(&balancer)) {
            let port = match place.at.port() {
                80 => Some(10080),
                8080 => Some(8080),
                _ => None,
            };
            let _alive = CancellationToken::new().drop_guard();
            open.insert(
                place,
                Open {
                    purpose,
                    port,
                    _alive,
                },
            );
        }
        let expected = json!({"ip": "127.96.1.3", "ipMode": "Proxy", "ports": [
            {"port": 80, "protocol": "TCP", "error": "local/ShiftedTo10080"},
            {"port": 8080, "protocol": "TCP"},
            {"port": 53, "protocol": "UDP", "error": "local/NotBound"},
        ]});
        assert_eq!(ingress(&balancer, address, &open), expected);
    }
}
