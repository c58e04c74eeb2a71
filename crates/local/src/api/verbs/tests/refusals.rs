//! Writes that are refused or only tried: the server's own texts, and nothing left behind.

use serde_json::{Value, json};

use super::super::{Call, Part, Target};
use super::*;
use crate::api::client::DeleteOptions;
use crate::api::decode::FieldValidation;

fn call(cluster: &Cluster, gvr: &Gvr, name: &str, dry_run: bool) -> Call {
    let kind = cluster.api.kind(gvr).unwrap();
    let namespace = if kind.namespaced { "n" } else { "" };
    Call {
        user: Arc::new(User::system("test")),
        target: Target {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            kind,
        },
        dry_run,
        validation: FieldValidation::Strict,
        manager: "test".to_owned(),
        force: false,
    }
}

async fn put(cluster: &Cluster, gvr: &Gvr, name: &str, object: Value) -> Result<Object, Status> {
    let call = call(cluster, gvr, name, false);
    let mut object = object;
    object["apiVersion"] = call.target.kind.api_version().into();
    object["kind"] = call.target.kind.kind.to_string().into();
    let written = cluster.api.update(&call, Part::Whole, object).await?;
    Ok(written.object)
}

#[tokio::test]
async fn a_prefix_that_finds_no_free_name_is_told_after_eight_tries() {
    let cluster = cluster().await;
    let asked = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}});
    let call = call(&cluster, &gvr::CONFIG_MAPS, "", false);
    let made = cluster
        .api
        .create_as(&call, asked.clone(), None, || 7)
        .await
        .unwrap();
    let mut tries = 0;
    let refused = cluster
        .api
        .create_as(&call, asked.clone(), None, || {
            tries += 1;
            7
        })
        .await
        .unwrap_err();
    let name = made.object["metadata"]["name"].as_str().unwrap();
    assert_eq!((tries, refused.code, refused.reason), (8, 409, "AlreadyExists"));
    assert_eq!(
        refused.message,
        format!(
            "configmaps \"{name}\" already exists, the server was not able to generate a unique name for the object"
        )
    );
    assert_eq!(refused.details["retryAfterSeconds"], 1);
    let mut tries = 0;
    let lucky = cluster.api.create_as(&call, asked, None, || {
        tries += 1;
        if tries < 8 { 7 } else { 8 }
    });
    assert_ne!(lucky.await.unwrap().object["metadata"]["name"], name);
}

