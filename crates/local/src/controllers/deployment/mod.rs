//! Deployments: ReplicaSets by pod template, and how one follows the other.
//!
//! What to do is decided in [`plan`]; here it is done. <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>

mod plan;
mod rollout;
mod scale;
mod status;
mod template;
#[cfg(test)]
mod tests;
mod view;

use daemon::{Tasks, clock};
use serde_json::{Value, json};

use super::events::{self, Note};
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};

use super::{claim, object, write};
use crate::api::Status;
use crate::api::client::{Client, DeleteOptions, Object, Patch};
use crate::api::gvr::{DEPLOYMENTS, PODS, REPLICA_SETS};
use plan::{Action, Scaling};
use view::{Deployment, ReplicaSet};

const COMPONENT: &str = "deployment-controller";

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: COMPONENT,
        sources: vec![
            Source::of(DEPLOYMENTS),
            Source::mapped(REPLICA_SETS, |client, set| {
                claim::owners_of(client, &DEPLOYMENTS, "Deployment", set)
            }),
            Source::mapped(PODS, waits_for_pod),
        ],
        backoff: Backoff::default(),
        at_once: 4,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

/// The Deployment that waits for the end of its old pods; other strategies learn enough from ReplicaSets.
fn waits_for_pod(client: &Client, pod: &Value) -> Vec<Key> {
    let find = || {
        let owner = object::controller(pod).filter(|owner| owner["kind"] == "ReplicaSet")?;
        let namespace = object::namespace(pod);
        let set = client
            .get(&REPLICA_SETS, namespace, object::text(&owner["name"]))
            .ok()?;
        let [key] = <[Key; 1]>::try_from(claim::owners_of(client, &DEPLOYMENTS, "Deployment", &set)).ok()?;
        let deployment = client.get(&DEPLOYMENTS, namespace, &key.name).ok()?;
        (deployment["spec"]["strategy"]["type"] == "Recreate").then_some(key)
    };
    find().into_iter().collect()
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let object = match client.get(&DEPLOYMENTS, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    let sets = claim::settle(client, &REPLICA_SETS, &object).await?;
    let sets: Vec<ReplicaSet> = sets.iter().map(ReplicaSet::of).collect();
    let deployment = Deployment::of(&object);
    let old_pods_run = deployment.recreate && old_pods_run(client, &deployment, &sets)?;
    let plan = plan::plan(&deployment, &sets, old_pods_run, clock::wall());
    let mut status = plan.status;
    let mut failure = None;
    for action in plan.actions {
        if let Err(error) = perform(client, &object, action, &mut status).await {
            failure = Some(error);
            break;
        }
    }
    write::status(client, &DEPLOYMENTS, &object, status).await?;
    match failure {
        Some(error) => Err(error),
        None => Ok(plan.look_again.map_or(Next::Wait, Next::After)),
    }
}

/// Whether a pod of an older template is there and has not ended.
fn old_pods_run(client: &Client, deployment: &Deployment, sets: &[ReplicaSet]) -> Result<bool, Status> {
    let current = template::find_current(deployment, sets);
    let is_old = |pod: &Value| {
        sets.iter()
            .enumerate()
            .any(|(index, set)| Some(index) != current && object::is_controlled_by(pod, &set.object))
    };
    let pods = client
        .list(&PODS, object::namespace(&deployment.object), &Default::default())?
        .items;
    Ok(pods
        .iter()
        .any(|pod| is_old(pod) && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))))
}

async fn perform(
    client: &Client,
    deployment: &Object,
    action: Action,
    status: &mut Value,
) -> Result<(), Status> {
    let namespace = object::namespace(deployment);
    match action {
        Action::Create(set) => create(client, deployment, set, status).await,
        Action::Change { name, patch } => client
            .patch(&REPLICA_SETS, namespace, &name, Patch::Merge(patch))
            .await
            .map(drop),
        Action::Scale(scaling) => scale(client, deployment, scaling).await,
        Action::Delete { name, uid } => {
            let options = DeleteOptions {
                uid: Some(uid),
                ..DeleteOptions::default()
            };
            client
                .delete(&REPLICA_SETS, namespace, &name, options)
                .await
                .map(drop)
        }
        Action::Number(revision) => {
            let patch = json!({"metadata": {"annotations": {view::REVISION: revision}}});
            client
                .patch(
                    &DEPLOYMENTS,
                    namespace,
                    object::name(deployment),
                    Patch::Merge(patch),
                )
                .await
                .map(drop)
        }
    }
}

async fn create(client: &Client, deployment: &Object, set: Value, status: &mut Value) -> Result<(), Status> {
    let (namespace, name) = (object::namespace(deployment), object::name(&set).to_owned());
    let replicas = object::number(&set["spec"]["replicas"]);
    let wanted = template::canonical_template(&set);
    let error = match client.create(&REPLICA_SETS, namespace, set).await {
        Ok(_) => {
            if replicas > 0 {
                let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                tell(client, deployment, "ScalingReplicaSet", message).await;
            }
            return Ok(());
        }
        Err(error) => error,
    };
    if error.reason == "AlreadyExists" {
        let taken = client.get(&REPLICA_SETS, namespace, &name)?;
        // Ours, made a moment ago: the next look finds it. Anybody else's: the next hash is another one.
        if !(object::is_controlled_by(&taken, deployment) && template::canonical_template(&taken) == wanted) {
            let collisions = object::number(&deployment["status"]["collisionCount"]) + 1;
            status["collisionCount"] = collisions.into();
        }
        return Err(error);
    }
    let message = format!("Failed to create new replica set \"{name}\": {}", error.message);
    let mut conditions = status::Conditions::of(&json!({"status": status}), clock::wall());
    conditions.set("Progressing", "False", "ReplicaSetCreateError", &message);
    status["conditions"] = conditions.into_list();
    tell(client, deployment, "ReplicaSetCreateError", message).await;
    Err(error)
}

async fn scale(client: &Client, deployment: &Object, scaling: Scaling) -> Result<(), Status> {
    let Scaling {
        name,
        from,
        to,
        annotations,
    } = scaling;
    let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": to}});
    client
        .patch(
            &REPLICA_SETS,
            object::namespace(deployment),
            &name,
            Patch::Merge(patch),
        )
        .await?;
    if from != to {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        tell(client, deployment, "ScalingReplicaSet", message).await;
    }
    Ok(())
}

async fn tell(client: &Client, deployment: &Value, reason: &str, message: String) {
    let note = Note {
        about: deployment,
        warning: reason.ends_with("Error"),
        reason,
        message,
        component: COMPONENT,
        field: None,
    };
    events::record(client, &note).await;
}
