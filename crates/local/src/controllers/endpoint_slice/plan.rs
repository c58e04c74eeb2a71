//! The EndpointSlices of a Service, given its pods: a pure function that changes as little as it can, because every
//! change is told to everyone who watches.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::object::{self, list, number, text};
use crate::api::client::Object;

pub(in super::super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(in super::super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
pub(in super::super) const HEADLESS: &str = "service.kubernetes.io/headless";

/// Endpoints in one slice.
const MOST: usize = 100;

/// The zone of a node, if it has one.
pub(super) type ZoneOf<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Debug, PartialEq)]
pub(super) enum Write {
    Create(Value),
    Update(Value),
    Delete(Object),
}

/// What the slices of `service` need: `existing` are those of this controller, `zone_of` knows the nodes' zones.
pub(super) fn plan(service: &Value, pods: &[Object], existing: &[Object], zone_of: ZoneOf<'_>) -> Vec<Write> {
    let mut wanted = wanted(service, pods, zone_of);
    let mut kept: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    let mut writes = Vec::new();
    for slice in existing {
        let ports = key(&slice["ports"]);
        match wanted.contains_key(&ports) && slice["addressType"] == "IPv4" && !object::is_ending(slice) {
            true => kept.entry(ports).or_default().push(slice.clone()),
            false => writes.push(Write::Delete(slice.clone())),
        }
    }
    for (key, group) in &mut wanted {
        let slices = kept.remove(key).unwrap_or_default();
        writes.extend(fill(service, group, &slices));
    }
    without_gaps(writes)
}

/// A Service whose ports change is never without endpoints: a slice that would go takes what another would be made for,
/// and whatever goes goes last (as Kubernetes' own controller has it).
fn without_gaps(writes: Vec<Write>) -> Vec<Write> {
    let (mut ordered, mut making, mut going) = (Vec::new(), Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::Create(slice) => making.push(slice),
            Write::Update(slice) => ordered.push(Write::Update(slice)),
            Write::Delete(slice) => going.push(slice),
        }
    }
    let may_stay = |slice: &Object| slice["addressType"] == "IPv4" && !object::is_ending(slice);
    let (reused, gone): (Vec<_>, Vec<_>) = going.into_iter().partition(may_stay);
    let mut reused = reused.into_iter();
    for new in making {
        ordered.push(match reused.next() {
            Some(old) => Write::Update(become_like(&old, &new)),
            None => Write::Create(new),
        });
    }
    ordered.extend(reused.chain(gone).map(Write::Delete));
    ordered
}

fn become_like(old: &Object, new: &Value) -> Value {
    let mut slice = Value::clone(old);
    slice["metadata"]["labels"] = new["metadata"]["labels"].clone();
    slice["endpoints"] = new["endpoints"].clone();
    slice["ports"] = new["ports"].clone();
    slice
}

/// Endpoints that share their ports; pods may resolve a named port differently.
struct Group {
    ports: Value,
    endpoints: BTreeMap<String, Value>,
}

/// The same text for the same ports, whether or not defaults were written out.
pub(in super::super) fn key(ports: &Value) -> String {
    let key = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let (name, number) = (text(&port["name"]), number(&port["port"]));
        format!("{name}:{number}/{protocol}/{};", text(&port["appProtocol"]))
    };
    list(ports).iter().map(key).collect()
}

fn wanted(service: &Value, pods: &[Object], zone_of: ZoneOf<'_>) -> BTreeMap<String, Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| has_endpoint(pod)) {
        let ports = ports(service, pod);
        let group = groups.entry(key(&ports)).or_insert_with(|| Group {
            ports,
            endpoints: BTreeMap::new(),
        });
        group
            .endpoints
            .insert(object::uid(pod).to_owned(), endpoint(service, pod, zone_of));
    }
    if groups.is_empty() {
        // A Service without pods has one empty slice, so that there is something to watch.
        let (ports, endpoints) = (json!([]), BTreeMap::new());
        groups.insert(key(&ports), Group { ports, endpoints });
    }
    groups
}

