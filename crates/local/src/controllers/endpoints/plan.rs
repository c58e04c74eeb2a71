//! The Endpoints of a Service, given its pods: a pure function.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::endpoint_slice::plan::{HEADLESS, has_endpoint, key, ports};
use super::super::object::{self, text};
use crate::api::client::Object;

const OWN: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object; slices hold the rest.
const MOST: usize = 1000;

/// Whether this controller wrote it.
pub(super) fn is_own(endpoints: &Value) -> bool {
    object::label(endpoints, OWN.0) == OWN.1
}

/// Pods that share their ports.
#[derive(Default)]
struct Subset {
    ports: Value,
    ready: Vec<Value>,
    not_ready: Vec<Value>,
}

/// What the Endpoints of `service` should say; `None` where `existing` says so already.
pub(super) fn plan(service: &Value, pods: &[Object], existing: Option<&Value>) -> Option<Value> {
    let mut pods: Vec<&Object> = pods.iter().filter(|pod| belongs(service, pod)).collect();
    // Those that may be called come first, so that they stay when there are too many.
    pods.sort_by_key(|pod| (!is_ready(service, pod), address_bytes(pod)));
    let too_many = pods.len() > MOST;
    pods.truncate(MOST);
    let mut subsets: BTreeMap<String, Subset> = BTreeMap::new();
    for pod in pods {
        let ports = ports(service, pod);
        let subset = subsets.entry(key(&ports)).or_default();
        subset.ports = ports;
        let addresses = if is_ready(service, pod) {
            &mut subset.ready
        } else {
            &mut subset.not_ready
        };
        addresses.push(address(service, pod));
    }
    let mut wanted = existing.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": object::name(service), "namespace": object::namespace(service)},
        })
    });
    wanted["subsets"] = subsets.into_values().map(Subset::written).collect();
    wanted["metadata"]["labels"] = labels(service);
    let annotations = &mut wanted["metadata"]["annotations"];
    match (too_many, annotations.as_object_mut()) {
        (true, _) => annotations[OVER_CAPACITY] = "truncated".into(),
        (false, Some(annotations)) => drop(annotations.shift_remove(OVER_CAPACITY)),
        (false, None) => {}
    }
    let says = |endpoints: &Value| object::canonical(endpoints);
    existing
        .is_none_or(|existing| says(existing) != says(&wanted))
        .then_some(wanted)
}

impl Subset {
    fn written(self) -> Value {
        let mut written = json!({});
        for (field, addresses) in [("addresses", self.ready), ("notReadyAddresses", self.not_ready)] {
            if !addresses.is_empty() {
                written[field] = addresses.into();
            }
        }
        if self.ports.as_array().is_some_and(|ports| !ports.is_empty()) {
            written["ports"] = self.ports;
        }
        written
    }
}

/// Pods on their way out are in slices only.
fn belongs(service: &Value, pod: &Value) -> bool {
    has_endpoint(pod) && (!object::is_ending(pod) || publishes_anyway(service))
}

fn publishes_anyway(service: &Value) -> bool {
    service["spec"]["publishNotReadyAddresses"] == true
}

fn is_ready(service: &Value, pod: &Value) -> bool {
    publishes_anyway(service) || object::is_condition_true(pod, "Ready")
}

/// For the order of addresses: by their numbers.
fn address_bytes(pod: &Value) -> Option<std::net::IpAddr> {
    text(&pod["status"]["podIP"]).parse().ok()
}

fn address(service: &Value, pod: &Value) -> Value {
    let mut address = json!({
        "ip": pod["status"]["podIP"],
        "targetRef": {
            "kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod), "uid": object::uid(pod),
        },
    });
    if let Some(node) = pod["spec"]["nodeName"].as_str() {
        address["nodeName"] = node.into();
    }
    let hostname = text(&pod["spec"]["hostname"]);
    if !hostname.is_empty() && pod["spec"]["subdomain"] == object::name(service) {
        address["hostname"] = hostname.into();
    }
    address
}

/// The Service's own labels, and whose work this is.
fn labels(service: &Value) -> Value {
    let own = service["metadata"]["labels"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut labels = Value::Object(own);
    labels[OWN.0] = OWN.1.into();
    if service["spec"]["clusterIP"] == "None" {
        labels[HEADLESS] = "".into();
    }
    labels
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "n", "labels": {"app": "web"}}, "spec": spec})
    }

    fn pod(number: usize, ready: bool, named: u16) -> Object {
        Arc::new(json!({
            "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": number.to_string()},
            "spec": {"nodeName": "local",
                "containers": [{"ports": [{"name": "http", "containerPort": named}]}]},
            "status": {"podIP": format!("10.244.{}.{}", number / 250, number % 250), "phase": "Running",
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
    }

    fn ips(subset: &Value, field: &str) -> Vec<String> {
        object::list(&subset[field])
            .iter()
            .map(|address| text(&address["ip"]).to_owned())
            .collect()
    }

    #[test]
    fn ready_pods_and_others_stand_apart_and_so_do_different_ports() {
        let service = service(json!({"ports": [{"name": "web", "port": 80, "targetPort": "http"}]}));
        let pods = [
            pod(11, true, 8080),
            pod(9, true, 8080),
            pod(3, false, 8080),
            pod(4, true, 9090),
        ];
        let endpoints = plan(&service, &pods, None).unwrap();
        let subsets = object::list(&endpoints["subsets"]);
        assert_eq!(subsets.len(), 2);
        assert_eq!(ips(&subsets[0], "addresses"), ["10.244.0.9", "10.244.0.11"]);
        assert_eq!(ips(&subsets[0], "notReadyAddresses"), ["10.244.0.3"]);
        assert_eq!(
            subsets[0]["ports"],
            json!([{"name": "web", "port": 8080, "protocol": "TCP"}])
        );
        assert_eq!(ips(&subsets[1], "addresses"), ["10.244.0.4"]);
        assert!(is_own(&endpoints) && endpoints["metadata"]["labels"]["app"] == "web");
        assert_eq!(
            plan(&service, &pods, Some(&endpoints)),
            None,
            "a second look changes nothing"
        );
    }

    #[test]
    fn pods_that_end_are_left_out_unless_they_are_published_anyway() {
        let mut ending = Value::clone(&pod(1, false, 80));
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let ending = [Arc::new(ending)];
        let mut service = service(json!({"clusterIP": "None"}));
        assert_eq!(plan(&service, &ending, None).unwrap()["subsets"], json!([]));
        service["spec"]["publishNotReadyAddresses"] = true.into();
        let endpoints = plan(&service, &ending, None).unwrap();
        assert_eq!(ips(&endpoints["subsets"][0], "addresses"), ["10.244.0.1"]);
        assert_eq!(endpoints["subsets"][0]["ports"], Value::Null);
        assert_eq!(object::label(&endpoints, HEADLESS), "");
    }

    #[test]
    fn too_many_pods_are_cut_and_that_is_said() {
        let service = service(json!({"ports": [{"port": 80}]}));
        let mut pods: Vec<Object> = (0..1000).map(|number| pod(number, false, 80)).collect();
        pods.push(pod(1001, true, 80));
        let full = plan(&service, &pods, None).unwrap();
        assert_eq!(object::annotation(&full, OVER_CAPACITY), "truncated");
        let subset = &full["subsets"][0];
        assert_eq!(
            (
                ips(subset, "addresses").len(),
                ips(subset, "notReadyAddresses").len()
            ),
            (1, 999)
        );
        let fewer = plan(&service, &pods[..5], Some(&full)).unwrap();
        assert_eq!(object::annotation(&fewer, OVER_CAPACITY), "");
    }
}
