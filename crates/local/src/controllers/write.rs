//! Writes that several controllers make.

use serde_json::{Value, json};

use super::object;
use crate::api::client::{Client, DeleteOptions, Patch};
use crate::api::{Gvr, Status};

/// Makes `status` the whole status of an object, unless it already is.
pub(super) async fn status(
    client: &Client,
    gvr: &Gvr,
    object: &Value,
    mut status: Value,
) -> Result<(), Status> {
    let before = &object["status"];
    if object::canonical(before) == object::canonical(&status) {
        return Ok(());
    }
    // In a merge patch only null removes what is there.
    for field in before.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if status[field].is_null() {
            status[field] = Value::Null;
        }
    }
    let patch = json!({"metadata": {"uid": object::uid(object)}, "status": status});
    client
        .patch_status(
            gvr,
            object::namespace(object),
            object::name(object),
            Patch::Merge(patch),
        )
        .await?;
    Ok(())
}

/// Deletes exactly this object; one that is gone already, or has a successor of the same name, is as good as deleted.
pub(super) async fn delete(
    client: &Client,
    gvr: &Gvr,
    object: &Value,
    propagation: Option<&str>,
) -> Result<(), Status> {
    let options = DeleteOptions {
        uid: Some(object::uid(object).to_owned()),
        propagation: propagation.map(str::to_owned),
        ..DeleteOptions::default()
    };
    match client
        .delete(gvr, object::namespace(object), object::name(object), options)
        .await
    {
        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
        _ => Ok(()),
    }
}

/// Creates an object that may already be there.
pub(super) async fn create_if_absent(client: &Client, gvr: &Gvr, object: Value) -> Result<(), Status> {
    let namespace = object::namespace(&object).to_owned();
    match client.create(gvr, &namespace, object).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}
