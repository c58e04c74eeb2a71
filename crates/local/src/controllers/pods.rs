//! What several controllers ask of pods, and how they make and delete them.
//!
//! Reads are pure; writes tell about themselves in an Event of the owner.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::events::{self, Note};
use super::object;
use crate::api::Status;
use crate::api::client::{Client, DeleteOptions, Object};
use crate::api::gvr::PODS;
use crate::api::time;

/// Whether its containers have ended for good.
pub(crate) fn is_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether it runs or will: not ended, not about to be removed.
pub(crate) fn is_active(pod: &Value) -> bool {
    !object::is_ending(pod) && !is_ended(pod)
}

pub(super) fn is_ready(pod: &Value) -> bool {
    object::is_condition_true(pod, "Ready")
}

/// Since when it is ready; empty when it is not.
pub(super) fn ready_since(pod: &Value) -> &str {
    match is_ready(pod) {
        true => {
            object::condition(pod, "Ready").map_or("", |ready| object::text(&ready["lastTransitionTime"]))
        }
        false => "",
    }
}

/// How often the container that was restarted most was.
pub(super) fn restarts(pod: &Value) -> i64 {
    let statuses = object::list(&pod["status"]["containerStatuses"]).iter();
    statuses
        .map(|status| object::number(&status["restartCount"]))
        .max()
        .unwrap_or(0)
}

/// How long a ready pod still has to stay ready to count as available; `None` when it is not ready.
pub(super) fn until_available(pod: &Value, least_seconds: i64, now: SystemTime) -> Option<Duration> {
    if !is_ready(pod) {
        return None;
    }
    let least = Duration::from_secs(least_seconds.unsigned_abs());
    let since = time::parse(ready_since(pod)).unwrap_or(now);
    Some((since + least).duration_since(now).unwrap_or_default())
}

/// Whether it has been ready for long enough.
pub(super) fn is_available(pod: &Value, least_seconds: i64, now: SystemTime) -> bool {
    until_available(pod, least_seconds, now).is_some_and(|left| left.is_zero())
}

/// When the first of the ready pods becomes available, if one is still to be.
pub(super) fn next_available(pods: &[Object], least_seconds: i64, now: SystemTime) -> Option<Duration> {
    let left = pods
        .iter()
        .filter_map(|pod| until_available(pod, least_seconds, now));
    left.filter(|left| !left.is_zero()).min()
}

/// A pod by a template of `owner`, without a name: the API makes one of `generateName`.
pub(super) fn from_template(owner: &Value, template: &Value) -> Value {
    let mut metadata = json!({
        "generateName": format!("{}-", object::name(owner)),
        "namespace": object::namespace(owner),
        "ownerReferences": [object::controller_reference(owner)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Who makes and deletes pods: an owner, and the controller that acts for it.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) client: &'a Client,
    pub(super) object: &'a Value,
    /// `replicaset-controller`.
    pub(super) component: &'a str,
}

impl Owner<'_> {
    /// Creates pods in growing groups (1, 2, 4 …), so that what refuses one pod is not asked about hundreds.
    pub(super) async fn create_all(&self, pods: Vec<Value>) -> Result<(), Status> {
        let (mut pods, mut group) = (pods.into_iter().peekable(), 1);
        while pods.peek().is_some() {
            let results = join_all(pods.by_ref().take(group).map(|pod| self.create(pod))).await;
            results.into_iter().collect::<Result<(), Status>>()?;
            group *= 2;
        }
        Ok(())
    }

    pub(super) async fn create(&self, pod: Value) -> Result<(), Status> {
        match self
            .client
            .create(&PODS, object::namespace(self.object), pod)
            .await
        {
            Ok(pod) => {
                let message = format!("Created pod: {}", object::name(&pod));
                self.tell("SuccessfulCreate", message).await;
                Ok(())
            }
            Err(status) if is_namespace_going(&status) => Ok(()),
            Err(status) => {
                self.tell("FailedCreate", format!("Error creating: {}", status.message))
                    .await;
                Err(status)
            }
        }
    }

    pub(super) async fn delete(&self, pod: &Value) -> Result<(), Status> {
        match delete(self.client, pod).await {
            Ok(true) => {
                let message = format!("Deleted pod: {}", object::name(pod));
                self.tell("SuccessfulDelete", message).await;
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(status) => {
                let message = format!("Error deleting: {}", status.message);
                self.tell("FailedDelete", message).await;
                Err(status)
            }
        }
    }

    /// An Event about the owner; reasons that begin with `Failed` are bad news.
    pub(super) async fn tell(&self, reason: &str, message: String) {
        self.note(reason.starts_with("Failed"), reason, message).await;
    }

    pub(super) async fn warn(&self, reason: &str, message: String) {
        self.note(true, reason, message).await;
    }

    async fn note(&self, warning: bool, reason: &str, message: String) {
        let note = Note {
            about: self.object,
            warning,
            reason,
            message,
            component: self.component,
            field: None,
        };
        events::record(self.client, &note).await;
    }
}

/// The whole namespace goes; that its pods cannot be created is nothing to report.
pub(super) fn is_namespace_going(status: &Status) -> bool {
    status.details["causes"][0]["reason"] == "NamespaceTerminating"
}

/// Deletes exactly this pod; whether it was still there.
pub(super) async fn delete(client: &Client, pod: &Value) -> Result<bool, Status> {
    let options = DeleteOptions {
        uid: Some(object::uid(pod).to_owned()),
        ..DeleteOptions::default()
    };
    match client
        .delete(&PODS, object::namespace(pod), object::name(pod), options)
        .await
    {
        Err(status) if status.code == 404 => Ok(false),
        deleted => deleted.map(|_| true),
    }
}
