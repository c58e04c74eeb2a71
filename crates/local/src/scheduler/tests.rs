//! Choices of nodes, on plain data.
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]

use std::sync::Arc;

use daemon::Tasks;
use serde_json::{Value, json};

use super::choose::{Refusal, World, choose};
use crate::api::client::Object;
use crate::api::node_link::NodeLink;
use crate::api::{self, Gvr, gvr};
use crate::controllers::object;
use crate::kubelet::events::Events;

/// Three nodes, in zones a, a and b.
fn nodes() -> Vec<Object> {
    [("n1", "a"), ("n2", "a"), ("n3", "b")]
        .map(|(name, zone)| {
            Arc::new(json!({"metadata": {"name": name, "labels": {
                    "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
                "spec": {}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}}))
        })
        .to_vec()
}

fn change(nodes: &mut [Object], index: usize, pointer: &str, value: Value) {
    let mut node = Value::clone(&nodes[index]);
    node[pointer.split_once('/').unwrap().0][pointer.split_once('/').unwrap().1] = value;
    nodes[index] = Arc::new(node);
}

fn pod(app: &str, node: &str, spec: Value) -> Object {
    let mut pod = json!({"metadata": {"name": app, "namespace": "default", "labels": {"app": app},
            "ownerReferences": [{"uid": app, "controller": true}]},
        "spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    for (field, value) in spec.as_object().unwrap() {
        pod["spec"][field] = value.clone();
    }
    Arc::new(pod)
}

fn place(nodes: &[Object], pods: &[Object], pod: &Value) -> Result<String, String> {
    choose(&World::of(nodes, pods, &[]), pod).map_err(|Refusal(why)| why)
}

fn selecting(app: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "topology.kubernetes.io/zone"})
}

#[test]
fn pods_of_one_owner_are_spread_over_zones_and_then_over_nodes() {
    let nodes = nodes();
    let mut pods = Vec::new();
    let mut places = Vec::new();
    for _ in 0..4 {
        let chosen = place(&nodes, &pods, &pod("a", "", json!({}))).unwrap();
        pods.push(pod("a", &chosen, json!({})));
        places.push(chosen);
    }
    assert_eq!(places, ["n1", "n3", "n2", "n3"]);
}

