//! ReplicaSets: as many pods as wanted, no more and no fewer.
//!
//! Reads come from the store itself, so a pod that was just created is seen and never made twice.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/>

mod plan;

use std::time::Duration;

use daemon::{Tasks, clock};
use futures_util::future::join_all;
use serde_json::Value;

use super::events::{self, Note};
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{claim, object, write};
use crate::api::Status;
use crate::api::client::{Client, DeleteOptions, Object};
use crate::api::gvr::{PODS, REPLICA_SETS};
use plan::Step;

const COMPONENT: &str = "replicaset-controller";

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: COMPONENT,
        sources: vec![
            Source::of(REPLICA_SETS),
            Source::mapped(PODS, |client, pod| {
                claim::owners_of(client, &REPLICA_SETS, "ReplicaSet", pod)
            }),
        ],
        // A refused create is tried again soon: what refuses is often a webhook that is just starting.
        backoff: Backoff {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(1),
        },
        at_once: 16,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let replica_set = match client.get(&REPLICA_SETS, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    let pods = claim::settle(client, &PODS, &replica_set).await?;
    let result = match plan::step(&replica_set, &pods) {
        Step::Nothing => Ok(()),
        Step::Create(count) => create(client, &replica_set, count).await,
        Step::Delete(surplus) => delete(client, &replica_set, &surplus).await,
    };
    let failure = result
        .as_ref()
        .err()
        .map(|(reason, status)| (*reason, status.message.as_str()));
    // Created and deleted pods report themselves by the watch; here the status says what was before.
    let (status, after) = plan::status(&replica_set, &pods, failure, clock::wall());
    write::status(client, &REPLICA_SETS, &replica_set, status).await?;
    result.map_err(|(_, status)| status)?;
    Ok(after.map_or(Next::Wait, Next::After))
}

/// Why a step failed, in one word, and what the API said.
type Failure = (&'static str, Status);

/// Creates pods in growing groups (1, 2, 4 …), so that what refuses one pod is not asked about hundreds.
async fn create(client: &Client, replica_set: &Object, count: usize) -> Result<(), Failure> {
    let (mut left, mut group) = (count, 1);
    while left > 0 {
        let now = group.min(left);
        let results = join_all((0..now).map(|_| create_one(client, replica_set))).await;
        results
            .into_iter()
            .collect::<Result<(), Status>>()
            .map_err(|status| ("FailedCreate", status))?;
        left -= now;
        group *= 2;
    }
    Ok(())
}

async fn create_one(client: &Client, replica_set: &Object) -> Result<(), Status> {
    let pod = plan::new_pod(replica_set);
    match client.create(&PODS, object::namespace(replica_set), pod).await {
        Ok(pod) => {
            let message = format!("Created pod: {}", object::name(&pod));
            tell(client, replica_set, "SuccessfulCreate", message).await;
            Ok(())
        }
        // The whole namespace goes; there is nothing to report.
        Err(status) if status.details["causes"][0]["reason"] == "NamespaceTerminating" => Ok(()),
        Err(status) => {
            tell(
                client,
                replica_set,
                "FailedCreate",
                format!("Error creating: {}", status.message),
            )
            .await;
            Err(status)
        }
    }
}

async fn delete(client: &Client, replica_set: &Object, surplus: &[Object]) -> Result<(), Failure> {
    for pod in surplus {
        let options = DeleteOptions {
            uid: Some(object::uid(pod).to_owned()),
            ..DeleteOptions::default()
        };
        match client
            .delete(&PODS, object::namespace(pod), object::name(pod), options)
            .await
        {
            Ok(_) => {
                let message = format!("Deleted pod: {}", object::name(pod));
                tell(client, replica_set, "SuccessfulDelete", message).await;
            }
            Err(status) if status.code == 404 => {}
            Err(status) => {
                let message = format!("Error deleting: {}", status.message);
                tell(client, replica_set, "FailedDelete", message).await;
                return Err(("FailedDelete", status));
            }
        }
    }
    Ok(())
}

async fn tell(client: &Client, replica_set: &Value, reason: &str, message: String) {
    let note = Note {
        about: replica_set,
        warning: reason.starts_with("Failed"),
        reason,
        message,
        component: COMPONENT,
        field: None,
    };
    events::record(client, &note).await;
}
