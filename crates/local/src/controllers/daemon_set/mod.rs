//! DaemonSets: one pod on each node that takes it.
//!
//! What to do is decided in [`plan`]; here it is done.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/>

mod placement;
mod plan;
#[cfg(test)]
mod tests;

use daemon::{Tasks, clock};
use serde_json::Value;

use super::pods::{self, Owner};
use super::queue::{Backoff, Key};
use super::revision::{self, History};
use super::run::{self, Definition, Next, Source};
use super::{claim, object, write};
use crate::api::Status;
use crate::api::client::{Client, Query};
use crate::api::gvr::{DAEMON_SETS, NODES, PODS};
use plan::Set;

const COMPONENT: &str = "daemonset-controller";

pub(super) fn start(client: &Client, tasks: &Tasks) {
    let definition = Definition {
        name: COMPONENT,
        sources: vec![
            Source::of(DAEMON_SETS),
            Source::mapped(PODS, |client, pod| {
                claim::owners_of(client, &DAEMON_SETS, "DaemonSet", pod)
            }),
            Source::mapped(NODES, every_set),
        ],
        backoff: Backoff::default(),
        at_once: 4,
    };
    run::start(definition, client, tasks, |client, key| async move {
        reconcile(&client, &key).await
    });
}

/// A change of a node concerns everyone.
fn every_set(client: &Client, _node: &Value) -> Vec<Key> {
    let sets = client.list(&DAEMON_SETS, "", &Query::default());
    let sets = sets.map(|list| list.items).unwrap_or_default();
    sets.iter().map(|set| Key::of(&DAEMON_SETS, set)).collect()
}

async fn reconcile(client: &Client, key: &Key) -> Result<Next, Status> {
    let object = match client.get(&DAEMON_SETS, &key.namespace, &key.name) {
        Err(status) if status.code == 404 => return Ok(Next::Wait),
        found => found?,
    };
    if object::is_ending(&object) {
        return Ok(Next::Wait);
    }
    let history = History::settle(client, &DAEMON_SETS, &object).await?;
    let pods = claim::settle(client, &PODS, &object).await?;
    let nodes = client.list(&NODES, "", &Query::default())?.items;
    let now = clock::wall();
    let set = Set::of(&object, revision::hash_of(history.newest()), &nodes, now);
    let owner = Owner {
        client,
        object: &object,
        component: COMPONENT,
    };
    let plan = plan::next(&set, &pods);
    let status = plan::status(&set, &pods);
    let look_again = pods::next_available(&pods, set.least_ready_seconds, now);
    let result = perform(owner, plan).await;
    // Created and deleted pods report themselves by the watch; the status says what was before.
    write::status(client, &DAEMON_SETS, &object, status).await?;
    result?;
    let limit = object["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10);
    let is_used = |one: &Value| {
        let hash = revision::hash_of(one);
        pods.iter()
            .any(|pod| object::label(pod, revision::OF_POD) == hash)
    };
    history.shorten(client, limit, is_used).await?;
    Ok(look_again.map_or(Next::Wait, Next::After))
}

async fn perform(owner: Owner<'_>, plan: plan::Plan) -> Result<(), Status> {
    for pod in &plan.failed {
        let (name, node) = (object::name(pod), placement::node_of(pod));
        let message = format!(
            "Found failed daemon pod {}/{name} on node {node}, will try to kill it",
            object::namespace(pod)
        );
        owner.warn("FailedDaemonPod", message).await;
        owner.delete(pod).await?;
    }
    for pod in &plan.delete {
        owner.delete(pod).await?;
    }
    owner.create_all(plan.create).await
}
