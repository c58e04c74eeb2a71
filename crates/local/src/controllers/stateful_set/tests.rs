//! Steps of StatefulSets, on plain data.
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::object;
use super::super::revision::History;
use super::plan::{Action, Set, next};
use super::{identity, status};
use crate::api::client::Object;

fn set(spec: Value) -> Value {
    let mut set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 2},
        "spec": {"serviceName": "nginx", "replicas": 3, "updateStrategy": {"type": "RollingUpdate"}}});
    for (field, value) in spec.as_object().unwrap() {
        set["spec"][field] = value.clone();
    }
    set
}

fn revision(name: &str) -> Object {
    Arc::new(json!({"metadata": {"name": name}, "data": {"spec": {"template": {
        "metadata": {"labels": {"app": "web"}}, "spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}}}}))
}

fn history() -> History {
    History::of(vec![revision("old"), revision("new")])
}

/// A pod of a set at a revision; ready since the beginning of time, or not.
fn pod(ordinal: i64, of: &str, ready: bool) -> Object {
    let mut pod = identity::pod(&set(json!({})), &revision(of), ordinal);
    let ready = if ready { "True" } else { "False" };
    pod["status"] = json!({"phase": "Running", "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:00Z"}]});
    Arc::new(pod)
}

fn ending(pod: &Object) -> Object {
    let mut pod = Value::clone(pod);
    pod["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
    Arc::new(pod)
}

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(100)
}

/// What is done, in words: `create web-0`.
fn steps(set: &Value, pods: &[Object]) -> Vec<String> {
    let history = history();
    let set = Set::of(set, &history, pods, at());
    let say = |action: &Action| match action {
        Action::Create(pod) => {
            let revision = super::plan::revision_of(pod);
            format!("create {} of {revision}", object::name(pod))
        }
        Action::Replace(pod) => format!("replace {}", object::name(pod)),
        Action::Delete(pod) => format!("delete {}", object::name(pod)),
        Action::Label { name, .. } => format!("label {name}"),
    };
    next(&set).iter().map(say).collect()
}

#[test]
fn pods_come_one_after_another_each_when_the_one_before_is_ready() {
    let set = set(json!({}));
    assert_eq!(steps(&set, &[]), ["create web-0 of new"]);
    assert!(steps(&set, &[pod(0, "new", false)]).is_empty());
    assert_eq!(steps(&set, &[pod(0, "new", true)]), ["create web-1 of new"]);
    let slow = super::tests::set(json!({"minReadySeconds": 101}));
    assert!(
        steps(&slow, &[pod(0, "new", true)]).is_empty(),
        "ready, but not for long enough"
    );
}

#[test]
fn parallel_pods_wait_for_nobody() {
    let set = set(json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 5}}));
    assert_eq!(
        steps(&set, &[pod(0, "new", true)]),
        [
            "create web-5 of new",
            "create web-6 of new",
            "create web-7 of new",
            "delete web-0"
        ]
    );
}

#[test]
fn surplus_pods_go_highest_first_and_one_at_a_time() {
    let set = set(json!({"replicas": 1}));
    let all = [pod(0, "new", true), pod(1, "new", true), pod(2, "new", true)];
    assert_eq!(steps(&set, &all), ["delete web-2"]);
    let going = [all[0].clone(), all[1].clone(), ending(&all[2])];
    assert!(steps(&set, &going).is_empty());
    let ill = [all[0].clone(), pod(1, "new", false), pod(2, "new", false)];
    assert!(steps(&set, &ill).is_empty(), "web-2 waits for web-1 to be well");
    let one_ill = [all[0].clone(), all[1].clone(), pod(2, "new", false)];
    assert_eq!(steps(&set, &one_ill), ["delete web-2"]);
}

#[test]
fn an_update_goes_from_the_highest_ordinal_down_to_the_partition() {
    let old = [pod(0, "old", true), pod(1, "old", true), pod(2, "old", true)];
    assert_eq!(steps(&set(json!({})), &old), ["delete web-2"]);
    let waits = [old[0].clone(), old[1].clone(), pod(2, "new", false)];
    assert!(steps(&set(json!({})), &waits).is_empty());
    let on = [old[0].clone(), old[1].clone(), pod(2, "new", true)];
    assert_eq!(steps(&set(json!({})), &on), ["delete web-1"]);
    let staged = set(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}));
    assert!(steps(&staged, &on).is_empty());
    let mut staged = staged;
    staged["status"]["currentRevision"] = "old".into();
    assert_eq!(
        steps(&staged, &on[1..]),
        ["create web-0 of old"],
        "below the partition nothing is new"
    );
}

#[test]
fn as_many_may_be_unavailable_as_the_update_says_and_on_delete_updates_nothing() {
    let old = [pod(0, "old", true), pod(1, "old", true), pod(2, "old", true)];
    let two = set(json!({"podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}}));
    assert_eq!(steps(&two, &old), ["delete web-2", "delete web-1"]);
    let broken = [old[0].clone(), old[1].clone(), pod(2, "old", false)];
    assert_eq!(
        steps(&two, &broken),
        ["delete web-2", "delete web-1"],
        "a broken pod costs nothing"
    );
    let on_delete = set(json!({"updateStrategy": {"type": "OnDelete"}}));
    assert!(steps(&on_delete, &old).is_empty());
}

#[test]
fn a_pod_that_has_ended_is_replaced() {
    let mut failed = Value::clone(&pod(0, "new", false));
    failed["status"]["phase"] = "Failed".into();
    assert_eq!(steps(&set(json!({})), &[Arc::new(failed)]), ["replace web-0"]);
}

#[test]
fn a_pod_has_its_names_and_an_empty_directory_for_each_claim() {
    let set =
        set(json!({"volumeClaimTemplates": [{"metadata": {"name": "www"}}, {"metadata": {"name": "data"}}]}));
    let pod = identity::pod(&set, &revision("new"), 1);
    assert_eq!(pod["metadata"]["name"], "web-1");
    assert_eq!(pod["metadata"]["generateName"], Value::Null);
    assert_eq!(
        pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"],
        "web-1"
    );
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    assert_eq!(pod["metadata"]["labels"]["controller-revision-hash"], "new");
    assert_eq!(
        (&pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
        (&json!("web-1"), &json!("nginx"))
    );
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "www", "emptyDir": {}}, {"name": "data", "emptyDir": {}}])
    );
    let named = |name: &str| identity::ordinal(&set, &json!({"metadata": {"name": name}}));
    assert_eq!(named("web-12"), Some(12));
    assert_eq!([named("web-01"), named("web-a"), named("other-1")], [None; 3]);
}

#[test]
fn the_update_becomes_the_current_revision_when_every_pod_is_of_it_and_ready() {
    let mut object = set(json!({"replicas": 2}));
    object["status"]["currentRevision"] = "old".into();
    let history = history();
    let of = |pods: &[Object]| status::of(&Set::of(&object, &history, pods, at()));
    let under_way = of(&[pod(0, "old", true), pod(1, "new", true)]);
    assert_eq!(
        (
            &under_way["currentRevision"],
            &under_way["updatedReplicas"],
            &under_way["currentReplicas"]
        ),
        (&json!("old"), &json!(1), &json!(1))
    );
    let over = of(&[pod(0, "new", true), pod(1, "new", true)]);
    assert_eq!(
        (
            &over["currentRevision"],
            &over["currentReplicas"],
            &over["availableReplicas"]
        ),
        (&json!("new"), &json!(2), &json!(2))
    );
}
