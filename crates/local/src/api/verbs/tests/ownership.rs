//! Owners of fields through the verbs, and server-side apply.

use serde_json::{Value, json};

use super::super::{Call, Part, Target};
use super::{Cluster, cluster, config_map, deployment, version};
use crate::api::client::{Object, Patch};
use crate::api::decode::FieldValidation;
use crate::api::patch::PatchKind;
use crate::api::{Gvr, Status, gvr};

impl Cluster {
    /// Applies over the API as `manager` would.
    async fn apply(
        &self,
        (gvr, name): (&Gvr, &str),
        (manager, force): (&str, bool),
        body: &Value,
    ) -> Result<Object, Status> {
        let call = self.call(gvr, name, manager, force);
        let patched = call
            .1
            .patch(
                &call.0,
                Part::Whole,
                PatchKind::Apply,
                body.to_string().as_bytes(),
            )
            .await;
        patched.map(|written| written.object)
    }

    fn call(&self, gvr: &Gvr, name: &str, manager: &str, force: bool) -> (Call, std::sync::Arc<super::Api>) {
        let api = self.api.clone();
        let call = Call {
            user: std::sync::Arc::new(self.client.user().clone()),
            target: Target {
                kind: api.kind(gvr).unwrap(),
                namespace: "n".to_owned(),
                name: name.to_owned(),
            },
            dry_run: false,
            validation: FieldValidation::Strict,
            manager: manager.to_owned(),
            force,
        };
        (call, api)
    }
}

