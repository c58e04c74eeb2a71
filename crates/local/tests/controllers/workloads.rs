//! StatefulSets, DaemonSets and Jobs over the real API server.

use std::collections::BTreeSet;

use local::api::client::Patch;
use local::api::gvr::{DAEMON_SETS, JOBS, PODS, STATEFUL_SETS};
use local::api::{Gvr, client::Object};
use serde_json::{Value, json};

use super::{Cluster, eventually};

const REVISIONS: Gvr = Gvr::fixed("apps", "v1", "controllerrevisions");

fn template(app: &str, policy: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}},
        "spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}})
}

fn pods(cluster: &Cluster) -> BTreeSet<String> {
    let name = |pod: &Object| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    cluster.list(&PODS, "default").iter().map(name).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn change_image(cluster: &Cluster, image: &str) {
    let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
    cluster
        .client
        .patch(&STATEFUL_SETS, "default", "web", Patch::Json(patch))
        .await
        .expect("patched");
}

#[tokio::test]
async fn a_stateful_set_keeps_its_names_through_update_and_rollback() {
    let cluster = Cluster::start().await;
    let mut set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"serviceName": "web", "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": template("web", "Always"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}});
    set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    cluster.apply(&STATEFUL_SETS, set).await;
    let rolled_out = || {
        let set = cluster
            .client
            .get(&STATEFUL_SETS, "default", "web")
            .expect("it exists");
        let (spec, status) = (&set["spec"], &set["status"]);
        ["readyReplicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|field| status[*field] == spec["replicas"])
            && status["observedGeneration"] == set["metadata"]["generation"]
            && status["currentRevision"] == status["updateRevision"]
    };
    eventually("the set", rolled_out).await;
    assert_eq!(pods(&cluster), names(&["web-0", "web-1", "web-2"]));
    let first = cluster
        .client
        .get(&STATEFUL_SETS, "default", "web")
        .expect("it exists")["status"]["updateRevision"]
        .clone();
    change_image(&cluster, "j").await;
    eventually("the update", rolled_out).await;
    let images = || {
        let pods = cluster.list(&PODS, "default");
        pods.iter()
            .map(|pod| {
                pod["spec"]["containers"][0]["image"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect::<BTreeSet<String>>()
    };
    assert_eq!(images(), names(&["j"]));
    change_image(&cluster, "i").await;
    eventually("the rollback", rolled_out).await;
    assert_eq!(images(), names(&["i"]));
    let revisions = cluster.list(&REVISIONS, "default");
    let again = revisions
        .iter()
        .find(|one| one["metadata"]["name"] == first)
        .expect("the first revision is still there");
    assert_eq!((again["revision"].as_i64(), revisions.len()), (Some(3), 2));
    cluster
        .patch(&STATEFUL_SETS, "default", "web", json!({"spec": {"replicas": 1}}))
        .await;
    eventually("fewer pods", || pods(&cluster) == names(&["web-0"])).await;
    cluster
        .delete(&STATEFUL_SETS, "default", "web", "Background")
        .await;
    eventually("the end", || pods(&cluster).is_empty()).await;
    cluster.tasks.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_daemon_set_has_a_pod_on_the_node_and_replaces_it_when_the_template_changes() {
    let cluster = Cluster::start().await;
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "Always")}});
    cluster.apply(&DAEMON_SETS, set).await;
    let is_rolled_out = || {
        let set = cluster
            .client
            .get(&DAEMON_SETS, "default", "agent")
            .expect("it exists");
        let status = &set["status"];
        [
            "desiredNumberScheduled",
            "updatedNumberScheduled",
            "numberAvailable",
        ]
        .iter()
        .all(|field| status[*field] == 1)
            && status["observedGeneration"] == set["metadata"]["generation"]
    };
    eventually("the pod", is_rolled_out).await;
    let before = pods(&cluster);
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}});
    cluster.patch(&DAEMON_SETS, "default", "agent", patch).await;
    eventually("another pod", || is_rolled_out() && pods(&cluster) != before).await;
    assert_eq!(cluster.list(&PODS, "default").len(), 1);
    cluster.tasks.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_job_completes_and_nothing_keeps_its_pods() {
    let cluster = Cluster::start().await;
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "pi", "namespace": "default"},
        "spec": {"completions": 3, "parallelism": 2, "template": template("pi", "Never")}});
    let job = cluster.apply(&JOBS, job).await;
    let uid = &job["metadata"]["uid"];
    assert_eq!(
        job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"],
        *uid
    );
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "pi");
    eventually("the end of the job", || {
        let job = cluster.client.get(&JOBS, "default", "pi").expect("it exists");
        let conditions = job["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .any(|one| one["type"] == "Complete" && one["status"] == "True")
    })
    .await;
    let job = cluster.client.get(&JOBS, "default", "pi").expect("it exists");
    assert_eq!(job["status"]["succeeded"], 3);
    assert_eq!(job["status"]["uncountedTerminatedPods"], json!({}));
    let held = |pod: &&Object| pod["metadata"]["finalizers"].is_array();
    assert_eq!(cluster.list(&PODS, "default").iter().filter(held).count(), 0);
    cluster.delete(&JOBS, "default", "pi", "Background").await;
    eventually("the pods' end", || pods(&cluster).is_empty()).await;
    cluster.tasks.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn pods_that_a_job_has_lost_keep_no_finalizer() {
    let cluster = Cluster::start().await;
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "pi", "namespace": "default"}, "spec": {"template": template("pi", "OnFailure")}});
    cluster.apply(&JOBS, job).await;
    eventually("the pod", || pods(&cluster).len() == 1).await;
    // Of an earlier Job of the same name, which was deleted and made again before its pods were let go.
    let of_earlier = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "pi-earlier", "namespace": "default",
            "labels": {"batch.kubernetes.io/job-name": "pi"}, "finalizers": ["batch.kubernetes.io/job-tracking"],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "pi", "uid": "earlier",
                "controller": true}]},
        "spec": template("pi", "Always")["spec"]});
    cluster.apply(&PODS, of_earlier).await;
    eventually("the end of the earlier Job's pod", || pods(&cluster).len() == 1).await;
    cluster.delete(&JOBS, "default", "pi", "Orphan").await;
    eventually("a pod without owner and finalizer", || {
        let left = cluster.list(&PODS, "default");
        let is_free = |pod: &Object| {
            ["finalizers", "ownerReferences"]
                .iter()
                .all(|field| pod["metadata"][*field].as_array().is_none_or(Vec::is_empty))
        };
        left.len() == 1 && left.iter().all(is_free)
    })
    .await;
    cluster.tasks.stop(std::time::Duration::from_secs(5)).await;
}
