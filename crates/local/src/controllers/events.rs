//! Events: what `kubectl describe` shows about an object. (The API server removes them after an hour.)
//!
//! The same thing said again about the same object is one Event with a higher count.

use std::hash::{DefaultHasher, Hash, Hasher};

use daemon::clock;
use serde_json::{Value, json};

use super::object;
use crate::api::client::{Client, Patch};
use crate::api::gvr::EVENTS;
use crate::api::time;

/// Something worth telling about an object.
#[derive(Clone, Debug)]
pub(crate) struct Note<'a> {
    /// The object; needs kind, apiVersion and metadata.
    pub(crate) about: &'a Value,
    /// Whether it is bad news.
    pub(crate) warning: bool,
    /// One word: `SuccessfulCreate`.
    pub(crate) reason: &'a str,
    pub(crate) message: String,
    /// Who says it: `replicaset-controller`, `kubelet`.
    pub(crate) component: &'a str,
    /// Part of the object: `spec.containers{app}`.
    pub(crate) field: Option<String>,
}

/// Kubernetes refuses longer messages.
const LONGEST_MESSAGE: usize = 1024;

/// Tells it. An Event that cannot be written is only logged: nothing depends on it.
pub(crate) async fn record(client: &Client, note: &Note<'_>) {
    let now = time::rfc3339(clock::wall());
    let event = event(note, &now);
    let (namespace, name) = (
        object::namespace(&event).to_owned(),
        object::name(&event).to_owned(),
    );
    let result = match client.get(&EVENTS, &namespace, &name) {
        Ok(earlier) => {
            let count = object::number(&earlier["count"]) + 1;
            let patch = json!({"count": count, "lastTimestamp": now});
            client
                .patch(&EVENTS, &namespace, &name, Patch::Merge(patch))
                .await
        }
        Err(_) => client.create(&EVENTS, &namespace, event).await,
    };
    // In a namespace that is being deleted nothing can be created.
    if let Err(status) = result
        && status.code != 403
    {
        tracing::debug!(%status, reason = note.reason, message = %note.message, "event not recorded");
    }
}

fn event(note: &Note<'_>, now: &str) -> Value {
    let Note {
        about,
        reason,
        component,
        ..
    } = note;
    let mut involved = json!({
        "apiVersion": about["apiVersion"], "kind": about["kind"], "name": object::name(about),
        "uid": object::uid(about), "resourceVersion": about["metadata"]["resourceVersion"],
    });
    if !object::namespace(about).is_empty() {
        involved["namespace"] = object::namespace(about).into();
    }
    if let Some(field) = &note.field {
        involved["fieldPath"] = field.as_str().into();
    }
    // What is not in a namespace has its events in `default`.
    let namespace = match object::namespace(about) {
        "" => "default",
        namespace => namespace,
    };
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": event_name(note), "namespace": namespace},
        "involvedObject": involved,
        "reason": reason,
        "message": shorten(&note.message),
        "source": {"component": component},
        "reportingComponent": component, "reportingInstance": "",
        "type": if note.warning { "Warning" } else { "Normal" },
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    })
}

/// The same note about the same object has the same name.
fn event_name(note: &Note<'_>) -> String {
    let mut hasher = DefaultHasher::new();
    (
        object::uid(note.about),
        note.warning,
        note.reason,
        &note.message,
        note.component,
        &note.field,
    )
        .hash(&mut hasher);
    let name: String = object::name(note.about).chars().take(236).collect();
    format!("{name}.{:016x}", hasher.finish())
}

fn shorten(message: &str) -> &str {
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_note_has_the_same_name_and_another_one_has_not() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"}});
        let note = |message: &str| Note {
            about: &pod,
            warning: true,
            reason: "BackOff",
            message: message.to_owned(),
            component: "kubelet",
            field: None,
        };
        assert_eq!(event_name(&note("a")), event_name(&note("a")));
        assert_ne!(event_name(&note("a")), event_name(&note("b")));
        let event = event(&note(&"ä".repeat(1000)), "2026-01-01T00:00:00Z");
        assert_eq!(object::text(&event["message"]).len(), 1024);
    }
}
