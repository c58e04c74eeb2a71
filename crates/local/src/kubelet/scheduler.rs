//! The scheduler of a cluster with one node: every pod goes there.

use std::time::Duration;

use daemon::clock;
use serde_json::{Value, json};

use super::events::{About, Events};
use crate::api::client::{Change, Client, Patch, Query};
use crate::api::gvr::PODS;

/// Binds pods that no node has, for as long as the cluster lives.
pub(crate) async fn run(client: Client, events: Events, node: String) {
    let unbound = Query {
        fields: "spec.nodeName=".to_owned(),
        ..Query::default()
    };
    loop {
        match client.watch(&PODS, "", &unbound, 0) {
            Ok(mut watch) => {
                while let Some(Ok(event)) = watch.next().await {
                    if event.change != Change::Deleted {
                        bind(&client, &events, &node, &event.object).await;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot watch pods"),
        }
        clock::sleep(Duration::from_millis(200)).await;
    }
}

async fn bind(client: &Client, events: &Events, node: &str, pod: &Value) {
    let metadata = &pod["metadata"];
    let waits = pod["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty());
    let bound = pod["spec"]["nodeName"]
        .as_str()
        .is_some_and(|name| !name.is_empty());
    if waits || bound || metadata["deletionTimestamp"].is_string() {
        return;
    }
    let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
    let about = About {
        namespace: text("namespace"),
        pod: text("name"),
        uid: text("uid"),
        field_path: None,
    };
    let patch = Patch::Merge(json!({"spec": {"nodeName": node}}));
    match client.patch(&PODS, &about.namespace, &about.pod, patch).await {
        Ok(_) => {
            let message = format!(
                "Successfully assigned {}/{} to {node}",
                about.namespace, about.pod
            );
            events.scheduled(&about, message);
        }
        // It was deleted in between.
        Err(error) if error.code == 404 => {}
        Err(error) => tracing::warn!(pod = about.pod, %error, "cannot bind a pod"),
    }
}
