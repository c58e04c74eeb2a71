//! EndpointSlices for Endpoints that a user wrote, so that everything else needs to know slices only: a pure function.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::endpoint_slice::plan::{MANAGED_BY, SERVICE_NAME, key};
use super::super::object::{self, list, text};
use crate::api::client::Object;

pub(super) const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that are a lock and lead nowhere.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses of one subset; Kubernetes mirrors no more.
const MOST: usize = 1000;

#[derive(Debug, PartialEq)]
pub(super) enum Write {
    Create(Value),
    Update(Value),
    Delete(Object),
}

pub(super) fn is_wanted(endpoints: &Value) -> bool {
    !object::is_ending(endpoints)
        && object::label(endpoints, SKIP) != "true"
        && object::annotation(endpoints, LEADER).is_empty()
}

/// What the slices of `service` need, one for each set of ports; without `endpoints` there are none.
pub(super) fn plan(service: &str, endpoints: Option<&Value>, existing: &[Object]) -> Vec<Write> {
    let mut wanted = endpoints
        .map(|endpoints| slices(service, endpoints))
        .unwrap_or_default();
    let mut writes = Vec::new();
    for slice in existing {
        match wanted.remove(&key(&slice["ports"])) {
            None => writes.push(Write::Delete(slice.clone())),
            Some(fresh) => {
                let mut updated = Value::clone(slice);
                updated["metadata"]["labels"] = fresh["metadata"]["labels"].clone();
                updated["endpoints"] = fresh["endpoints"].clone();
                if object::canonical(&updated) != object::canonical(slice) {
                    writes.push(Write::Update(updated));
                }
            }
        }
    }
    writes.extend(wanted.into_values().map(Write::Create));
    writes
}

fn slices(service: &str, source: &Value) -> BTreeMap<String, Value> {
    let mut slices: BTreeMap<String, Value> = BTreeMap::new();
    for subset in list(&source["subsets"]) {
        let ports = json!(list(&subset["ports"]));
        let addresses = [("addresses", true), ("notReadyAddresses", false)]
            .into_iter()
            .flat_map(|(field, ready)| list(&subset[field]).iter().map(move |address| (address, ready)));
        let endpoints = addresses
            .take(MOST)
            .filter_map(|(address, ready)| endpoint(address, ready));
        let slice = slices
            .entry(key(&ports))
            .or_insert_with(|| empty(service, source, &ports));
        if let Some(list) = slice["endpoints"].as_array_mut() {
            list.extend(endpoints);
        }
    }
    slices
}

fn empty(service: &str, source: &Value, ports: &Value) -> Value {
    let own = source["metadata"]["labels"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut labels = Value::Object(own);
    labels[SERVICE_NAME] = service.into();
    labels[MANAGED_BY] = MIRROR.into();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{service}-"), "namespace": object::namespace(source),
            "labels": labels, "ownerReferences": [object::controller_reference(source)],
        },
        "addressType": "IPv4", "endpoints": [], "ports": ports,
    })
}

/// Addresses of the other family would need slices of their own, and here is no network for them.
fn endpoint(address: &Value, ready: bool) -> Option<Value> {
    let ip: Ipv4Addr = text(&address["ip"]).parse().ok()?;
    let mut endpoint = json!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
    for field in ["hostname", "nodeName", "targetRef"] {
        if !address[field].is_null() {
            endpoint[field] = address[field].clone();
        }
    }
    Some(endpoint)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn endpoints(addresses: &[&str]) -> Value {
        let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": "db", "namespace": "n", "uid": "e", "labels": {"team": "x"}},
            "subsets": [{"addresses": addresses, "notReadyAddresses": [{"ip": "10.0.0.9"}],
                "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}],
        })
    }

    fn settled(writes: Vec<Write>) -> Vec<Object> {
        let kept = |write| match write {
            Write::Create(slice) | Write::Update(slice) => Some(Arc::new(slice)),
            Write::Delete(_) => None,
        };
        writes.into_iter().filter_map(kept).collect()
    }

    #[test]
    fn each_set_of_ports_has_a_slice_that_follows_the_endpoints() {
        let first = endpoints(&["10.0.0.1", "fe80::1"]);
        let slices = settled(plan("db", Some(&first), &[]));
        let [slice] = slices.as_slice() else {
            panic!("{slices:?}")
        };
        assert_eq!(
            slice["endpoints"],
            json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.9"], "conditions": {"ready": false}},
            ])
        );
        assert_eq!(object::label(slice, SERVICE_NAME), "db");
        assert_eq!(object::label(slice, "team"), "x");
        assert_eq!(
            plan("db", Some(&first), &slices),
            [],
            "a second look changes nothing"
        );
        let changed = plan("db", Some(&endpoints(&["10.0.0.2"])), &slices);
        assert!(matches!(changed.as_slice(), [Write::Update(_)]), "{changed:?}");
        let gone = plan("db", None, &slices);
        assert!(matches!(gone.as_slice(), [Write::Delete(_)]), "{gone:?}");
    }

    #[test]
    fn locks_and_what_asks_to_be_left_alone_are_not_mirrored() {
        let mut skipped = endpoints(&[]);
        assert!(is_wanted(&skipped));
        skipped["metadata"]["labels"][SKIP] = "true".into();
        assert!(!is_wanted(&skipped));
        let mut lock = endpoints(&[]);
        lock["metadata"]["annotations"] = json!({LEADER: "{}"});
        assert!(!is_wanted(&lock));
    }
}
