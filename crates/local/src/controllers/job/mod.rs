//! Jobs: pods that run to their end, as often as it takes.
//!
//! A pod that has ended is counted exactly once: it keeps the finalizer until the Job's status names it, and only
//! then moves into the sums. What to do is decided in [`plan`]; here it is done.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/>

mod failure;
mod indexes;
mod plan;
mod pod;
mod status;
mod tally;
#[cfg(test)]
mod tests;
mod view;

use daemon::{Tasks, clock};
use serde_json::{Value, json};

use super::pods::Owner;
use super::queue::{Backoff, Key};
use super::run::{self, Definition, Next, Source};
use super::{claim, object, write};
use crate::api::Status;
use crate::api::client::{Client, Object, Patch, Query};
use crate::api::gvr::{JOBS, PODS};
use plan::Plan;

const COMPONENT: &str = "job-controller";
/// Keeps an ended pod until it is counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: COMPONENT,
        sources: vec![
            Source::of(JOBS),
            Source::mapped(PODS, |client, pod| claim::owners_of(client, &JOBS, "Job", pod)),
        ],
        backoff: Backoff::default(),
        at_once: 8,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let job = match client.get(&JOBS, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => {
            release_strangers(client, key, None).await?;
            return Ok(Next::Wait);
        }
        found => found?,
    };
    let managed_by = object::text(&job["spec"]["managedBy"]);
    if !managed_by.is_empty() && managed_by != "kubernetes.io/job-controller" {
        return Ok(Next::Wait);
    }
    let pods = claim::settle(client, &PODS, &job).await?;
    release_strangers(client, key, Some(&job)).await?;
    if object::is_ending(&job) {
        release(client, &pods).await?;
        return Ok(Next::Wait);
    }
    let plan = plan::next(&job, &pods, clock::wall());
    let look_again = plan.look_again;
    perform(client, &job, plan).await?;
    Ok(look_again.map_or(Next::Wait, Next::After))
}

/// The status first: what it names may then let go of its finalizer.
async fn perform(client: &Client, job: &Object, plan: Plan) -> Result<(), Status> {
    write::status(client, &JOBS, job, plan.status).await?;
    let owner = Owner {
        client,
        object: job,
        component: COMPONENT,
    };
    for note in plan.notes {
        match note.warning {
            true => owner.warn(note.reason, note.message).await,
            false => owner.tell(note.reason, note.message).await,
        }
    }
    release(client, &plan.release).await?;
    for pod in &plan.delete {
        owner.delete(pod).await?;
    }
    owner.create_all(plan.create).await?;
    if plan.remove {
        write::delete(client, &JOBS, job, Some("Foreground")).await?;
    }
    Ok(())
}

/// Pods that bear the Job's name and are not its own are counted by nobody: those of a Job that is gone, or of an
/// earlier one of that name, and those that have been let go.
async fn release_strangers(client: &Client, key: &Key, job: Option<&Object>) -> Result<(), Status> {
    let query = Query {
        labels: format!("{}={}", pod::JOB_NAME, key.name),
        ..Query::default()
    };
    let pods = client.list(&PODS, &key.namespace, &query)?.items;
    let is_stranger = |pod: &&Object| {
        object::controller(pod).is_none_or(|owner| {
            let is_named = owner["kind"] == "Job" && owner["name"] == *key.name;
            is_named && job.is_none_or(|job| owner["uid"] != *object::uid(job))
        })
    };
    let strangers: Vec<Object> = pods.iter().filter(is_stranger).cloned().collect();
    release(client, &strangers).await
}

/// Takes the finalizer from these pods.
async fn release(client: &Client, pods: &[Object]) -> Result<(), Status> {
    for pod in pods.iter().filter(|pod| object::has_finalizer(pod, TRACKING)) {
        let others = object::list(&pod["metadata"]["finalizers"]).iter();
        let others: Vec<Value> = others.filter(|one| **one != TRACKING).cloned().collect();
        let others = if others.is_empty() {
            Value::Null
        } else {
            others.into()
        };
        let patch = json!({"metadata": {"uid": object::uid(pod), "finalizers": others}});
        let (namespace, name) = (object::namespace(pod), object::name(pod));
        match client.patch(&PODS, namespace, name, Patch::Merge(patch)).await {
            // It is gone, or another one has its name.
            Err(status) if !matches!(status.code, 404 | 409) => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
