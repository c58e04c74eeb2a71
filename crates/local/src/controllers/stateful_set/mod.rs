//! StatefulSets: pods with names that stay, made and given up in the order of their ordinals.
//!
//! What to do is decided in [`plan`]; here it is done.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/>

mod identity;
mod plan;
mod status;
#[cfg(test)]
mod tests;

use daemon::{Tasks, clock};
use serde_json::{Value, json};

use super::pods::{self, Owner};
use super::queue::{Backoff, Key};
use super::revision::History;
use super::run::{self, Definition, Next, Source};
use super::{claim, object, write};
use crate::api::Status;
use crate::api::client::{Client, Object, Patch};
use crate::api::gvr::{PODS, STATEFUL_SETS};
use plan::{Action, Set};

const COMPONENT: &str = "statefulset-controller";

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: COMPONENT,
        sources: vec![
            Source::of(STATEFUL_SETS),
            Source::mapped(PODS, |client, pod| {
                claim::owners_of(client, &STATEFUL_SETS, "StatefulSet", pod)
            }),
        ],
        backoff: Backoff::default(),
        at_once: 4,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let object = match client.get(&STATEFUL_SETS, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    if object::is_ending(&object) {
        return Ok(Next::Wait);
    }
    let history = History::settle(client, &STATEFUL_SETS, &object).await?;
    let pods = claim::settle(client, &PODS, &object).await?;
    let now = clock::wall();
    let set = Set::of(&object, &history, &pods, now);
    let actions = plan::next(&set);
    let look_again = pods::next_available(&pods, set.least_ready_seconds, now);
    let status = status::of(&set);
    let mut result = Ok(());
    for action in actions {
        result = perform(client, &object, action).await;
        if result.is_err() {
            break;
        }
    }
    // Created and deleted pods report themselves by the watch; the status says what was before.
    write::status(client, &STATEFUL_SETS, &object, status).await?;
    result?;
    let limit = object["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10);
    let is_used = |revision: &Value| set.uses(object::name(revision));
    history.shorten(client, limit, is_used).await?;
    Ok(look_again.map_or(Next::Wait, Next::After))
}

async fn perform(client: &Client, set: &Object, action: Action) -> Result<(), Status> {
    let owner = Owner {
        client,
        object: set,
        component: COMPONENT,
    };
    let (namespace, set_name) = (object::namespace(set), object::name(set));
    let in_set = |verb: &str, pod: &str| format!("{verb} Pod {pod} in StatefulSet {set_name}");
    match action {
        Action::Create(pod) => {
            warn_of_claims(owner).await;
            let name = object::name(&pod).to_owned();
            match client.create(&PODS, namespace, pod).await {
                Ok(_) => {
                    let message = format!("{} successful", in_set("create", &name));
                    owner.tell("SuccessfulCreate", message).await;
                    Ok(())
                }
                Err(status) if pods::is_namespace_going(&status) => Ok(()),
                Err(status) => {
                    let message = format!("{} failed error: {}", in_set("create", &name), status.message);
                    owner.tell("FailedCreate", message).await;
                    Err(status)
                }
            }
        }
        Action::Replace(pod) => {
            let ended = object::text(&pod["status"]["phase"]);
            let reason = match ended {
                "Failed" => "RecreatingFailedPod",
                _ => "RecreatingTerminatedPod",
            };
            let name = object::name(&pod);
            let word = if ended == "Failed" { "failed" } else { "terminated" };
            let message = format!("StatefulSet {namespace}/{set_name} is recreating {word} Pod {name}");
            owner.warn(reason, message).await;
            pods::delete(client, &pod).await.map(drop)
        }
        Action::Delete(pod) => {
            if pods::delete(client, &pod).await? {
                let message = format!("{} successful", in_set("delete", object::name(&pod)));
                owner.tell("SuccessfulDelete", message).await;
            }
            Ok(())
        }
        Action::Label { name, labels } => {
            let patch = json!({"metadata": {"labels": labels}});
            client
                .patch(&PODS, namespace, &name, Patch::Merge(patch))
                .await
                .map(drop)
        }
    }
}

/// Volumes that outlive a pod do not exist here; that a claim is answered by an empty directory must be known.
async fn warn_of_claims(owner: Owner<'_>) {
    let claims = identity::claim_names(owner.object);
    if !claims.is_empty() {
        let message = format!(
            "volumeClaimTemplates ({}) are not supported by the local cluster: each pod has an emptyDir in their \
             place, which ends with the pod",
            claims.join(", ")
        );
        owner.warn("VolumeClaimsNotSupported", message).await;
    }
}