#[tokio::test]
async fn a_name_beside_a_prefix_counts_and_a_bad_prefix_is_named() {
    let cluster = cluster().await;
    let both = json!({"metadata": {"name": "a", "generateName": "b-"}});
    let made = cluster.create(&gvr::CONFIG_MAPS, both.clone()).await.unwrap();
    assert_eq!(made["metadata"]["name"], "a");
    let taken = cluster.create(&gvr::CONFIG_MAPS, both).await.unwrap_err();
    assert!(
        taken.message.ends_with("unique name for the object"),
        "{}",
        taken.message
    );
    let long = json!({"metadata": {"generateName": format!("{}-", "a".repeat(70))}});
    let made = cluster.create(&gvr::CONFIG_MAPS, long.clone()).await.unwrap();
    assert_eq!(made["metadata"]["name"].as_str().unwrap().len(), 63);
    let refused = cluster
        .client
        .create(&gvr::NAMESPACES, "", long)
        .await
        .unwrap_err();
    assert!(
        refused
            .message
            .contains("metadata.generateName: Invalid value: \"aaa"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn an_update_names_the_object_that_it_replaces() {
    let cluster = cluster().await;
    let made = cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "1"))
        .await
        .unwrap();
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let maps = gvr::CONFIG_MAPS;
    let put = |metadata: Value| put(&cluster, &maps, "a", json!({"metadata": metadata}));
    for (metadata, code, expected) in [
        (
            json!({"name": "b"}),
            400,
            "the name of the object (b) does not match the name on the URL (a)".to_owned(),
        ),
        (
            json!({}),
            400,
            "the name of the object (a based on URL) was undeterminable: name must be provided".to_owned(),
        ),
        (
            json!({"name": "a", "namespace": "m"}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request".to_owned(),
        ),
        (
            json!({"name": "a", "uid": "x"}),
            409,
            format!(
                "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: \
                 /registry/configmaps/n/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
                 precondition: x, UID in object meta: {uid}"
            ),
        ),
        (
            json!({"name": "a", "deletionTimestamp": "2024-01-01T00:00:00Z"}),
            422,
            "ConfigMap \"a\" is invalid: metadata.deletionTimestamp: Invalid value: \"2024-01-01T00:00:00Z\": field is \
             immutable"
                .to_owned(),
        ),
    ] {
        let refused = put(metadata.clone()).await.unwrap_err();
        assert_eq!((refused.code, refused.message), (code, expected), "{metadata}");
    }
    let patched = |field: &str| cluster.merge(&maps, "a", json!({"metadata": {field: "x"}}));
    assert_eq!(
        patched("uid").await.unwrap_err().message,
        "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable"
    );
    assert_eq!(
        patched("name").await.unwrap_err().message,
        "the name of the object (x) does not match the name on the URL (a)"
    );
    let kept = patched("creationTimestamp").await;
    assert!(
        kept.is_err()
            || kept.unwrap()["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    );
}

#[tokio::test]
async fn some_kinds_want_to_know_which_version_is_replaced() {
    let cluster = cluster().await;
    let leases = Gvr::fixed("coordination.k8s.io", "v1", "leases");
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}});
    let made = cluster.create(&leases, lease.clone()).await.unwrap();
    let blind = put(&cluster, &leases, "l", lease.clone()).await.unwrap_err();
    assert_eq!(
        (blind.code, &*blind.message),
        (
            422,
            "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be \
             specified for an update"
        )
    );
    let mut seeing = lease;
    seeing["metadata"]["resourceVersion"] = version(&made).into();
    put(&cluster, &leases, "l", seeing).await.unwrap();
    let account = json!({"metadata": {"name": "default"}});
    put(&cluster, &gvr::SERVICE_ACCOUNTS, "default", account)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_address_of_a_service_may_not_change_in_either_of_its_places() {
    let cluster = cluster().await;
    cluster
        .create(&gvr::SERVICES, service("s", "10.96.7.1"))
        .await
        .unwrap();
    let said = |spec: Value| {
        let cluster = &cluster;
        async move {
            let patch = json!({"spec": spec});
            cluster
                .merge(&gvr::SERVICES, "s", patch)
                .await
                .unwrap_err()
                .message
        }
    };
    assert_eq!(
        said(json!({"clusterIP": "10.96.7.2"})).await,
        "Service \"s\" is invalid: spec.clusterIPs[0]: Invalid value: [\"10.96.7.2\"]: may not change once set"
    );
    assert_eq!(
        said(json!({"clusterIPs": ["10.96.7.2"]})).await,
        "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.7.2\"]: first value must match `clusterIP`"
    );
    let elsewhere = json!({"spec": {"type": "ExternalName", "externalName": "a.example"}});
    let external = cluster.merge(&gvr::SERVICES, "s", elsewhere).await.unwrap();
    assert!(external["spec"]["clusterIP"].is_null());
    let back = json!({"spec": {"type": "ClusterIP", "externalName": null, "clusterIP": "10.96.7.3"}});
    let back = cluster.merge(&gvr::SERVICES, "s", back).await.unwrap();
    assert_eq!(back["spec"]["clusterIPs"], json!(["10.96.7.3"]));
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace_in_store_registry_addresses_or_watches() {
    let cluster = cluster().await;
    cluster.create(&gvr::DEPLOYMENTS, deployment(1)).await.unwrap();
    cluster
        .create(&gvr::CONFIG_MAPS, config_map("kept", "1"))
        .await
        .unwrap();
    let before = *cluster.api.store.revisions().borrow();
    let dry = |gvr: &Gvr, name: &str| call(&cluster, gvr, name, true);
    let things = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let mut taken = service("s", "10.96.7.1");
    taken["spec"]["type"] = "NodePort".into();
    taken["spec"]["ports"][0]["nodePort"] = 30123.into();
    let generated = json!({"metadata": {"generateName": "a-"}});
    for (gvr, object) in [
        (&gvr::CUSTOM_RESOURCE_DEFINITIONS, things),
        (&gvr::SERVICES, taken.clone()),
        (&gvr::SERVICES, taken),
        (&gvr::CONFIG_MAPS, generated),
        (&gvr::NAMESPACES, json!({"metadata": {"name": "m"}})),
    ] {
        let call = dry(gvr, "");
        let mut object = object;
        object["apiVersion"] = call.target.kind.api_version().into();
        object["kind"] = call.target.kind.kind.to_string().into();
        let tried = cluster.api.create(&call, object).await.unwrap();
        assert!(tried.object["metadata"]["name"].is_string() && tried.object["metadata"]["uid"].is_string());
        assert!(tried.object["metadata"]["resourceVersion"].is_null());
    }
    let options = DeleteOptions::default();
    for (gvr, name) in [
        (&gvr::CONFIG_MAPS, "kept"),
        (&gvr::NAMESPACES, "n"),
        (&gvr::DEPLOYMENTS, "d"),
    ] {
        cluster.api.delete(&dry(gvr, name), &options).await.unwrap();
    }
    let scaled = |_: &Value| {
        Ok(
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"replicas": 5}}),
        )
    };
    let scaled = cluster
        .api
        .change_scale(&dry(&gvr::DEPLOYMENTS, "d"), scaled)
        .await;
    assert_eq!(scaled.unwrap()["spec"]["replicas"], 5);
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "status": {"replicas": 3}});
    let call = dry(&gvr::DEPLOYMENTS, "d");
    let object = deployment(1);
    let mut status = status;
    status["spec"] = object["spec"].clone();
    let tried = cluster.api.update(&call, Part::Status, status).await.unwrap();
    assert_eq!(tried.object["status"]["replicas"], 3);
    assert_eq!(
        *cluster.api.store.revisions().borrow(),
        before,
        "nobody who watches has seen anything"
    );
    let things = Gvr::fixed("example.com", "v1", "things");
    assert_eq!(cluster.api.kind(&things).unwrap_err().code, 404);
    let free = cluster.create(&gvr::SERVICES, service("s", "10.96.7.1")).await;
    assert_eq!(free.unwrap()["spec"]["clusterIP"], "10.96.7.1");
}
