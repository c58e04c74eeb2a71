//! The verbs through the in-process client: identity, versions, parts, endings.

mod definitions;
mod follow;
mod ownership;
mod refusals;

use std::sync::Arc;

use serde_json::{Value, json};

use super::Api;
use crate::api::client::{Change, Client, DeleteOptions, Object, Patch, Query};
use crate::api::tokens::Tokens;
use crate::api::{Gvr, Status, User, gvr};
use crate::store::Store;

struct Cluster {
    client: Client,
    api: Arc<Api>,
    _directory: tempfile::TempDir,
}

/// An API over an empty store, with the namespace `n`.
async fn cluster() -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("cluster.db")).unwrap();
    let tokens = Tokens::new(identity::token::Signer::generate().unwrap());
    let api = Arc::new(Api::new(store, tokens));
    let client = Client::new(api.clone(), User::system("test"));
    client
        .create(&gvr::NAMESPACES, "", json!({"metadata": {"name": "n"}}))
        .await
        .unwrap();
    let account = json!({"metadata": {"name": "default"}});
    client.create(&gvr::SERVICE_ACCOUNTS, "n", account).await.unwrap();
    Cluster {
        client,
        api,
        _directory: directory,
    }
}

impl Cluster {
    async fn create(&self, gvr: &Gvr, object: Value) -> Result<Object, Status> {
        self.client.create(gvr, "n", object).await
    }

    async fn merge(&self, gvr: &Gvr, name: &str, patch: Value) -> Result<Object, Status> {
        self.client.patch(gvr, "n", name, Patch::Merge(patch)).await
    }

    async fn delete(&self, gvr: &Gvr, name: &str, options: DeleteOptions) -> Result<Object, Status> {
        self.client.delete(gvr, "n", name, options).await
    }
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": value}})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn deployment(replicas: u32) -> Value {
    json!({"metadata": {"name": "d"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "a"}},
        "template": {
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    }})
}

fn service(name: &str, address: &str) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    if !address.is_empty() {
        service["spec"]["clusterIP"] = address.into();
    }
    service
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

#[tokio::test]
async fn a_new_object_gets_an_identity_of_the_servers_making() {
    let cluster = cluster().await;
    let mut asked = config_map("a", "1");
    asked["metadata"]["uid"] = "mine".into();
    asked["metadata"]["creationTimestamp"] = "1999-01-01T00:00:00Z".into();
    let object = cluster.create(&gvr::CONFIG_MAPS, asked).await.unwrap();
    let metadata = &object["metadata"];
    assert_eq!(metadata["namespace"], "n");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert_eq!(&metadata["uid"].as_str().unwrap()[14..15], "4");
    assert_ne!(metadata["creationTimestamp"], "1999-01-01T00:00:00Z");
    assert_eq!(metadata["managedFields"][0]["manager"], "test");
    assert_eq!(object["kind"], "ConfigMap");
}

#[tokio::test]
async fn create_says_what_is_in_the_way_in_kubernetes_words() {
    let cluster = cluster().await;
    cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "1"))
        .await
        .unwrap();
    let exists = cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "2"))
        .await
        .unwrap_err();
    assert_eq!(
        (exists.code, &*exists.message),
        (409, "configmaps \"a\" already exists")
    );
    let homeless = cluster
        .client
        .create(&gvr::CONFIG_MAPS, "nosuch", config_map("a", "1"))
        .await
        .unwrap_err();
    assert_eq!(
        (homeless.code, &*homeless.message),
        (404, "namespaces \"nosuch\" not found")
    );
    assert_eq!(homeless.details["kind"], "namespaces");
    let missing = cluster.client.get(&gvr::DEPLOYMENTS, "n", "x").unwrap_err();
    assert_eq!(
        (missing.code, &*missing.message),
        (404, "deployments.apps \"x\" not found")
    );
}

#[tokio::test]
async fn a_generated_name_is_new_each_time() {
    let cluster = cluster().await;
    let asked = json!({"metadata": {"generateName": "a-"}});
    let first = cluster.create(&gvr::CONFIG_MAPS, asked.clone()).await.unwrap();
    let second = cluster.create(&gvr::CONFIG_MAPS, asked).await.unwrap();
    let name = first["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a-") && name.len() == 7, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
    let nameless = cluster
        .create(&gvr::CONFIG_MAPS, json!({"metadata": {}}))
        .await
        .unwrap_err();
    assert_eq!(nameless.code, 422);
    assert!(
        nameless.message.contains("name or generateName is required"),
        "{}",
        nameless.message
    );
}

