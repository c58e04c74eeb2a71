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
    clear_absent(before, &mut status);
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

/// In a merge patch only null removes what is there, at every depth.
fn clear_absent(before: &Value, after: &mut Value) {
    let (Some(before), true) = (before.as_object(), after.is_object()) else {
        return;
    };
    for (field, value) in before {
        match after.get_mut(field) {
            Some(kept) => clear_absent(value, kept),
            None => after[field] = Value::Null,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_no_longer_has_is_removed_at_every_depth() {
        let before = json!({"a": 1, "b": {"c": [1], "d": 2}, "e": {}});
        let mut after = json!({"b": {"d": 3}, "e": {"f": 4}});
        clear_absent(&before, &mut after);
        assert_eq!(after, json!({"a": null, "b": {"c": null, "d": 3}, "e": {"f": 4}}));
    }
}
