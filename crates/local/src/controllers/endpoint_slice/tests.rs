//! Slices of small clusters.

use std::sync::Arc;

use super::*;

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "backend", "namespace": "n", "uid": "s", "labels": {"app": "backend"}},
        "spec": {"clusterIP": "10.96.3.4", "ports": [{"name": "http", "port": 9090, "targetPort": "web"}]},
    })
}

fn pod(number: usize, ready: bool) -> Value {
    json!({
        "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("{number:04}")},
        "spec": {"nodeName": "amime", "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"podIP": format!("10.244.1.{number}"), "phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

fn zone(node: &str) -> Option<String> {
    (node == "amime").then(|| "here".to_owned())
}

fn planned(service: &Value, pods: &[Value], existing: &[Value]) -> Vec<Write> {
    let shared = |values: &[Value]| values.iter().cloned().map(Arc::new).collect::<Vec<_>>();
    plan(service, &shared(pods), &shared(existing), &zone)
}

/// The slices after the writes.
fn settled(service: &Value, pods: &[Value], existing: &[Value]) -> Vec<Value> {
    let mut slices = existing.to_vec();
    for write in planned(service, pods, existing) {
        match write {
            Write::Create(mut slice) => {
                slice["metadata"]["name"] = slices.len().to_string().into();
                slices.push(slice);
            }
            Write::Update(slice) => {
                let place = slices
                    .iter_mut()
                    .find(|one| object::name(one) == object::name(&slice));
                *place.expect("it exists") = slice;
            }
            Write::Delete(slice) => slices.retain(|one| object::name(one) != object::name(&slice)),
        }
    }
    assert_eq!(
        planned(service, pods, &slices),
        [],
        "a second look changes nothing"
    );
    slices
}

#[test]
fn an_endpoint_says_what_is_known_of_its_pod() {
    let slices = settled(&service(), &[pod(1, true)], &[]);
    let [slice] = slices.as_slice() else {
        panic!("{slices:#?}")
    };
    assert_eq!(
        slice["endpoints"],
        json!([{
            "addresses": ["10.244.1.1"],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "n", "name": "p1", "uid": "0001"},
            "nodeName": "amime", "zone": "here",
        }])
    );
    assert_eq!(
        slice["ports"],
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(slice["metadata"]["labels"][SERVICE_NAME], "backend");
    assert_eq!(slice["metadata"]["labels"]["app"], "backend");
    assert_eq!(slice["metadata"]["generateName"], "backend-");
}

#[test]
fn a_pod_that_ends_still_serves_but_is_not_ready() {
    let mut ending = pod(1, true);
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let conditions =
        |service: &Value| settled(service, &[ending.clone()], &[])[0]["endpoints"][0]["conditions"].clone();
    assert_eq!(
        conditions(&service()),
        json!({"ready": false, "serving": true, "terminating": true})
    );
    let mut anyway = service();
    anyway["spec"]["publishNotReadyAddresses"] = true.into();
    assert_eq!(
        conditions(&anyway),
        json!({"ready": true, "serving": true, "terminating": true})
    );
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let empty = settled(&service(), &[], &[]);
    assert_eq!((empty.len(), &empty[0]["endpoints"]), (1, &json!([])));
    let mut ended = pod(1, true);
    ended["status"]["phase"] = "Succeeded".into();
    assert_eq!(settled(&service(), &[ended], &[]).len(), 1);
    let full = settled(&service(), &[pod(1, true)], &empty);
    assert_eq!(full.len(), 1, "{full:#?}");
    assert_eq!(settled(&service(), &[], &full).len(), 1);
}

#[test]
fn more_than_a_hundred_pods_need_a_second_slice_and_changes_touch_one() {
    let mut pods: Vec<Value> = (1..=150).map(|number| pod(number, true)).collect();
    let slices = settled(&service(), &pods, &[]);
    let sizes: Vec<usize> = slices
        .iter()
        .map(|slice| list(&slice["endpoints"]).len())
        .collect();
    assert_eq!(sizes, [100, 50]);
    pods[0] = pod(1, false);
    assert_eq!(planned(&service(), &pods, &slices).len(), 1);
    pods.truncate(10);
    let slices = settled(&service(), &pods, &slices);
    assert_eq!(slices.len(), 1);
}

#[test]
fn pods_that_name_their_ports_differently_have_slices_of_their_own() {
    let mut other = pod(2, true);
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = 9999.into();
    let slices = settled(&service(), &[pod(1, true), other], &[]);
    let ports: Vec<i64> = slices
        .iter()
        .map(|slice| number(&slice["ports"][0]["port"]))
        .collect();
    assert_eq!(ports, [8080, 9999]);
}

#[test]
fn a_headless_service_says_so_and_names_its_hosts() {
    let mut service = service();
    service["spec"] = json!({"clusterIP": "None"});
    let mut pod = pod(1, true);
    pod["spec"]["hostname"] = "first".into();
    pod["spec"]["subdomain"] = "backend".into();
    let slices = settled(&service, &[pod], &[]);
    assert_eq!(slices[0]["metadata"]["labels"][HEADLESS], "");
    assert_eq!(slices[0]["endpoints"][0]["hostname"], "first");
    assert_eq!(slices[0]["ports"], json!([]));
}

#[test]
fn a_service_whose_ports_change_is_never_without_endpoints() {
    let pods = [pod(1, true)];
    let before = settled(&service(), &pods, &[]);
    let mut changed = service();
    changed["spec"]["ports"] = json!([
        {"name": "http", "port": 9090, "targetPort": "web"},
        {"name": "extra", "port": 9091, "targetPort": "web"},
    ]);
    let writes = planned(&changed, &pods, &before);
    let [Write::Update(slice)] = writes.as_slice() else {
        panic!("{writes:#?}")
    };
    assert_eq!(object::name(slice), object::name(&before[0]));
    assert_eq!(list(&slice["ports"]).len(), 2);
    assert_eq!(list(&slice["endpoints"]).len(), 1);
    settled(&changed, &pods, &before);

    // One slice for two becomes two for one, and back: what goes, goes last.
    let mut named = service();
    named["spec"]["ports"][0]["name"] = "other".into();
    let mut old = vec![before[0].clone(), before[0].clone()];
    old[1]["metadata"]["name"] = "second".into();
    let writes = planned(&named, &pods, &old);
    assert!(
        matches!(writes.as_slice(), [Write::Update(_), Write::Delete(_)]),
        "{writes:#?}"
    );
}
