//! Cluster addresses of Services: one each from 10.96.0.0/16, the one that was asked for or a free one; and their node
//! ports.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::super::registry::Type;
use super::super::{Status, gvr};
use super::{Api, Target, metadata, node_ports};

const RANGE: &str = "10.96.0.0/16";
const FIRST: u32 = 0x0a60_0000;
/// The low addresses are for those who ask for them (`kubernetes` .1, DNS .10), as in Kubernetes.
const LOW: u32 = 256;
/// The network's and the broadcast address are nobody's.
const LAST: u32 = 0xfffe;

/// Puts the address that a Service has into the newer object that leaves it out, and takes it from one that needs
/// none; whether another one may be asked for is a matter of validation.
pub(super) fn keep(kind: &Type, current: &Value, next: &mut Value) {
    if kind.gvr != gvr::SERVICES {
        return;
    }
    node_ports::keep(current, next);
    drop_what_the_type_had(current, next);
    let had = cluster_ip(current);
    if !needs_address(next) {
        drop_address(next);
    } else if cluster_ip(next).is_empty() && !had.is_empty() {
        set(next, had);
    } else if cluster_ip(next) != had && next["spec"]["clusterIPs"] == current["spec"]["clusterIPs"] {
        // Who wrote one of the two meant both.
        let asked = cluster_ip(next).to_owned();
        set(next, &asked);
    }
}

/// Fields that only some types may have go with the type, if nobody has changed them.
fn drop_what_the_type_had(current: &Value, next: &mut Value) {
    let kind = next["spec"]["type"].as_str().unwrap_or_default().to_owned();
    let gone: &[&str] = match &*kind {
        "LoadBalancer" => &[],
        "NodePort" => &[
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
            "healthCheckNodePort",
        ],
        _ => &[
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
            "healthCheckNodePort",
            "externalTrafficPolicy",
        ],
    };
    if current["spec"]["type"] == kind {
        return;
    }
    for field in gone {
        if next["spec"][field] == current["spec"][field]
            && let Some(spec) = next["spec"].as_object_mut()
        {
            spec.shift_remove(*field);
        }
    }
}

impl Api {
    /// Completes a Service with its address and its node ports. The guard is kept until the Service is stored, so that
    /// nobody else gets the same ones meanwhile.
    pub(super) async fn give_address(
        &self,
        target: &Target,
        current: Option<&Value>,
        object: &mut Value,
    ) -> Result<Option<MutexGuard<'_, ()>>, Status> {
        if target.kind.gvr != gvr::SERVICES {
            return Ok(None);
        }
        let guard = self.addresses.lock().await;
        self.give_node_ports(target, object)?;
        if !needs_address(object) {
            drop_address(object);
            return Ok(Some(guard));
        }
        let asked = cluster_ip(object).to_owned();
        if asked == "None" || current.is_some_and(|current| !asked.is_empty() && cluster_ip(current) == asked)
        {
            set(object, &asked);
            return Ok(Some(guard));
        }
        let taken = self.taken_addresses();
        let address = if asked.is_empty() {
            free_address(&taken, rand::random()).ok_or_else(|| {
                Status::internal(format!("failed to allocate a serviceIP: range {RANGE} is full"))
            })?
        } else {
            check_asked(target, &asked, &taken)?
        };
        set(object, &address.to_string());
        Ok(Some(guard))
    }

    fn give_node_ports(&self, target: &Target, object: &mut Value) -> Result<(), Status> {
        if !node_ports::has_node_ports(object) && node_ports::used(object).next().is_none() {
            return Ok(());
        }
        let (services, _) = self.store.list(&gvr::SERVICES.to_string(), "");
        let own = |service: &Value| {
            service["metadata"]["namespace"] == *target.namespace
                && service["metadata"]["name"] == *target.name
        };
        let others = services.iter().filter(|service| !own(service));
        let taken = others.flat_map(|service| node_ports::used(service)).collect();
        node_ports::assign(object, &taken, rand::random())
            .map_err(|refusal| invalid(target, &refusal.field, &refusal.message))
    }

    fn taken_addresses(&self) -> HashSet<Ipv4Addr> {
        let (services, _) = self.store.list(&gvr::SERVICES.to_string(), "");
        services
            .iter()
            .filter_map(|service| cluster_ip(service).parse().ok())
            .collect()
    }
}

fn cluster_ip(service: &Value) -> &str {
    service["spec"]["clusterIP"].as_str().unwrap_or_default()
}

fn needs_address(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName"
}

fn drop_address(service: &mut Value) {
    if let Some(spec) = service["spec"].as_object_mut() {
        spec.shift_remove("clusterIP");
        spec.shift_remove("clusterIPs");
    }
}

fn set(service: &mut Value, address: &str) {
    let spec = &mut service["spec"];
    spec["clusterIP"] = address.into();
    spec["clusterIPs"] = json!([address]);
}

/// A free address above the low ones; the search starts at a random place, so that an address is not soon used
/// again.
fn free_address(taken: &HashSet<Ipv4Addr>, chance: u32) -> Option<Ipv4Addr> {
    let count = LAST - LOW + 1;
    (0..count)
        .map(|step| Ipv4Addr::from(FIRST + LOW + chance.wrapping_add(step) % count))
        .find(|address| !taken.contains(address))
}

fn check_asked(target: &Target, asked: &str, taken: &HashSet<Ipv4Addr>) -> Result<Ipv4Addr, Status> {
    let field = "spec.clusterIPs";
    let address: Ipv4Addr = asked.parse().map_err(|_| {
        let message = format!(
            "Invalid value: \"{asked}\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        );
        invalid(target, "spec.clusterIPs[0]", &message)
    })?;
    let refuse = |why: &str| {
        let message = format!("Invalid value: [\"{asked}\"]: failed to allocate IP {asked}: {why}");
        Err(invalid(target, field, &message))
    };
    if !(FIRST + 1..=FIRST + LAST).contains(&u32::from(address)) {
        return refuse(&format!(
            "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {RANGE}"
        ));
    }
    if taken.contains(&address) {
        return refuse("provided IP is already allocated");
    }
    Ok(address)
}

fn invalid(target: &Target, field: &str, message: &str) -> Status {
    metadata::invalid(&target.kind, &target.name, (field, "FieldValueInvalid", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_address_is_found_wherever_the_search_starts() {
        let taken = HashSet::from([Ipv4Addr::new(10, 96, 1, 0)]);
        assert_eq!(free_address(&taken, 0), Some(Ipv4Addr::new(10, 96, 1, 1)));
        assert_eq!(
            free_address(&taken, LAST - LOW),
            Some(Ipv4Addr::new(10, 96, 255, 254))
        );
        assert_eq!(
            free_address(&taken, u32::MAX).map(|found| found.octets()[1]),
            Some(96)
        );
    }

    #[test]
    fn a_full_range_gives_no_address() {
        let taken = (FIRST..=FIRST + LAST).map(Ipv4Addr::from).collect();
        assert_eq!(free_address(&taken, 7), None);
    }
}
