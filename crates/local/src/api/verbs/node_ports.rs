//! Node ports of Services: 30000 to 32767, each port of the range for one Service; what was asked for or a free one.
//!
//! Pure: who else has which port is passed in, and a place to start the search. Messages as in Kubernetes' allocator.

use std::collections::HashSet;

use serde_json::Value;

const FIRST: u16 = 30000;
const COUNT: u16 = 2768;
const RANGE: &str = "30000-32767";

/// Why a port cannot be had: the field, and the message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) field: String,
    pub(super) message: String,
}

/// Whether a Service has node ports.
pub(super) fn has_node_ports(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Puts the ports that a Service has into the newer object that leaves them out, and takes them from one of a type
/// that has none.
pub(super) fn keep(current: &Value, next: &mut Value) {
    let (had, has) = (has_node_ports(current), has_node_ports(next));
    let before = ports(current).to_vec();
    let may_state = matches!(next["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    for port in next["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        let Some(earlier) = before
            .iter()
            .find(same)
            .map(|earlier| earlier["nodePort"].clone())
        else {
            continue;
        };
        if had && has && number(port) == 0 && !earlier.is_null() {
            port["nodePort"] = earlier;
        } else if !may_state && port["nodePort"] == earlier {
            // The type changed, and this came along.
            remove(port);
        }
    }
}

fn remove(port: &mut Value) {
    if let Some(port) = port.as_object_mut() {
        port.shift_remove("nodePort");
    }
}

/// The ports of one Service.
pub(super) fn used(service: &Value) -> impl Iterator<Item = u16> {
    let checked = u16::try_from(
        service["spec"]["healthCheckNodePort"]
            .as_u64()
            .unwrap_or_default(),
    );
    let checked = checked.ok().filter(|port| *port > 0);
    ports(service)
        .iter()
        .map(number)
        .filter(|port| *port > 0)
        .chain(checked)
}

/// Completes a Service with its node ports; `taken` are those of others.
pub(super) fn assign(service: &mut Value, taken: &HashSet<u16>, chance: u32) -> Result<(), Refusal> {
    let mut own: HashSet<(u16, String)> = HashSet::new();
    for (index, port) in ports(service).iter().enumerate() {
        let asked = number(port);
        let refuse = |why: &str| {
            Err(Refusal {
                field: format!("spec.ports[{index}].nodePort"),
                message: format!("Invalid value: {asked}: {why}"),
            })
        };
        if asked == 0 {
            continue;
        }
        if !(FIRST..FIRST + COUNT).contains(&asked) {
            return refuse(&format!(
                "provided port is not in the valid range. The range of valid ports is {RANGE}"
            ));
        }
        // The same port may serve two protocols.
        if taken.contains(&asked) || !own.insert((asked, protocol(port))) {
            return refuse("provided port is already allocated");
        }
    }
    if !has_node_ports(service) {
        return Ok(());
    }
    let mut taken: HashSet<u16> = taken
        .iter()
        .copied()
        .chain(own.into_iter().map(|(port, _)| port))
        .collect();
    let mut next = |field: String| {
        let free = (0..COUNT).map(|step| FIRST + (chance as u16 % COUNT + step) % COUNT);
        let free = free
            .into_iter()
            .find(|port| !taken.contains(port))
            .ok_or(Refusal {
                field,
                message: "Internal error: failed to allocate a nodePort: range is full".to_owned(),
            })?;
        taken.insert(free);
        Ok(free)
    };
    for (index, port) in service["spec"]["ports"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if number(port) == 0 {
            port["nodePort"] = next(format!("spec.ports[{index}].nodePort"))?.into();
        }
    }
    let spec = &service["spec"];
    let is_checked = spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
    if is_checked && spec["healthCheckNodePort"].as_u64().unwrap_or_default() == 0 {
        service["spec"]["healthCheckNodePort"] = next("spec.healthCheckNodePort".to_owned())?.into();
    }
    Ok(())
}

fn ports(service: &Value) -> &[Value] {
    service["spec"]["ports"].as_array().map_or(&[], Vec::as_slice)
}

/// The node port of a port; zero means none.
fn number(port: &Value) -> u16 {
    let stated = port["nodePort"].as_u64().unwrap_or_default();
    u16::try_from(stated).unwrap_or(u16::MAX)
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(kind: &str, ports: Value) -> Value {
        json!({"spec": {"type": kind, "ports": ports}})
    }

    fn node_ports(service: &Value) -> Vec<u16> {
        ports(service).iter().map(number).collect()
    }

    #[test]
    fn ports_are_found_and_those_that_were_asked_for_are_kept() {
        let ports = json!([{"port": 80}, {"port": 81, "nodePort": 30001}, {"port": 82}]);
        let mut service = service("NodePort", ports);
        assign(&mut service, &HashSet::from([30000]), 0).unwrap();
        assert_eq!(node_ports(&service), [30002, 30001, 30003]);
    }

    #[test]
    fn the_search_goes_round_and_ends() {
        let one = || service("LoadBalancer", json!([{"port": 80}]));
        let mut last = one();
        assign(&mut last, &(30001..=32767).collect(), 2767).unwrap();
        assert_eq!(node_ports(&last), [30000]);
        let refusal = assign(&mut one(), &(30000..=32767).collect(), 7).unwrap_err();
        assert!(refusal.message.contains("range is full"), "{refusal:?}");
    }

    #[test]
    fn ports_outside_the_range_or_of_others_are_refused() {
        for (port, why) in [
            (
                80,
                "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ),
            (30005, "Invalid value: 30005: provided port is already allocated"),
        ] {
            let mut service = service("NodePort", json!([{"port": 80, "nodePort": port}]));
            let refusal = assign(&mut service, &HashSet::from([30005]), 0).unwrap_err();
            assert_eq!(
                (&*refusal.field, &*refusal.message),
                ("spec.ports[0].nodePort", why)
            );
        }
    }

    #[test]
    fn a_port_may_serve_two_protocols_but_not_one_twice() {
        let ports = |second: &str| {
            json!([{"port": 53, "protocol": "TCP", "nodePort": 30053},
                {"port": 54, "protocol": second, "nodePort": 30053}])
        };
        assert!(assign(&mut service("NodePort", ports("UDP")), &HashSet::new(), 0).is_ok());
        assert!(assign(&mut service("NodePort", ports("TCP")), &HashSet::new(), 0).is_err());
    }

    #[test]
    fn an_update_keeps_ports_and_another_type_loses_them() {
        let before = service(
            "NodePort",
            json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]),
        );
        let mut applied = service("NodePort", json!([{"port": 80, "protocol": "TCP"}]));
        keep(&before, &mut applied);
        assert_eq!(node_ports(&applied), [30080]);
        let mut plain = service(
            "ClusterIP",
            json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]),
        );
        keep(&before, &mut plain);
        assert_eq!(plain["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP"}));
    }

    #[test]
    fn a_load_balancer_without_node_ports_gets_none() {
        let mut service = service("LoadBalancer", json!([{"port": 80}]));
        service["spec"]["allocateLoadBalancerNodePorts"] = false.into();
        assign(&mut service, &HashSet::new(), 0).unwrap();
        assert_eq!(node_ports(&service), [0]);
        service["spec"]["allocateLoadBalancerNodePorts"] = true.into();
        service["spec"]["externalTrafficPolicy"] = "Local".into();
        assign(&mut service, &HashSet::new(), 0).unwrap();
        assert_eq!(
            (used(&service).count(), &service["spec"]["healthCheckNodePort"]),
            (2, &json!(30001))
        );
    }
}