/// Fills the slices of one group: stale endpoints leave, new ones go where there is room.
fn fill(service: &Value, group: &mut Group, slices: &[Object]) -> Vec<Write> {
    let mut contents: Vec<Vec<Value>> = Vec::new();
    for slice in slices {
        let stay = |endpoint: &Value| group.endpoints.remove(text(&endpoint["targetRef"]["uid"]));
        contents.push(list(&slice["endpoints"]).iter().filter_map(stay).collect());
    }
    let mut new: Vec<Value> = std::mem::take(&mut group.endpoints).into_values().collect();
    for content in &mut contents {
        let room = MOST.saturating_sub(content.len()).min(new.len());
        content.extend(new.drain(..room));
    }
    let mut writes = Vec::new();
    let is_last_hope = contents.iter().all(Vec::is_empty) && new.is_empty();
    for (index, (slice, content)) in slices.iter().zip(contents).enumerate() {
        if content.is_empty() && !(is_last_hope && index == 0) {
            writes.push(Write::Delete(slice.clone()));
            continue;
        }
        let updated = updated(service, slice, content);
        if object::canonical(&updated) != object::canonical(slice) {
            writes.push(Write::Update(updated));
        }
    }
    if slices.is_empty() && new.is_empty() {
        writes.push(Write::Create(created(service, &group.ports, &[])));
    }
    for chunk in new.chunks(MOST) {
        writes.push(Write::Create(created(service, &group.ports, chunk)));
    }
    writes
}

fn created(service: &Value, ports: &Value, endpoints: &[Value]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", object::name(service)),
            "namespace": object::namespace(service),
            "labels": labels(service),
            "ownerReferences": [object::controller_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn updated(service: &Value, slice: &Value, endpoints: Vec<Value>) -> Value {
    let mut slice = slice.clone();
    slice["metadata"]["labels"] = labels(service);
    slice["endpoints"] = endpoints.into();
    slice
}

/// The Service's own labels, and those by which slices are found.
fn labels(service: &Value) -> Value {
    let own = service["metadata"]["labels"].as_object().into_iter().flatten();
    let reserved = [SERVICE_NAME, MANAGED_BY, HEADLESS];
    let own = own.filter(|(key, _)| !reserved.contains(&key.as_str()));
    let mut labels = Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect());
    labels[SERVICE_NAME] = object::name(service).into();
    labels[MANAGED_BY] = MANAGER.into();
    if service["spec"]["clusterIP"] == "None" {
        labels[HEADLESS] = "".into();
    }
    labels
}

/// Pods with an address that have not ended; those that are about to end still serve.
pub(in super::super) fn has_endpoint(pod: &Value) -> bool {
    pod["status"]["podIP"]
        .as_str()
        .is_some_and(|address| !address.is_empty())
        && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn endpoint(service: &Value, pod: &Value, zone_of: ZoneOf<'_>) -> Value {
    let publish_anyway = service["spec"]["publishNotReadyAddresses"] == true;
    let serving = publish_anyway || object::is_condition_true(pod, "Ready");
    let terminating = object::is_ending(pod);
    let mut endpoint = json!({
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": publish_anyway || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod), "uid": object::uid(pod),
        },
    });
    if let Some(node) = pod["spec"]["nodeName"].as_str() {
        endpoint["nodeName"] = node.into();
        if let Some(zone) = zone_of(node) {
            endpoint["zone"] = zone.into();
        }
    }
    let hostname = text(&pod["spec"]["hostname"]);
    if !hostname.is_empty() && pod["spec"]["subdomain"] == object::name(service) {
        endpoint["hostname"] = hostname.into();
    }
    endpoint
}

/// The Service's ports as this pod has them; a name that no container has is left out.
pub(in super::super) fn ports(service: &Value, pod: &Value) -> Value {
    let resolved = list(&service["spec"]["ports"]).iter().filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = match &port["targetPort"] {
            Value::Null => number(&port["port"]),
            Value::String(name) => container_port(pod, name, protocol)?,
            numeric => numeric.as_i64()?,
        };
        let mut resolved = json!({"name": text(&port["name"]), "port": number, "protocol": protocol});
        if !port["appProtocol"].is_null() {
            resolved["appProtocol"] = port["appProtocol"].clone();
        }
        Some(resolved)
    });
    // Each port once: a Service may offer one container's port under two names, but not twice under one.
    let mut seen = BTreeSet::new();
    resolved.filter(|port| seen.insert(key(&json!([port])))).collect()
}

fn container_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let sidecars = list(&pod["spec"]["initContainers"])
        .iter()
        .filter(|one| one["restartPolicy"] == "Always");
    let containers = list(&pod["spec"]["containers"]).iter().chain(sidecars);
    containers
        .flat_map(|container| list(&container["ports"]))
        .find(|port| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol)
        .and_then(|port| port["containerPort"].as_i64())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
