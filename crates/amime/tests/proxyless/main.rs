//! A gRPC client without a proxy: Python's `grpcio` with `xds:///backend:9091`, driven by the controller that drives the
//! sidecars. The rules decide where its calls go.
//!
//! Needs Python with `grpcio`: `PYTHONPATH` names the folder where `pip install --target` put it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a suite: it fails by panic and prints its figures"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../../soaks/steady/mod.rs"]
mod steady;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use harness::{Local, assert_share, wait};
use serde_json::{Value, json};
use steady::{NAMESPACE, apply, backend, namespace, service};

const CALLS: usize = 1000;

#[test]
fn a_grpc_client_without_a_proxy_follows_the_rules() {
    identity::install_provider();
    let python = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    let python = String::from_utf8(python.unwrap().stdout).unwrap();
    let local = Local::up(&["--image", &format!("python={}", python.trim())]);
    apply(
        &local,
        &[namespace(), service(), backend("0", 1), backend("1", 1)],
    );
    apply(&local, &[policy(), rules([90, 10]), model()]);
    for name in ["backend-0", "backend-1", "model"] {
        local.wait_for_deployment(NAMESPACE, name);
    }
    for (number, weights) in [[90, 10], [0, 100], [50, 50]].into_iter().enumerate() {
        apply(&local, &[rules(weights)]);
        let name = format!("client-{number}");
        apply(&local, &[client(&local, &name)]);
        let answers = finished(&local, &name);
        println!("{weights:?}: {answers:?}");
        assert_eq!(answers.values().sum::<usize>(), CALLS);
        let zero = answers.get("backend-0").copied().unwrap_or_default();
        assert_share(zero, CALLS, f64::from(weights[0]) / 100.0);
    }
}

fn policy() -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "backend", "namespace": NAMESPACE},
        "spec": {"host": "backend", "subsets": [
            {"name": "v0", "labels": {"version": "0"}}, {"name": "v1", "labels": {"version": "1"}}]}})
}

fn rules(weights: [u32; 2]) -> Value {
    let target = |version: usize| {
        let destination = json!({"host": "backend", "subset": format!("v{version}")});
        json!({"destination": destination, "weight": weights[version]})
    };
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "backend", "namespace": NAMESPACE},
        "spec": {"hosts": ["backend"], "http": [{"route": [target(0), target(1)]}]}})
}

/// An injected pod: what it is given to reach the controller, the client's pod gets too.
fn model() -> Value {
    steady::deployment(
        "model",
        1,
        &json!({"app": "model"}),
        json!([{"name": "model", "image": "compat-caller", "args": ["wait"]}]),
    )
}

fn client(local: &Local, name: &str) -> Value {
    let model = local.pod(NAMESPACE, "app=model");
    let model = local.get(&["pods", &model, "-n", NAMESPACE]);
    let proxy = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| model["spec"][*list].as_array().unwrap())
        .find(|container| container["name"] == "istio-proxy")
        .unwrap();
    let own = |item: &&Value| !item["name"].as_str().unwrap().starts_with("kube-api-access");
    let list = |value: &Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .filter(own)
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut mounts = list(&proxy["volumeMounts"]);
    mounts.push(json!({"name": "bootstrap", "mountPath": "/etc/bootstrap"}));
    let mut volumes = list(&model["spec"]["volumes"]);
    volumes.push(json!({"name": "bootstrap", "emptyDir": {}}));
    let packages = std::env::var("PYTHONPATH").expect("PYTHONPATH names the folder of grpcio");
    volumes.push(json!({"name": "packages", "hostPath": {"path": packages}}));
    let mut with_packages = mounts.clone();
    with_packages.push(json!({"name": "packages", "mountPath": "/packages"}));
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "client"},
            "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "restartPolicy": "Never",
            "volumes": volumes,
            "initContainers": [{"name": "bootstrap", "image": proxy["image"], "env": proxy["env"],
                "args": ["bootstrap", "grpc", "--output", "/etc/bootstrap/grpc.json"], "volumeMounts": mounts}],
            "containers": [{"name": "client", "image": "python",
                "args": ["-c", include_str!("client.py"), "backend:9091"], "volumeMounts": with_packages,
                "env": [{"name": "PYTHONPATH", "value": "/packages"},
                    {"name": "GRPC_EXPERIMENTAL_XDS_BOOTSTRAP_CALL_CREDS", "value": "true"},
                    {"name": "GRPC_XDS_BOOTSTRAP", "value": "/etc/bootstrap/grpc.json"}]}]}})
}

/// What the client told when it was done.
fn finished(local: &Local, name: &str) -> BTreeMap<String, usize> {
    let phase = wait("the client to finish", Duration::from_secs(60), || {
        let pod = local.get(&["pods", name, "-n", NAMESPACE]);
        let phase = pod["status"]["phase"].as_str()?.to_owned();
        ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase)
    });
    let told = local.ok(&["logs", name, "-n", NAMESPACE, "-c", "client"]);
    assert_eq!(phase, "Succeeded", "{told}");
    serde_json::from_str(told.lines().last().unwrap()).unwrap()
}