#[tokio::test]
async fn an_update_must_know_the_newest_version_or_none() {
    let cluster = cluster().await;
    let old = cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "1"))
        .await
        .unwrap();
    let mut next = Value::clone(&old);
    next["data"]["key"] = "2".into();
    cluster
        .client
        .update(&gvr::CONFIG_MAPS, "n", next.clone())
        .await
        .unwrap();
    let conflict = cluster
        .client
        .update(&gvr::CONFIG_MAPS, "n", next.clone())
        .await
        .unwrap_err();
    assert_eq!(
        conflict.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes \
         to the latest version and try again"
    );
    cluster
        .client
        .update(&gvr::CONFIG_MAPS, "n", config_map("a", "3"))
        .await
        .unwrap();
    let stale = json!({"metadata": {"resourceVersion": version(&old)}, "data": {"key": "4"}});
    assert_eq!(
        cluster
            .merge(&gvr::CONFIG_MAPS, "a", stale)
            .await
            .unwrap_err()
            .code,
        409
    );
    next["metadata"]["uid"] = "another".into();
    assert_eq!(
        cluster
            .client
            .update(&gvr::CONFIG_MAPS, "n", next)
            .await
            .unwrap_err()
            .code,
        409
    );
    let missing = cluster
        .client
        .update(&gvr::CONFIG_MAPS, "n", config_map("z", "1"))
        .await
        .unwrap_err();
    assert_eq!(missing.code, 404, "an update never creates");
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let cluster = cluster().await;
    let first = cluster.create(&gvr::DEPLOYMENTS, deployment(1)).await.unwrap();
    let second = cluster
        .merge(&gvr::DEPLOYMENTS, "d", json!({"spec": {"replicas": 1}}))
        .await
        .unwrap();
    assert_eq!(version(&first), version(&second));
}

