//! Rows against what a real server prints.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Include, render};
use crate::api::registry::Registry;

const CREATED: &str = "2026-11-22T20:40:27Z";

fn now() -> SystemTime {
    // 61 seconds later.
    UNIX_EPOCH + Duration::from_secs(1_795_380_027 + 61)
}

fn cells(group: &str, resource: &str, mut object: Value) -> Vec<Value> {
    object["metadata"]["creationTimestamp"] = json!(CREATED);
    let registry = Registry::built_in();
    let kind = registry.preferred(group, resource).expect("it is built in");
    let table = render(kind, &[Arc::new(object)], Include::Metadata, now());
    let width = table["columnDefinitions"].as_array().map(Vec::len);
    let cells = table["rows"][0]["cells"].as_array().cloned().unwrap_or_default();
    assert_eq!(width, Some(cells.len()));
    cells
}

fn status_of(spec: &Value, status: &Value) -> (String, String, String) {
    let cells = cells(
        "",
        "pods",
        json!({"metadata": {"name": "a"}, "spec": spec, "status": status}),
    );
    let text = |index: usize| cells[index].as_str().unwrap_or_default().to_owned();
    (text(1), text(2), text(3))
}

fn expect(spec: &Value, status: &Value, ready: &str, shown: &str) {
    let (found_ready, found, _) = status_of(spec, status);
    assert_eq!((found_ready.as_str(), found.as_str()), (ready, shown));
}

#[test]
fn a_running_pod_shows_its_address_and_age() {
    let pod = json!({"metadata": {"name": "backend"}, "spec": {"containers": [{"name": "a"}], "nodeName": "local"},
        "status": {"phase": "Running", "podIP": "10.244.0.3", "containerStatuses":
            [{"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}}]}});
    let wanted = json!([
        "backend",
        "1/1",
        "Running",
        "0",
        "61s",
        "10.244.0.3",
        "local",
        "<none>",
        "<none>"
    ]);
    assert_eq!(json!(cells("", "pods", pod)), wanted);
}

#[test]
fn the_status_of_a_pod_says_what_its_phase_does_not() {
    let one = json!({"containers": [{"name": "a"}]});
    let with_init = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    let sidecar =
        json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let state =
        |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "a", "state": state}]});
    expect(&one, &json!({"phase": "Pending"}), "0/1", "Pending");
    expect(
        &one,
        &state(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        "0/1",
        "CrashLoopBackOff",
    );
    expect(
        &one,
        &state(json!({"terminated": {"reason": "Completed", "exitCode": 0}})),
        "0/1",
        "Completed",
    );
    expect(
        &one,
        &state(json!({"terminated": {"exitCode": 3}})),
        "0/1",
        "ExitCode:3",
    );
    expect(
        &one,
        &state(json!({"terminated": {"signal": 9}})),
        "0/1",
        "Signal:9",
    );
    expect(
        &one,
        &json!({"phase": "Failed", "reason": "Evicted"}),
        "0/1",
        "Evicted",
    );
    let init =
        |state: Value| json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": state}]});
    expect(&with_init, &init(json!({"running": {}})), "0/1", "Init:0/2");
    expect(
        &with_init,
        &init(json!({"terminated": {"reason": "Error", "exitCode": 1}})),
        "0/1",
        "Init:Error",
    );
    expect(
        &with_init,
        &init(json!({"waiting": {"reason": "ErrImagePull"}})),
        "0/1",
        "Init:ErrImagePull",
    );
    let both = json!({"phase": "Running",
        "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
        "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}]});
    expect(&sidecar, &both, "2/2", "Running");
}

#[test]
fn restarts_say_when_the_last_one_was() {
    let status = json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 3, "ready": true,
        "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-11-22T20:40:58Z"}}}]});
    assert_eq!(
        status_of(&json!({"containers": [{"name": "a"}]}), &status).2,
        "3 (30s ago)"
    );
}

#[test]
fn a_pod_on_its_way_out_terminates() {
    let pod = json!({"metadata": {"name": "a", "deletionTimestamp": CREATED}, "spec": {},
        "status": {"phase": "Running"}});
    assert_eq!(cells("", "pods", pod)[2], "Terminating");
}

#[test]
fn workloads_and_services_show_their_numbers() {
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "b",
        "version": "0"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"readyReplicas": 1, "updatedReplicas": 2}});
    let wanted = json!(["d", "1/2", 2, 0, "61s", "c", "i", "app=b,version=0"]);
    assert_eq!(json!(cells("apps", "deployments", deployment)), wanted);
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.2",
        "ports": [{"port": 9090, "protocol": "TCP"}], "selector": {"app": "b"}}});
    let wanted = json!([
        "s",
        "ClusterIP",
        "10.96.0.2",
        "<none>",
        "9090/TCP",
        "61s",
        "app=b"
    ]);
    assert_eq!(json!(cells("", "services", service)), wanted);
}

#[test]
fn every_built_in_kind_fills_every_column_even_of_an_empty_object() {
    let registry = Registry::built_in();
    for kind in registry.all() {
        let table = render(kind, &[Arc::new(json!({}))], Include::None, now());
        let columns = table["columnDefinitions"].as_array().map(Vec::len);
        assert_eq!(
            table["rows"][0]["cells"].as_array().map(Vec::len),
            columns,
            "{}",
            kind.gvr
        );
    }
}

#[test]
fn custom_columns_follow_their_paths() {
    let definition = json!({"spec": {"group": "networking.istio.io", "scope": "Namespaced",
        "names": {"kind": "VirtualService", "plural": "virtualservices"},
        "versions": [{"name": "v1", "served": true, "storage": true, "additionalPrinterColumns": [
            {"name": "Gateways", "type": "string", "jsonPath": ".spec.gateways"},
            {"name": "Hosts", "type": "string", "jsonPath": ".spec.hosts"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]}]}});
    let registry = Registry::with_crds([&definition]);
    let kind = registry
        .preferred("networking.istio.io", "virtualservices")
        .expect("is served");
    let object = json!({"metadata": {"name": "backend", "creationTimestamp": CREATED}, "spec": {"hosts": ["backend"]}});
    let table = render(kind, &[Arc::new(object)], Include::Metadata, now());
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["backend", null, "[\"backend\"]", "61s"])
    );
}
