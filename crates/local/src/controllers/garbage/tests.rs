//! The collector over the real API: who goes with whom.

use std::net::TcpListener;

use super::*;
use crate::api::client::Query;
use crate::api::gvr::{CONFIG_MAPS, EVENTS, NAMESPACES};
use crate::api::node_link::NodeLink;
use crate::api::{self, Server};

struct Cluster {
    client: Client,
    tasks: Tasks,
    _server: Server,
    _directory: tempfile::TempDir,
}

async fn cluster() -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = NodeLink::new();
    let server = api::start(api::Settings {
        directory: directory.path().to_owned(),
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        cluster_listeners: Vec::new(),
        advertised: "127.0.0.1:6443".parse().unwrap(),
        node,
    })
    .await
    .unwrap();
    let (client, tasks) = (server.client.clone(), Tasks::new());
    start(&client, &tasks);
    Cluster {
        client,
        tasks,
        _server: server,
        _directory: directory,
    }
}

impl Cluster {
    async fn config_map(&self, name: &str, owners: Value) -> Object {
        let object = json!({"metadata": {"name": name, "ownerReferences": owners}});
        self.client.create(&CONFIG_MAPS, "default", object).await.unwrap()
    }

    async fn delete(&self, name: &str, propagation: &str) {
        let options = DeleteOptions {
            propagation: Some(propagation.to_owned()),
            ..DeleteOptions::default()
        };
        self.client
            .delete(&CONFIG_MAPS, "default", name, options)
            .await
            .unwrap();
    }

    /// Waits until ConfigMaps of `default` have exactly these names.
    async fn left(&self, expected: &[&str]) {
        let names = || -> Vec<String> {
            let list = self
                .client
                .list(&CONFIG_MAPS, "default", &Query::default())
                .unwrap();
            list.items
                .iter()
                .map(|one| object::name(one).to_owned())
                .collect()
        };
        let mut watch = self
            .client
            .watch(&CONFIG_MAPS, "default", &Query::default(), 0)
            .unwrap();
        while names() != expected {
            let event = clock::timeout(Duration::from_secs(30), watch.next()).await;
            assert!(event.is_ok(), "{:?} are left, not {expected:?}", names());
        }
    }
}

fn reference(to: &Value, blocks: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": object::name(to), "uid": object::uid(to),
        "blockOwnerDeletion": blocks})
}

#[tokio::test]
async fn a_circle_of_owners_goes_whether_in_the_background_or_in_the_foreground() {
    let cluster = cluster().await;
    for propagation in ["Background", "Foreground"] {
        let stays = cluster.config_map("stays", json!([])).await;
        let first = cluster.config_map("first", json!([])).await;
        let second = cluster
            .config_map("second", json!([reference(&first, true)]))
            .await;
        let third = cluster
            .config_map("third", json!([reference(&second, true)]))
            .await;
        let closes = json!([reference(&third, true)]);
        claim::write_owners(&cluster.client, &CONFIG_MAPS, &first, closes)
            .await
            .unwrap();
        cluster.delete("first", propagation).await;
        cluster.left(&["stays"]).await;
        cluster.delete(object::name(&stays), "Background").await;
    }
    cluster.tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_owner_with_another_uid_or_in_another_namespace_is_no_owner_and_the_latter_is_reported() {
    let cluster = cluster().await;
    let namespace = json!({"metadata": {"name": "other"}});
    cluster.client.create(&NAMESPACES, "", namespace).await.unwrap();
    let elsewhere = json!({"metadata": {"name": "elsewhere"}});
    let elsewhere = cluster
        .client
        .create(&CONFIG_MAPS, "other", elsewhere)
        .await
        .unwrap();
    let owner = cluster.config_map("owner", json!([])).await;
    let mut impostor = reference(&owner, false);
    impostor["uid"] = "00000000-0000-4000-8000-000000000000".into();
    let solid = json!([reference(&owner, false), impostor]);
    cluster.config_map("of-impostor", json!([impostor])).await;
    cluster.config_map("of-both", solid).await;
    cluster
        .config_map("of-elsewhere", json!([reference(&elsewhere, false)]))
        .await;
    cluster.left(&["of-both", "owner"]).await;
    let events = cluster
        .client
        .list(&EVENTS, "default", &Query::default())
        .unwrap()
        .items;
    let said = events
        .iter()
        .find(|event| event["reason"] == "OwnerRefInvalidNamespace");
    let message = object::text(&said.expect("it is reported")["message"]);
    let uid = object::uid(&elsewhere);
    assert_eq!(
        message,
        format!(
            "ownerRef [v1/ConfigMap, namespace: default, name: elsewhere, uid: {uid}] does not exist in namespace \
             \"default\""
        )
    );
    cluster.tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_is_in_no_namespace_is_not_deleted_for_an_owner_that_is_in_one() {
    let cluster = cluster().await;
    let gone = json!({"metadata": {"name": "a", "namespace": "default", "uid": "1-2"}});
    let namespace = json!({"metadata": {"name": "n", "ownerReferences": [reference(&gone, true)]}});
    let namespace = cluster.client.create(&NAMESPACES, "", namespace).await.unwrap();
    let graph = Shared::default();
    let key = Key::of(&NAMESPACES, &namespace);
    reconcile(&cluster.client, &graph, &key).await.unwrap();
    let after = cluster.client.get(&NAMESPACES, "", "n").unwrap();
    assert!(!object::is_ending(&after));
    cluster.tasks.stop(Duration::from_secs(5)).await;
}