#[tokio::test]
async fn the_generation_counts_changes_of_the_spec_alone() {
    let cluster = cluster().await;
    cluster.create(&gvr::DEPLOYMENTS, deployment(1)).await.unwrap();
    let labelled = json!({"metadata": {"labels": {"x": "y"}}});
    let object = cluster.merge(&gvr::DEPLOYMENTS, "d", labelled).await.unwrap();
    assert_eq!(object["metadata"]["generation"], 1);
    let scaled = cluster
        .merge(&gvr::DEPLOYMENTS, "d", json!({"spec": {"replicas": 2}}))
        .await
        .unwrap();
    assert_eq!(scaled["metadata"]["generation"], 2);
    let status = Patch::Merge(json!({"status": {"replicas": 2}, "spec": {"replicas": 9}}));
    let object = cluster
        .client
        .patch_status(&gvr::DEPLOYMENTS, "n", "d", status)
        .await
        .unwrap();
    assert_eq!(
        (&object["metadata"]["generation"], &object["spec"]["replicas"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(object["status"]["replicas"], 2);
    let whole = cluster
        .merge(&gvr::DEPLOYMENTS, "d", json!({"status": {"replicas": 7}}))
        .await
        .unwrap();
    assert_eq!(
        whole["status"]["replicas"], 2,
        "a plain write leaves the status alone"
    );
}

#[tokio::test]
async fn an_object_with_finalizers_stays_until_they_are_gone() {
    let cluster = cluster().await;
    let mut object = config_map("a", "1");
    object["metadata"]["finalizers"] = json!(["example.com/mine"]);
    cluster.create(&gvr::CONFIG_MAPS, object).await.unwrap();
    let ending = cluster
        .delete(&gvr::CONFIG_MAPS, "a", DeleteOptions::default())
        .await
        .unwrap();
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/mine", "example.com/other"]}});
    let refused = cluster.merge(&gvr::CONFIG_MAPS, "a", more).await.unwrap_err();
    assert!(
        refused.message.contains("no new finalizers can be added"),
        "{}",
        refused.message
    );
    cluster
        .merge(&gvr::CONFIG_MAPS, "a", json!({"metadata": {"finalizers": null}}))
        .await
        .unwrap();
    assert_eq!(
        cluster.client.get(&gvr::CONFIG_MAPS, "n", "a").unwrap_err().code,
        404
    );
}

#[tokio::test]
async fn a_running_pod_ends_when_the_kubelet_says_so() {
    let cluster = cluster().await;
    let mut running = pod("p");
    running["spec"]["nodeName"] = "local".into();
    cluster.create(&gvr::PODS, running).await.unwrap();
    let ending = cluster
        .delete(&gvr::PODS, "p", DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 30);
    let sooner = DeleteOptions {
        grace_seconds: Some(5),
        ..DeleteOptions::default()
    };
    let ending = cluster.delete(&gvr::PODS, "p", sooner).await.unwrap();
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 5);
    let later = DeleteOptions {
        grace_seconds: Some(60),
        ..DeleteOptions::default()
    };
    let ending = cluster.delete(&gvr::PODS, "p", later).await.unwrap();
    assert_eq!(
        ending["metadata"]["deletionGracePeriodSeconds"], 5,
        "a later deletion may only hurry"
    );
    let now = DeleteOptions {
        grace_seconds: Some(0),
        ..DeleteOptions::default()
    };
    cluster.delete(&gvr::PODS, "p", now).await.unwrap();
    assert_eq!(cluster.client.get(&gvr::PODS, "n", "p").unwrap_err().code, 404);
    cluster.create(&gvr::PODS, pod("waiting")).await.unwrap();
    cluster
        .delete(&gvr::PODS, "waiting", DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(
        cluster.client.get(&gvr::PODS, "n", "waiting").unwrap_err().code,
        404,
        "it ran nowhere"
    );
}

#[tokio::test]
async fn deletion_keeps_to_its_preconditions_and_records_how_to_propagate() {
    let cluster = cluster().await;
    cluster.create(&gvr::DEPLOYMENTS, deployment(1)).await.unwrap();
    let other = DeleteOptions {
        uid: Some("x".to_owned()),
        ..DeleteOptions::default()
    };
    let refused = cluster.delete(&gvr::DEPLOYMENTS, "d", other).await.unwrap_err();
    assert!(
        refused
            .message
            .contains("the UID in the precondition (x) does not match the UID in record (")
    );
    let foreground = DeleteOptions {
        propagation: Some("Foreground".to_owned()),
        ..DeleteOptions::default()
    };
    let ending = cluster.delete(&gvr::DEPLOYMENTS, "d", foreground).await.unwrap();
    assert_eq!(ending["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let wrong = DeleteOptions {
        propagation: Some("Sideways".to_owned()),
        ..DeleteOptions::default()
    };
    assert_eq!(
        cluster
            .delete(&gvr::DEPLOYMENTS, "d", wrong)
            .await
            .unwrap_err()
            .code,
        422
    );
}

#[tokio::test]
async fn a_deleted_namespace_lingers_and_takes_nothing_new() {
    let cluster = cluster().await;
    cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "1"))
        .await
        .unwrap();
    let ending = cluster
        .client
        .delete(&gvr::NAMESPACES, "", "n", DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(ending["status"]["phase"], "Terminating");
    assert!(
        cluster.client.get(&gvr::CONFIG_MAPS, "n", "a").is_ok(),
        "its contents can still be reached"
    );
    let refused = cluster
        .create(&gvr::CONFIG_MAPS, config_map("b", "1"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (
            403,
            "configmaps \"b\" is forbidden: unable to create new content in namespace n because it is being terminated"
        )
    );
    let emptied = Patch::Merge(json!({"spec": {"finalizers": []}}));
    cluster
        .client
        .patch(&gvr::NAMESPACES, "", "n", emptied)
        .await
        .unwrap();
    assert!(
        cluster.client.get(&gvr::NAMESPACES, "", "n").is_ok(),
        "only `finalize` takes finalizers of the spec away"
    );
    let finalized = json!({"metadata": {"name": "n"}});
    cluster.client.finalize(finalized).await.unwrap();
    assert_eq!(
        cluster.client.get(&gvr::NAMESPACES, "", "n").unwrap_err().code,
        404
    );
}

#[tokio::test]
async fn each_service_gets_an_address_of_its_own() {
    let cluster = cluster().await;
    let chosen = cluster
        .create(&gvr::SERVICES, service("chosen", "10.96.0.10"))
        .await
        .unwrap();
    assert_eq!(chosen["spec"]["clusterIPs"], json!(["10.96.0.10"]));
    let taken = cluster
        .create(&gvr::SERVICES, service("second", "10.96.0.10"))
        .await
        .unwrap_err();
    assert!(
        taken.message.contains("provided IP is already allocated"),
        "{}",
        taken.message
    );
    let outside = cluster
        .create(&gvr::SERVICES, service("second", "10.1.0.10"))
        .await
        .unwrap_err();
    assert!(
        outside.message.contains("The range of valid IPs is 10.96.0.0/16"),
        "{}",
        outside.message
    );
    let given = cluster
        .create(&gvr::SERVICES, service("given", ""))
        .await
        .unwrap();
    let address = given["spec"]["clusterIP"].as_str().unwrap();
    assert!(
        address.starts_with("10.96.") && address != "10.96.0.10",
        "{address}"
    );
    let headless = cluster
        .create(&gvr::SERVICES, service("headless", "None"))
        .await
        .unwrap();
    assert_eq!(headless["spec"]["clusterIP"], "None");
    let again = cluster
        .client
        .update(&gvr::SERVICES, "n", service("given", ""))
        .await
        .unwrap();
    assert_eq!(again["spec"]["clusterIP"], given["spec"]["clusterIP"]);
    let moved = cluster
        .client
        .update(&gvr::SERVICES, "n", service("given", "10.96.9.9"))
        .await
        .unwrap_err();
    assert!(
        moved.message.contains("may not change once set"),
        "{}",
        moved.message
    );
}

#[tokio::test]
async fn a_watch_turns_changes_of_what_matches_into_coming_and_going() {
    let cluster = cluster().await;
    let query = Query {
        labels: "app=a".to_owned(),
        fields: String::new(),
    };
    let list = cluster.client.list(&gvr::CONFIG_MAPS, "n", &query).unwrap();
    let from = list.resource_version;
    let mut watch = cluster
        .client
        .watch(&gvr::CONFIG_MAPS, "n", &query, from)
        .unwrap();
    cluster
        .create(&gvr::CONFIG_MAPS, config_map("x", "1"))
        .await
        .unwrap();
    let labelled = |value: &str| json!({"metadata": {"labels": {"app": value}}});
    cluster
        .merge(&gvr::CONFIG_MAPS, "x", labelled("a"))
        .await
        .unwrap();
    cluster
        .merge(&gvr::CONFIG_MAPS, "x", json!({"data": {"key": "2"}}))
        .await
        .unwrap();
    let last = cluster
        .merge(&gvr::CONFIG_MAPS, "x", labelled("b"))
        .await
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = watch.next().await.unwrap().unwrap();
        seen.push((event.change, version(&event.object).to_owned()));
    }
    let changes: Vec<Change> = seen.iter().map(|(change, _)| *change).collect();
    assert_eq!(changes, [Change::Added, Change::Modified, Change::Deleted]);
    assert_eq!(
        seen[2].1,
        version(&last),
        "it carries the version of the change that made it vanish"
    );
}

#[tokio::test]
async fn a_watch_from_zero_begins_with_what_there_is_and_from_a_lost_version_is_refused() {
    let cluster = cluster().await;
    cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "1"))
        .await
        .unwrap();
    let all = Query::default();
    let mut watch = cluster.client.watch(&gvr::CONFIG_MAPS, "n", &all, 0).unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().change, Change::Added);
    let gone = cluster
        .delete(&gvr::CONFIG_MAPS, "a", DeleteOptions::default())
        .await
        .unwrap();
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (event.change, version(&event.object)),
        (Change::Deleted, version(&gone))
    );
    for round in 0..5000 {
        let changed = Patch::Merge(namespace(round));
        cluster
            .client
            .patch(&gvr::NAMESPACES, "", "n", changed)
            .await
            .unwrap();
    }
    let refused = cluster.client.watch(&gvr::NAMESPACES, "", &all, 1).unwrap_err();
    assert_eq!((refused.code, refused.reason), (410, "Expired"));
    assert!(
        refused.message.starts_with("too old resource version: 1 ("),
        "{}",
        refused.message
    );
    assert!(
        cluster.client.watch(&gvr::CONFIG_MAPS, "n", &all, 3).is_ok(),
        "other collections have their own history"
    );
}

