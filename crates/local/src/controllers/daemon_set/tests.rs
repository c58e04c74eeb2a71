//! Steps of DaemonSets, on plain data.
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::object;
use super::placement::{self, node_of};
use super::plan::{Plan, Set, next, status};
use crate::api::client::Object;

fn set(update: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": update},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": []}}}})
}

fn node(name: &str, spec: Value) -> Object {
    Arc::new(json!({"metadata": {"name": name, "labels": {"disk": name}}, "spec": spec}))
}

fn nodes() -> Vec<Object> {
    ["a", "b", "c"].map(|name| node(name, json!({}))).to_vec()
}

/// A pod on a node, by the template with this hash; its name is both.
fn pod(on: &str, hash: &str, ready: bool) -> Object {
    let mut pod = placement::pod(&set(json!({})), hash, on);
    pod["metadata"]["name"] = format!("{on}-{hash}").into();
    pod["spec"]["nodeName"] = on.into();
    let ready = if ready { "True" } else { "False" };
    pod["status"] = json!({"phase": "Running", "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:00Z"}]});
    Arc::new(pod)
}

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(100)
}

/// What is done, in words: `create on a`, `delete a-old`.
fn steps(set: &Value, nodes: &[Object], pods: &[Object]) -> Vec<String> {
    let set = Set::of(set, "new", nodes, at());
    let Plan {
        create,
        delete,
        failed,
    } = next(&set, pods);
    let create = create.iter().map(|pod| format!("create on {}", node_of(pod)));
    let delete = delete.iter().map(|pod| format!("delete {}", object::name(pod)));
    let failed = failed.iter().map(|pod| format!("failed {}", object::name(pod)));
    create.chain(delete).chain(failed).collect()
}

#[test]
fn every_node_that_takes_the_pod_has_one() {
    let set = set(json!({}));
    assert_eq!(
        steps(&set, &nodes(), &[pod("b", "new", true)]),
        ["create on a", "create on c"]
    );
    let twice = [
        pod("a", "new", true),
        pod("a", "new", true),
        pod("b", "new", true),
    ];
    assert_eq!(steps(&set, &nodes()[..2], &twice), ["delete a-new"]);
    assert_eq!(
        steps(&set, &nodes()[..1], &twice[1..]),
        ["delete b-new"],
        "the node is gone"
    );
    let mut selective = set.clone();
    selective["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "c"});
    assert_eq!(
        steps(&selective, &nodes(), &twice[1..]),
        ["create on c", "delete a-new", "delete b-new"]
    );
}

#[test]
fn a_cordoned_node_keeps_its_pod_and_even_gets_one_a_tainted_one_only_keeps_it() {
    let cordoned = json!({"unschedulable": true,
        "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]});
    let tainted = json!({"taints": [{"key": "mine", "effect": "NoSchedule"}]});
    let evicting = json!({"taints": [{"key": "mine", "effect": "NoExecute"}]});
    let nodes = [node("a", cordoned), node("b", tainted), node("c", evicting)];
    assert_eq!(steps(&set(json!({})), &nodes, &[]), ["create on a"]);
    let pods = [
        pod("a", "new", true),
        pod("b", "new", true),
        pod("c", "new", true),
    ];
    assert_eq!(steps(&set(json!({})), &nodes, &pods), ["delete c-new"]);
    let object = set(json!({}));
    let status = status(&Set::of(&object, "new", &nodes, at()), &pods);
    assert_eq!(
        (&status["desiredNumberScheduled"], &status["numberMisscheduled"]),
        (&json!(1), &json!(2))
    );
}

#[test]
fn an_update_replaces_as_many_as_may_be_unavailable() {
    let old = [
        pod("a", "old", true),
        pod("b", "old", true),
        pod("c", "old", true),
    ];
    assert_eq!(
        steps(&set(json!({"maxUnavailable": 1})), &nodes(), &old),
        ["delete a-old"]
    );
    assert_eq!(
        steps(&set(json!({"maxUnavailable": "50%"})), &nodes(), &old),
        ["delete a-old", "delete b-old"]
    );
    let broken = [old[0].clone(), pod("b", "old", false), old[2].clone()];
    assert_eq!(
        steps(&set(json!({"maxUnavailable": 1})), &nodes(), &broken),
        ["delete b-old"],
        "what serves nobody goes first"
    );
    let mut on_delete = set(json!({}));
    on_delete["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    assert!(steps(&on_delete, &nodes(), &old).is_empty());
}

#[test]
fn with_surge_the_new_pod_comes_before_the_old_one_goes() {
    let set = set(json!({"maxUnavailable": 0, "maxSurge": 1}));
    let old = [
        pod("a", "old", true),
        pod("b", "old", true),
        pod("c", "old", true),
    ];
    assert_eq!(steps(&set, &nodes(), &old), ["create on a"]);
    let mut pods = old.to_vec();
    pods.push(pod("a", "new", false));
    assert!(steps(&set, &nodes(), &pods).is_empty());
    pods[3] = pod("a", "new", true);
    assert_eq!(steps(&set, &nodes(), &pods), ["create on b", "delete a-old"]);
}

#[test]
fn a_pod_that_has_failed_is_replaced() {
    let mut failed = Value::clone(&pod("a", "new", false));
    failed["status"]["phase"] = "Failed".into();
    assert_eq!(
        steps(&set(json!({})), &nodes()[..1], &[Arc::new(failed)]),
        ["failed a-new"]
    );
}
