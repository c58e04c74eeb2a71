//! What is compiled from stored objects does not depend on whether the caller of a write stays for the answer.

use std::time::Duration;

use daemon::{Tasks, clock};
use serde_json::json;

use super::super::{compiled_from, follow};
use super::cluster;
use crate::api::rbac::{self, Access, Resource, What};
use crate::api::{User, gvr};
use crate::store::{Key, Write, revision_of};

#[tokio::test]
async fn a_right_is_gone_though_the_one_who_took_it_away_left_before_the_answer() {
    let (cluster, tasks) = (cluster().await, Tasks::new());
    for collection in compiled_from() {
        tasks.spawn("compiled objects", follow(cluster.api.clone(), collection));
    }
    let role = json!({"metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]});
    let binding = json!({"metadata": {"name": "alice"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
    cluster
        .client
        .create(&rbac::CLUSTER_ROLES, "", role)
        .await
        .unwrap();
    let bindings = &rbac::CLUSTER_ROLE_BINDINGS;
    cluster.client.create(bindings, "", binding).await.unwrap();
    let alice = User {
        name: "alice".to_owned(),
        ..User::default()
    };
    let may_read = || {
        let what = What::Resource(Resource {
            group: "",
            resource: &gvr::CONFIG_MAPS.resource,
            subresource: "",
            namespace: "n",
            name: "a",
        });
        cluster.api.rights.allows(&alice, &Access { verb: "get", what })
    };
    assert!(may_read());

    // What is left of a call whose caller has gone: the store's write, and nothing after it.
    let stored = cluster.client.get(bindings, "", "alice").unwrap();
    let removal = Write {
        key: Key {
            collection: bindings.to_string(),
            namespace: String::new(),
            name: "alice".to_owned(),
        },
        expected: Some(revision_of(&stored)),
        object: None,
        requires: None,
    };
    cluster.api.store.write(removal).await.unwrap();
    let gone = async {
        while may_read() {
            tokio::task::yield_now().await;
        }
    };
    assert!(clock::timeout(Duration::from_secs(10), gone).await.is_ok());
    tasks.stop(Duration::from_secs(1)).await;
}