fn namespace(round: u32) -> Value {
    json!({"metadata": {"name": "n", "annotations": {"round": round.to_string()}}})
}

#[tokio::test]
async fn a_definition_makes_a_kind_and_its_end_takes_the_objects_along() {
    let cluster = cluster().await;
    let things = Gvr::fixed("example.com", "v1", "things");
    let old = Gvr::fixed("example.com", "v1alpha3", "things");
    assert_eq!(
        cluster
            .client
            .list(&things, "n", &Query::default())
            .unwrap_err()
            .code,
        404
    );
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": schema},
            {"name": "v1alpha3", "served": true, "storage": false, "schema": schema},
        ],
    }});
    let definitions = &gvr::CUSTOM_RESOURCE_DEFINITIONS;
    cluster
        .client
        .create(definitions, "", definition.clone())
        .await
        .unwrap();
    let thing = json!({"metadata": {"name": "t"}, "spec": {"size": 1}});
    let made = cluster.client.create(&old, "n", thing.clone()).await.unwrap();
    assert_eq!(
        (&made["apiVersion"], &made["metadata"]["generation"]),
        (&json!("example.com/v1alpha3"), &json!(1))
    );
    assert_eq!(
        cluster.client.get(&things, "n", "t").unwrap()["apiVersion"],
        "example.com/v1"
    );
    let blind = cluster.client.update(&things, "n", thing).await.unwrap_err();
    assert!(
        blind.message.ends_with("must be specified for an update"),
        "{}",
        blind.message
    );
    let options = DeleteOptions::default();
    cluster
        .client
        .delete(definitions, "", "things.example.com", options)
        .await
        .unwrap();
    assert_eq!(
        cluster
            .client
            .list(&things, "n", &Query::default())
            .unwrap_err()
            .code,
        404
    );
    cluster.client.create(definitions, "", definition).await.unwrap();
    assert!(
        cluster
            .client
            .list(&things, "n", &Query::default())
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn writers_that_patch_at_once_all_succeed() {
    let cluster = cluster().await;
    cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "1"))
        .await
        .unwrap();
    let cluster = &cluster;
    let patches = (0..8).map(|count| async move {
        let patch = json!({"data": {format!("key-{count}"): "x"}});
        cluster.merge(&gvr::CONFIG_MAPS, "a", patch).await
    });
    for outcome in futures_util::future::join_all(patches).await {
        outcome.unwrap();
    }
    let object = cluster.client.get(&gvr::CONFIG_MAPS, "n", "a").unwrap();
    assert_eq!(object["data"].as_object().unwrap().len(), 9);
}
#[tokio::test]
async fn namespaces_without_which_there_is_no_cluster_stay() {
    let cluster = cluster().await;
    for name in ["default", "kube-system", "kube-public"] {
        let object = json!({"metadata": {"name": name}});
        cluster.client.create(&gvr::NAMESPACES, "", object).await.unwrap();
        let refused = cluster
            .client
            .delete(&gvr::NAMESPACES, "", name, DeleteOptions::default())
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code, refused.message),
            (
                403,
                format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted")
            )
        );
    }
}

