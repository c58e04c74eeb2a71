//! Keeps the rules of aggregated ClusterRoles (`admin`, `edit`, `view`, and users' own) what their parts say.

use daemon::Tasks;
use serde_json::{Value, json};

use super::object;
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use crate::api::Status;
use crate::api::client::{Client, Patch, Query};
use crate::api::rbac::{CLUSTER_ROLES, aggregate};

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: "clusterrole-aggregation-controller",
        sources: vec![Source::mapped(CLUSTER_ROLES, |client, _| aggregated(client))],
        backoff: Backoff::default(),
        at_once: 1,
    };
    run::start(definition, client, tasks, |client, key| async move {
        aggregate(&client, &key.name).await?;
        Ok(Next::Wait)
    });
}

/// Any role may be part of any other.
fn aggregated(client: &Client) -> Vec<Key> {
    let Ok(list) = client.list(&CLUSTER_ROLES, "", &Query::default()) else {
        return Vec::new();
    };
    let aggregated = list
        .items
        .iter()
        .filter(|role| role["aggregationRule"].is_object());
    aggregated
        .map(|role| Key::new(&CLUSTER_ROLES, "", object::name(role)))
        .collect()
}

async fn aggregate(client: &Client, name: &str) -> Result<(), Status> {
    let list = client.list(&CLUSTER_ROLES, "", &Query::default())?;
    let Some(role) = list.items.iter().find(|role| object::name(role) == name) else {
        return Ok(());
    };
    let parts = list.items.iter().map(|role| &**role);
    let Some(rules) = aggregate::rules(role, parts) else {
        return Ok(());
    };
    if role["rules"].as_array().map_or(&[][..], Vec::as_slice) == rules {
        return Ok(());
    }
    let version: &Value = &role["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version}, "rules": rules});
    client
        .patch(&CLUSTER_ROLES, "", name, Patch::Merge(patch))
        .await?;
    Ok(())
}
