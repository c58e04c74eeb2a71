//! The scheduler: which node a pod goes to.
//!
//! What to do is decided in [`choose`]; here it is done, one pod after another, so that each choice sees the ones
//! before it. A pod that no node takes is tried again when a node changes or a pod makes room.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/>

pub(crate) mod affinity;
mod choose;
mod resources;
pub(crate) mod taints;
#[cfg(test)]
mod tests;
mod topology;

use std::cmp::Reverse;
use std::time::Duration;

use daemon::clock;
use serde_json::{Value, json};

use crate::api::client::{Client, Object, Patch, Query};
use crate::api::gvr::{NAMESPACES, NODES, PODS};
use crate::api::{Status, time};
use crate::controllers::changes::{Changed, Changes};
use crate::controllers::object::{self, list, number, text};
use crate::controllers::pods;
use crate::kubelet::events::{About, Events};
use choose::{Refusal, World};

/// Changes that come together are looked at together.
const WINDOW: Duration = Duration::from_millis(2);
/// How long those that fit nowhere wait at least; what changes meanwhile is looked at then.
const PAUSE: Duration = Duration::from_millis(200);
/// After a write that was refused.
const RETRY: Duration = Duration::from_secs(1);

/// Binds pods that no node has, for as long as the cluster lives.
pub(crate) async fn run(client: Client, events: Events) {
    let (mut of_pods, mut of_nodes) = (Changes::of(&client, &PODS), Changes::of(&client, &NODES));
    let mut retry_at = None;
    let mut is_new = false;
    loop {
        let due = match (is_new, retry_at) {
            (true, _) => Some(clock::now() + WINDOW),
            (false, at) => at,
        };
        tokio::select! {
            biased;
            changed = of_pods.next() => {
                is_new |= changed.after.as_deref().is_some_and(|pod| waits(pod) && changed.before.is_none());
                if makes_room(&changed) {
                    retry_at.get_or_insert_with(|| clock::now() + PAUSE);
                }
            }
            _ = of_nodes.next() => {
                retry_at.get_or_insert_with(|| clock::now() + PAUSE);
            }
            () = clock::sleep_until(due.unwrap_or_else(clock::now)), if due.is_some() => {
                (is_new, retry_at) = (false, None);
                if let Err(status) = schedule(&client, &events).await {
                    tracing::warn!(%status, "cannot schedule pods; will try again");
                    retry_at = Some(clock::now() + RETRY);
                }
            }
        }
    }
}

/// Whether a pod that waits may find a place because of this: another one has gone, or anything that it is chosen by
/// has changed.
fn makes_room(changed: &Changed) -> bool {
    match (&changed.before, &changed.after) {
        (_, None) => true,
        (None, Some(pod)) => !waits(pod),
        (Some(before), Some(after)) => {
            before["spec"] != after["spec"]
                || before["metadata"]["labels"] != after["metadata"]["labels"]
                || pods::is_ended(before) != pods::is_ended(after)
        }
    }
}

/// Whether a pod is ours to bind.
fn waits(pod: &Value) -> bool {
    let of_other = |name: &str| !matches!(name, "" | "default-scheduler");
    text(&pod["spec"]["nodeName"]).is_empty()
        && pods::is_active(pod)
        && !of_other(text(&pod["spec"]["schedulerName"]))
}

/// Places every pod that waits, the most important and the oldest first.
async fn schedule(client: &Client, events: &Events) -> Result<(), Status> {
    let everything = Query::default();
    let mut all = client.list(&PODS, "", &everything)?.items;
    let mut waiting: Vec<Object> = all.iter().filter(|pod| waits(pod)).cloned().collect();
    if waiting.is_empty() {
        return Ok(());
    }
    waiting.sort_by_key(|pod| {
        let urgency = Reverse(number(&pod["spec"]["priority"]));
        (
            urgency,
            object::created(pod).to_owned(),
            object::name(pod).to_owned(),
        )
    });
    let nodes = client.list(&NODES, "", &everything)?.items;
    let namespaces = client.list(&NAMESPACES, "", &everything)?.items;
    let mut outcome = Ok(());
    for pod in waiting {
        let world = World::of(&nodes, &all, &namespaces);
        match place(client, events, &world, &pod).await {
            Ok(bound) => all.extend(bound),
            // One that cannot be bound, because a policy refuses it, say, holds nobody else up.
            Err(status) => outcome = Err(status),
        }
    }
    outcome
}

/// Binds a pod, or says on it why not; the pod as it is when it is bound.
async fn place(
    client: &Client,
    events: &Events,
    world: &World<'_>,
    pod: &Object,
) -> Result<Option<Object>, Status> {
    if !list(&pod["spec"]["schedulingGates"]).is_empty() {
        let message = "Scheduling is blocked due to non-empty scheduling gates";
        say_waiting(client, pod, "SchedulingGated", message).await?;
        return Ok(None);
    }
    let (reason, why, result) = match choose::choose(world, pod) {
        Ok(node) => match bind(client, events, pod, &node).await {
            Ok(bound) => return Ok(bound),
            Err(status) => ("SchedulerError", status.message.clone(), Err(status)),
        },
        Err(Refusal(why)) => ("Unschedulable", why, Ok(None)),
    };
    if say_waiting(client, pod, reason, &why).await? {
        events.not_scheduled(&about(pod), why);
    }
    result
}

/// The pod as it is then; `None` when it has gone meanwhile.
async fn bind(client: &Client, events: &Events, pod: &Value, node: &str) -> Result<Option<Object>, Status> {
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    let patch = json!({"metadata": {"uid": object::uid(pod)}, "spec": {"nodeName": node}});
    match client.patch(&PODS, namespace, name, Patch::Merge(patch)).await {
        Ok(bound) => {
            let message = format!("Successfully assigned {namespace}/{name} to {node}");
            events.scheduled(&about(pod), message);
            Ok(Some(bound))
        }
        Err(status) if matches!(status.code, 404 | 409) => Ok(None),
        Err(status) => Err(status),
    }
}

/// Writes why a pod has no node; whether that is news.
async fn say_waiting(client: &Client, pod: &Value, reason: &str, message: &str) -> Result<bool, Status> {
    let before = object::condition(pod, "PodScheduled");
    if before.is_some_and(|one| one["reason"] == reason && one["message"] == message) {
        return Ok(false);
    }
    let since = before
        .filter(|one| one["status"] == "False")
        .map(|one| text(&one["lastTransitionTime"]).to_owned());
    let others = list(&pod["status"]["conditions"]).iter();
    let condition = json!({
        "type": "PodScheduled", "status": "False", "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| time::rfc3339(clock::wall())),
        "reason": reason, "message": message,
    });
    let conditions: Value = others
        .filter(|one| one["type"] != "PodScheduled")
        .cloned()
        .chain([condition])
        .collect();
    let patch = json!({"metadata": {"uid": object::uid(pod)}, "status": {"conditions": conditions}});
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    match client
        .patch_status(&PODS, namespace, name, Patch::Merge(patch))
        .await
    {
        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
        _ => Ok(true),
    }
}

fn about(pod: &Value) -> About {
    About {
        namespace: object::namespace(pod).to_owned(),
        pod: object::name(pod).to_owned(),
        uid: object::uid(pod).to_owned(),
        field_path: None,
    }
}