#[tokio::test]
async fn only_finalize_ends_the_wait_of_a_namespace() {
    let cluster = cluster().await;
    cluster
        .client
        .delete(&gvr::NAMESPACES, "", "n", DeleteOptions::default())
        .await
        .unwrap();
    let without = json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}});
    let kept = cluster
        .client
        .update(&gvr::NAMESPACES, "", without.clone())
        .await
        .unwrap();
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]));
    cluster.client.finalize(without).await.unwrap();
    assert_eq!(
        cluster.client.get(&gvr::NAMESPACES, "", "n").unwrap_err().code,
        404
    );
}

/// Leader election, as client-go and kube do it: everybody writes the version that they have seen.
#[tokio::test]
async fn of_all_who_want_a_lease_one_gets_it() {
    let cluster = cluster().await;
    let leases = Gvr::fixed("coordination.k8s.io", "v1", "leases");
    let free = json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": ""}});
    let seen = cluster.create(&leases, free).await.unwrap();
    let takes = (0..8).map(|candidate| {
        let mut lease = Value::clone(&seen);
        lease["spec"]["holderIdentity"] = format!("candidate-{candidate}").into();
        cluster.client.update(&leases, "n", lease)
    });
    let outcomes = futures_util::future::join_all(takes).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for status in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!((status.code, status.reason), (409, "Conflict"));
    }
}
