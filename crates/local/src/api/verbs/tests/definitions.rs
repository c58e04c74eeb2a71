//! What happens to objects when the definition of their kind goes, or is asked to.

use serde_json::{Value, json};

use super::{Cluster, cluster};
use crate::api::client::{DeleteOptions, Query};
use crate::api::{Gvr, gvr};
use crate::store::revision_of;

fn things() -> Gvr {
    Gvr::fixed("example.com", "v1", "things")
}

fn definition(group: &str, plural: &str, kind: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

impl Cluster {
    async fn define(&self, group: &str, plural: &str, kind: &str) {
        let definition = definition(group, plural, kind);
        self.client
            .create(&gvr::CUSTOM_RESOURCE_DEFINITIONS, "", definition)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_refused_deletion_of_a_definition_leaves_its_objects() {
    let cluster = cluster().await;
    cluster.define("example.com", "things", "Thing").await;
    let thing = json!({"metadata": {"name": "t"}});
    cluster.create(&things(), thing).await.unwrap();
    let options = DeleteOptions {
        propagation: Some("Sideways".to_owned()),
        ..DeleteOptions::default()
    };
    let definitions = &gvr::CUSTOM_RESOURCE_DEFINITIONS;
    let refused = cluster
        .client
        .delete(definitions, "", "things.example.com", options)
        .await;
    assert_eq!(refused.unwrap_err().code, 422);
    assert!(cluster.client.get(&things(), "n", "t").is_ok());
}

#[tokio::test]
async fn an_object_that_changes_while_its_definition_goes_goes_too() {
    let cluster = cluster().await;
    cluster.define("example.com", "things", "Thing").await;
    let thing = json!({"metadata": {"name": "t"}});
    let seen = cluster.create(&things(), thing).await.unwrap();
    cluster
        .merge(&things(), "t", json!({"spec": {"size": 2}}))
        .await
        .unwrap();
    let target = super::super::Target {
        kind: cluster.api.kind(&things()).unwrap(),
        namespace: "n".to_owned(),
        name: "t".to_owned(),
    };
    cluster.api.remove(&target, revision_of(&seen)).await.unwrap();
    assert_eq!(cluster.client.get(&things(), "n", "t").unwrap_err().code, 404);
}

#[tokio::test]
async fn the_end_of_a_definition_that_names_a_built_in_kind_leaves_that_kinds_objects() {
    let cluster = cluster().await;
    let ingresses = Gvr::fixed("networking.k8s.io", "v1", "ingresses");
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {
        "name": "s", "port": {"number": 80}}}}});
    cluster.create(&ingresses, ingress).await.unwrap();
    cluster.define("networking.k8s.io", "ingresses", "Ingress").await;
    let definitions = &gvr::CUSTOM_RESOURCE_DEFINITIONS;
    cluster
        .client
        .delete(
            definitions,
            "",
            "ingresses.networking.k8s.io",
            DeleteOptions::default(),
        )
        .await
        .unwrap();
    let left = cluster.client.list(&ingresses, "n", &Query::default()).unwrap();
    assert_eq!(left.items.len(), 1);
}

/// The owners of fields stand deeper than the fields.
#[tokio::test]
async fn an_object_whose_owned_fields_could_not_be_read_again_is_refused() {
    let cluster = cluster().await;
    cluster.define("example.com", "things", "Thing").await;
    let nested = |levels: usize| (0..levels).fold(json!("x"), |inner, _| json!({ "a": inner }));
    let thing = |levels| json!({"metadata": {"name": "t"}, "spec": nested(levels)});
    let refused = cluster.create(&things(), thing(125)).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (400, "exceeded max depth")
    );
    cluster.create(&things(), thing(100)).await.unwrap();
}