#[test]
fn a_pod_that_fits_nowhere_is_told_why_in_kubernetes_words() {
    let mut nodes = nodes();
    change(&mut nodes, 0, "spec/unschedulable", true.into());
    change(
        &mut nodes,
        1,
        "spec/taints",
        json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]),
    );
    let large = pod(
        "a",
        "",
        json!({"containers": [{"resources": {"requests": {"cpu": "5"}}}]}),
    );
    assert_eq!(
        place(&nodes, &[], &large).unwrap_err(),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}, 1 node(s) were \
         unschedulable. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 \
         Preemption is not helpful for scheduling."
    );
    assert_eq!(
        place(&[], &[], &large).unwrap_err(),
        "no nodes available to schedule pods"
    );
    let nowhere = pod("a", "", json!({"nodeSelector": {"disk": "ssd"}}));
    assert_eq!(
        place(&nodes[2..], &[], &nowhere).unwrap_err(),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are \
         available: 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn requests_are_counted_and_what_has_ended_counts_no_more() {
    let nodes = &nodes()[..1];
    let mut pods: Vec<Object> = (0..4).map(|_| pod("a", "n1", json!({}))).collect();
    assert!(place(nodes, &pods, &pod("a", "", json!({}))).is_err());
    let mut ended = Value::clone(&pods[0]);
    ended["status"]["phase"] = "Succeeded".into();
    pods[0] = Arc::new(ended);
    assert_eq!(place(nodes, &pods, &pod("a", "", json!({}))).as_deref(), Ok("n1"));
}

#[test]
fn pods_go_near_those_they_want_and_away_from_those_they_do_not() {
    let nodes = nodes();
    let there = [pod("db", "n3", json!({}))];
    let near =
        |app: &str| json!({"affinity": {"podAffinity": {super::topology::REQUIRED: [selecting(app)]}}});
    let away =
        |app: &str| json!({"affinity": {"podAntiAffinity": {super::topology::REQUIRED: [selecting(app)]}}});
    assert_eq!(
        place(&nodes, &there, &pod("a", "", near("db"))).as_deref(),
        Ok("n3")
    );
    assert!(place(&nodes, &[], &pod("a", "", near("db"))).is_err());
    assert!(
        place(&nodes, &[], &pod("a", "", near("a"))).is_ok(),
        "the first of a group is welcome anywhere"
    );
    assert_eq!(
        place(&nodes, &there, &pod("a", "", away("db"))).as_deref(),
        Ok("n1")
    );
    let guarded = [pod("db", "n3", away("a")), pod("db", "n1", away("a"))];
    assert!(
        place(&nodes, &guarded, &pod("a", "", json!({})))
            .unwrap_err()
            .contains("3 node(s) didn't satisfy existing pods anti-affinity rules")
    );
}

#[test]
fn a_spread_constraint_bounds_the_difference_between_domains() {
    let nodes = nodes();
    let spread = |skew: i64| {
        let mut constraint = selecting("a");
        constraint["maxSkew"] = skew.into();
        constraint["whenUnsatisfiable"] = "DoNotSchedule".into();
        json!({"topologySpreadConstraints": [constraint], "nodeSelector": {}})
    };
    let pods = [pod("a", "n3", json!({}))];
    let chosen = place(&nodes, &pods, &pod("a", "", spread(1))).unwrap();
    assert_ne!(chosen, "n3");
    let mut only_b = nodes.clone();
    for index in [0, 1] {
        change(&mut only_b, index, "spec/unschedulable", true.into());
    }
    let why = place(&only_b, &pods, &pod("a", "", spread(1))).unwrap_err();
    assert!(
        why.contains("1 node(s) didn't match pod topology spread constraints,"),
        "{why}"
    );
    assert_eq!(
        place(&only_b, &pods, &pod("a", "", spread(2))).as_deref(),
        Ok("n3")
    );
}

#[test]
fn two_pods_do_not_share_a_port_of_the_node() {
    let port = json!({"containers": [{"ports": [{"hostPort": 80, "protocol": "TCP"}]}]});
    let nodes = &nodes()[..1];
    let there = [pod("a", "n1", port.clone())];
    assert!(
        place(nodes, &there, &pod("b", "", port))
            .unwrap_err()
            .contains("1 node(s) didn't have free ports for the requested pod ports")
    );
}

#[tokio::test]
async fn a_pod_that_may_not_be_bound_holds_nobody_else_up_and_says_why() {
    const ADMISSION: &str = "admissionregistration.k8s.io";
    let directory = tempfile::tempdir().unwrap();
    let server = api::start(api::Settings {
        directory: directory.path().join("home"),
        listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        cluster_listeners: Vec::new(),
        advertised: "10.244.0.1:6443".parse().unwrap(),
        node: NodeLink::new().0,
    })
    .await
    .unwrap();
    let (client, tasks) = (server.client.clone(), Tasks::new());
    let policy = json!({"metadata": {"name": "p"}, "spec": {"validations": [
            {"expression": "object.metadata.name != 'held'"}],
        "matchConstraints": {"resourceRules": [{"operations": ["UPDATE"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": ["pods"]}]}}});
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    let node = json!({"metadata": {"name": "n1"},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}});
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    let account = json!({"metadata": {"name": "default"}});
    let policies = Gvr::fixed(ADMISSION, "v1", "validatingadmissionpolicies");
    let bindings = Gvr::fixed(ADMISSION, "v1", "validatingadmissionpolicybindings");
    for (gvr, namespace, object) in [
        (&policies, "", policy),
        (&bindings, "", binding),
        (&gvr::NODES, "", node),
        (&gvr::SERVICE_ACCOUNTS, "default", account),
        (&gvr::PODS, "default", pod("held")),
        (&gvr::PODS, "default", pod("other")),
    ] {
        client.create(gvr, namespace, object).await.unwrap();
    }
    let events = Events::start(client.clone(), "n1".to_owned(), &tasks);
    let refused = super::schedule(&client, &events).await.unwrap_err();
    assert!(refused.message.contains("'p'"), "{refused}");
    let [held, other] = ["held", "other"].map(|name| client.get(&gvr::PODS, "default", name).unwrap());
    assert_eq!(other["spec"]["nodeName"], "n1");
    let condition = object::condition(&held, "PodScheduled").unwrap();
    assert_eq!(condition["reason"], "SchedulerError");
    assert_eq!(condition["message"], refused.message.as_str());
    tasks.stop(std::time::Duration::from_secs(5)).await;
}
