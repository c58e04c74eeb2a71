//! Makes the default roles and bindings at start, and gives back what they have lost since; what was added to them
//! stays. Objects with `autoupdate: "false"` are left alone.

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLES, Rule, default_roles, rule};
use crate::api::Status;
use crate::api::client::Client;

const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Roles first: a binding is only written for a role that is there.
pub(in crate::api) async fn run(client: &Client) -> Result<(), Status> {
    let roles = default_roles::cluster_roles().into_iter();
    let roles = roles.chain(default_roles::roles());
    try_join_all(roles.map(|role| ensure(client, role))).await?;
    let bindings = default_roles::cluster_role_bindings().into_iter();
    try_join_all(bindings.map(|binding| ensure(client, binding))).await?;
    Ok(())
}

async fn ensure(client: &Client, wanted: Value) -> Result<(), Status> {
    let gvr = &match wanted["kind"].as_str() {
        Some("ClusterRole") => CLUSTER_ROLES,
        Some("Role") => ROLES,
        _ => CLUSTER_ROLE_BINDINGS,
    };
    let text = |field: &str| wanted["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let current = match client.get(gvr, namespace, name) {
        Ok(current) => current,
        Err(status) if status.code == 404 => {
            client.create(gvr, namespace, wanted.clone()).await?;
            return Ok(());
        }
        Err(status) => return Err(status),
    };
    if current["roleRef"] != wanted["roleRef"] {
        client.delete(gvr, namespace, name, Default::default()).await?;
        client.create(gvr, namespace, wanted.clone()).await?;
    } else if let Some(whole) = completed(&current, &wanted) {
        client.update(gvr, namespace, whole).await?;
    }
    Ok(())
}

/// The object with what it lacks; none when it lacks nothing.
fn completed(current: &Value, wanted: &Value) -> Option<Value> {
    if current["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return None;
    }
    let mut whole = current.clone();
    for map in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][map].as_object().into_iter().flatten() {
            if whole["metadata"][map][key].is_null() {
                whole["metadata"][map][key] = value.clone();
            }
        }
    }
    if wanted["aggregationRule"].is_object() {
        // The rules are the aggregation's.
        if whole["aggregationRule"].is_null() {
            whole["aggregationRule"] = wanted["aggregationRule"].clone();
        }
    } else {
        let lost = rule::missing(&Rule::all_of(current), &Rule::all_of(wanted));
        append(&mut whole, "rules", lost.iter().map(Rule::to_json));
    }
    let has = |subject: &Value| {
        let mut subjects = current["subjects"].as_array().into_iter().flatten();
        subjects.any(|one| one == subject)
    };
    let subjects = wanted["subjects"].as_array().into_iter().flatten();
    append(
        &mut whole,
        "subjects",
        subjects.filter(|subject| !has(subject)).cloned(),
    );
    (whole != *current).then_some(whole)
}

fn append(object: &mut Value, field: &str, more: impl Iterator<Item = Value>) {
    let more: Vec<Value> = more.collect();
    if more.is_empty() {
        return;
    }
    match object[field].as_array_mut() {
        Some(list) => list.extend(more),
        None => object[field] = json!(more),
    }
}
