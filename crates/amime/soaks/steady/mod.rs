//! A steady load from a pod of the mesh, and what its programs told in the end.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by soaks, each of which uses a part of it"
)]

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use crate::harness::{Local, wait};

/// Where everything of a soak is.
pub(crate) const NAMESPACE: &str = "soak";

/// What a load has told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// The lines of the failures.
    pub(crate) failures: Vec<String>,
}

/// The namespace, injected.
pub(crate) fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE,
        "labels": {"istio-injection": "enabled"}}})
}

/// Ports `http` and `grpc` of everything labelled `app: backend`.
pub(crate) fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "backend"}, "ports": [
            {"name": "http", "port": 9090, "targetPort": 9090},
            {"name": "grpc", "port": 9091, "targetPort": 9091}]}})
}

/// Pods that say `backend-VERSION`, and end at once when they are told to.
pub(crate) fn backend(version: &str, replicas: u32) -> Value {
    let name = format!("backend-{version}");
    deployment(
        &name,
        replicas,
        &json!({"app": "backend", "version": version}),
        json!([{"name": "backend", "image": "soak-backend", "env": [{"name": "NAME", "value": name}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 9090}, "periodSeconds": 1}}]),
    )
}

/// One pod `load` with these containers.
pub(crate) fn load(containers: Value) -> Value {
    deployment("load", 1, &json!({"app": "load"}), containers)
}

/// A container that calls.
pub(crate) fn caller(name: &str, words: &[&str]) -> Value {
    json!({"name": name, "image": "soak-load", "args": words})
}

pub(crate) fn deployment(name: &str, replicas: u32, labels: &Value, containers: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}}})
}

/// Applies objects; all must be taken.
pub(crate) fn apply(local: &Local, objects: &[Value]) {
    let text: Vec<_> = objects.iter().map(Value::to_string).collect();
    let output = local.apply(&text.join("\n---\n"));
    assert!(output.status.success(), "{}", crate::harness::said(&output));
}

/// What a container has told so far.
pub(crate) fn told(local: &Local, container: &str) -> Told {
    read(&log(local, container))
}

/// The lines of a load.
pub(crate) fn read(log: &str) -> Told {
    let mut told = Told::default();
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        match line["answered"].as_u64() {
            Some(answered) => {
                told.answered = answered;
                told.failed = line["failed"].as_u64().unwrap();
            }
            None => told.failures.push(line.to_string()),
        }
    }
    told
}

/// The log of a container of the load's pod.
pub(crate) fn log(local: &Local, container: &str) -> String {
    let pod = local.pod(NAMESPACE, "app=load");
    local.ok(&["logs", &pod, "-n", NAMESPACE, "-c", container])
}

/// Waits until all of these containers get answers.
pub(crate) fn wait_for_answers(local: &Local, containers: &[&str]) {
    local.wait_for_deployment(NAMESPACE, "load");
    for container in containers {
        wait(container, Duration::from_secs(30), || {
            (told(local, container).answered > 100).then_some(())
        });
    }
}

/// A client of the cluster's API.
pub(crate) async fn client(local: &Local) -> kube::Client {
    let read = Kubeconfig::read_from(local.kubeconfig()).unwrap();
    let settings = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    kube::Client::try_from(settings.unwrap()).unwrap()
}

/// Objects of a kind in the soak's namespace.
pub(crate) fn objects(client: &kube::Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// Changes an object by a merge patch.
pub(crate) async fn patch(api: &Api<DynamicObject>, name: &str, change: Value) {
    let patched = api
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await;
    patched.unwrap();
}

/// Prints what loads told; fails when a call has failed, or when there were too few.
pub(crate) fn judge(local: &Local, containers: &[&str], minimum: u64) {
    let all = containers
        .iter()
        .map(|container| (*container, told(local, container)));
    let all: Vec<(&str, Told)> = all.collect();
    let mut failures = Vec::new();
    for (container, told) in &all {
        println!("{container}: {} answered, {} failed", told.answered, told.failed);
        failures.extend(told.failures.iter().map(|line| format!("{container}: {line}")));
        assert_eq!(
            told.failed as usize,
            told.failures.len(),
            "each failure has its line"
        );
    }
    assert!(failures.is_empty(), "failed calls:\n{}", failures.join("\n"));
    assert!(
        all.iter().all(|(_, told)| told.answered >= minimum),
        "the load was too low: at least {minimum} were wanted"
    );
}
