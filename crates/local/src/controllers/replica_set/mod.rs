//! ReplicaSets: as many pods as wanted, no more and no fewer.
//!
//! Reads come from the store itself, so a pod that was just created is seen and never made twice.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/>

mod plan;

use std::time::Duration;

use daemon::{Tasks, clock};

use super::pods::{self, Owner};
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{claim, write};
use crate::api::Status;
use crate::api::client::{Client, Object};
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
    let owner = Owner {
        client,
        object: &replica_set,
        component: COMPONENT,
    };
    let result = match plan::step(&replica_set, &pods) {
        Step::Nothing => Ok(()),
        Step::Create(count) => {
            let pod = pods::from_template(&replica_set, &replica_set["spec"]["template"]);
            let created = owner.create_all(vec![pod; count]).await;
            created.map_err(|status| ("FailedCreate", status))
        }
        Step::Delete(surplus) => delete(owner, &surplus).await,
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

async fn delete(owner: Owner<'_>, surplus: &[Object]) -> Result<(), Failure> {
    for pod in surplus {
        let deleted = owner.delete(pod).await;
        deleted.map_err(|status| ("FailedDelete", status))?;
    }
    Ok(())
}