fn stated(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn entry(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries
        .iter()
        .find(|entry| entry["manager"] == manager)
        .cloned()
        .unwrap_or_default()
}

const A: (&Gvr, &str) = (&gvr::CONFIG_MAPS, "a");

#[tokio::test]
async fn applying_makes_the_object_and_doing_it_again_changes_nothing() {
    let cluster = cluster().await;
    let body = stated(&json!({"x": "1"}));
    let made = cluster.apply(A, ("me", false), &body).await.unwrap();
    assert_eq!(made["metadata"]["namespace"], "n");
    assert_eq!(entry(&made, "me")["operation"], "Apply");
    let again = cluster.apply(A, ("me", false), &body).await.unwrap();
    assert_eq!(version(&again), version(&made));
    let other = cluster
        .apply(A, ("you", false), &stated(&json!({"x": "2"})))
        .await
        .unwrap_err();
    assert_eq!(
        other.message,
        "Apply failed with 1 conflict: conflict with \"me\": .data.x"
    );
    let forced = cluster
        .apply(A, ("you", true), &stated(&json!({"x": "2"})))
        .await
        .unwrap();
    assert_eq!(forced["data"], json!({"x": "2"}));
    assert_eq!(entry(&forced, "me"), Value::Null);
}

#[tokio::test]
async fn what_an_apply_may_not_say_is_answered_as_kubernetes_does() {
    let cluster = cluster().await;
    let refused = async |body: Value| {
        let status = cluster.apply(A, ("me", false), &body).await.unwrap_err();
        (status.code, status.message)
    };
    let mut body = stated(&json!({}));
    body["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        refused(body).await,
        (400, "metadata.managedFields must be nil".to_owned())
    );
    assert_eq!(
        refused(json!({"apiVersion": "v1", "kind": "Secret"})).await,
        (400, "invalid object type: /v1, Kind=Secret".to_owned())
    );
    let mut body = stated(&json!({}));
    body["metadata"]["uid"] = "u".into();
    assert_eq!(
        refused(body).await,
        (
            409,
            "Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid u, and \
             no existing object was found"
                .to_owned()
        )
    );
    let mut body = stated(&json!({}));
    body["dta"] = json!({});
    assert_eq!(
        refused(body).await,
        (
            500,
            "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): .dta: field not declared in schema".to_owned()
        )
    );
    cluster
        .apply(A, ("me", false), &stated(&json!({})))
        .await
        .unwrap();
    let mut body = stated(&json!({"x": "1"}));
    body["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(refused(body).await.0, 409);
}

#[tokio::test]
async fn status_and_scale_have_owners_of_their_own() {
    let cluster = cluster().await;
    cluster.create(&gvr::DEPLOYMENTS, deployment(1)).await.unwrap();
    let controller = cluster.client.writing_as("kube-controller-manager");
    let status = json!({"status": {"replicas": 1}});
    controller
        .patch_status(&gvr::DEPLOYMENTS, "n", "d", Patch::Merge(status))
        .await
        .unwrap();
    let (call, api) = cluster.call(&gvr::DEPLOYMENTS, "d", "kubectl", false);
    api.change_scale(&call, |scale| {
        let mut scale = scale.clone();
        scale["spec"]["replicas"] = 2.into();
        Ok(scale)
    })
    .await
    .unwrap();
    let object = cluster.client.get(&gvr::DEPLOYMENTS, "n", "d").unwrap();
    let status = entry(&object, "kube-controller-manager");
    assert_eq!(status["subresource"], "status");
    assert_eq!(status["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
    let scale = entry(&object, "kubectl");
    assert_eq!(scale["subresource"], "scale");
    assert_eq!(scale["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(entry(&object, "test")["fieldsV1"]["f:spec"]["f:replicas"].is_null());
    let wanted = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"},
        "spec": {"replicas": 3}});
    let (call, api) = cluster.call(&gvr::DEPLOYMENTS, "d", "autoscaler", false);
    let refused = api
        .apply_scale(&call, wanted.to_string().as_bytes())
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let call = Call { force: true, ..call };
    let scale = api
        .apply_scale(&call, wanted.to_string().as_bytes())
        .await
        .unwrap();
    assert_eq!(scale["spec"]["replicas"], 3);
}

#[tokio::test]
async fn owners_are_reset_by_an_empty_list_and_replaced_by_a_patch() {
    let cluster = cluster().await;
    cluster
        .create(&gvr::CONFIG_MAPS, config_map("a", "1"))
        .await
        .unwrap();
    // As kubectl does when it moves from client-side to server-side apply.
    let migrated = json!([{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "kubectl"},
        {"op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Apply"}]);
    let object = cluster
        .client
        .patch(&gvr::CONFIG_MAPS, "n", "a", Patch::Json(migrated))
        .await
        .unwrap();
    assert_eq!(entry(&object, "kubectl")["operation"], "Apply");
    assert_eq!(object["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let object = cluster.merge(&gvr::CONFIG_MAPS, "a", reset).await.unwrap();
    assert!(object["metadata"]["managedFields"].is_null());
    let object = cluster
        .merge(&gvr::CONFIG_MAPS, "a", json!({"data": {"b": "1"}}))
        .await
        .unwrap();
    assert!(
        object["metadata"]["managedFields"].is_null(),
        "nobody keeps count any more"
    );
    let object = cluster
        .apply(A, ("me", false), &stated(&json!({"c": "1"})))
        .await
        .unwrap();
    assert_eq!(
        entry(&object, "before-first-apply")["fieldsV1"],
        json!({"f:data": {".": {}, "f:b": {}, "f:key": {}}})
    );
}

#[tokio::test]
async fn yaml_is_applied_too_and_by_parts_of_this_process() {
    let cluster = cluster().await;
    let (call, api) = cluster.call(&gvr::CONFIG_MAPS, "a", "me", false);
    let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: '1'\n";
    let written = api
        .patch(&call, Part::Whole, PatchKind::Apply, body)
        .await
        .unwrap();
    assert!(written.created);
    let dry = Call {
        dry_run: true,
        ..call
    };
    let body = stated(&json!({"x": "2"})).to_string();
    let written = api
        .patch(&dry, Part::Whole, PatchKind::Apply, body.as_bytes())
        .await
        .unwrap();
    assert_eq!(written.object["data"]["x"], "2");
    let applied = Patch::Apply(stated(&json!({"y": "1"})));
    let object = cluster
        .client
        .patch(&gvr::CONFIG_MAPS, "n", "a", applied)
        .await
        .unwrap();
    assert_eq!(object["data"], json!({"x": "1", "y": "1"}));
    assert_eq!(entry(&object, "test")["operation"], "Apply");
}
