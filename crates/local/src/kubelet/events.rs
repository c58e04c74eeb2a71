//! Events about pods, in kubelet's words. One that repeats is counted, not written again.
//!
//! Recording never waits: when the API server is slow, events are lost rather than pods delayed.

use std::collections::VecDeque;

use daemon::{Tasks, clock};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::client::{Client, Patch};
use crate::api::gvr::EVENTS;
use crate::api::time::rfc3339;

const QUEUE: usize = 512;
/// How many different events are remembered for counting.
const REMEMBERED: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

/// What an event is about: a pod, or one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    /// `spec.containers{app}`.
    pub(crate) field_path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Happened {
    about: About,
    severity: Severity,
    reason: &'static str,
    message: String,
    component: &'static str,
}

/// Where events are recorded. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Events(mpsc::Sender<Happened>);

impl Events {
    /// Writes events through `client`, from now on.
    pub(crate) fn start(client: Client, node: String, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tasks.spawn("kubelet events", write_all(client, node, receiver));
        Self(sender)
    }

    /// Records what the kubelet did or saw.
    pub(crate) fn record(&self, about: &About, severity: Severity, reason: &'static str, message: String) {
        self.send(Happened {
            about: about.clone(),
            severity,
            reason,
            message,
            component: "kubelet",
        });
    }

    /// Records what the scheduler did.
    pub(crate) fn scheduled(&self, about: &About, message: String) {
        let (severity, component) = (Severity::Normal, "default-scheduler");
        self.send(Happened {
            about: about.clone(),
            severity,
            reason: "Scheduled",
            message,
            component,
        });
    }

    /// Records that no node takes a pod.
    pub(crate) fn not_scheduled(&self, about: &About, message: String) {
        let (severity, component) = (Severity::Warning, "default-scheduler");
        self.send(Happened {
            about: about.clone(),
            severity,
            reason: "FailedScheduling",
            message,
            component,
        });
    }

    fn send(&self, happened: Happened) {
        let reason = happened.reason;
        if self.0.try_send(happened).is_err() {
            tracing::debug!(reason, "an event was lost: too many at once");
        }
    }
}

struct Written {
    happened: Happened,
    name: String,
    count: u64,
}

async fn write_all(client: Client, node: String, mut queue: mpsc::Receiver<Happened>) {
    let mut remembered: VecDeque<Written> = VecDeque::new();
    while let Some(happened) = queue.recv().await {
        let now = rfc3339(clock::wall());
        let namespace = happened.about.namespace.clone();
        if let Some(known) = remembered.iter_mut().find(|known| known.happened == happened) {
            let change = json!({"count": known.count + 1, "lastTimestamp": now});
            if client
                .patch(&EVENTS, &namespace, &known.name, Patch::Merge(change))
                .await
                .is_ok()
            {
                known.count += 1;
                continue;
            }
            // It has expired or its namespace is gone: begin anew.
            remembered.retain(|known| known.happened != happened);
        }
        let name = format!("{}.{:016x}", happened.about.pod, rand::random::<u64>());
        match client
            .create(&EVENTS, &namespace, object(&happened, &name, &node, &now))
            .await
        {
            Ok(_) => {
                remembered.push_back(Written {
                    happened,
                    name,
                    count: 1,
                });
                if remembered.len() > REMEMBERED {
                    remembered.pop_front();
                }
            }
            Err(status) => tracing::debug!(%status, "an event was refused"),
        }
    }
}

fn object(happened: &Happened, name: &str, node: &str, now: &str) -> Value {
    let about = &happened.about;
    let mut involved = json!({
        "kind": "Pod", "apiVersion": "v1", "namespace": about.namespace, "name": about.pod, "uid": about.uid,
    });
    if let Some(path) = &about.field_path {
        involved["fieldPath"] = path.clone().into();
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace},
        "involvedObject": involved,
        "reason": happened.reason,
        "message": happened.message,
        "type": match happened.severity { Severity::Normal => "Normal", Severity::Warning => "Warning" },
        "source": {"component": happened.component, "host": node},
        "reportingComponent": happened.component,
        "reportingInstance": node,
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    })
}
