//! Pods: READY, STATUS and RESTARTS say what the phase alone does not.
//!
//! Source: `printPod` of `pkg/printers/internalversion`.

use serde_json::{Value, json};

use super::{Columns, Row, age, list, or_none, text, wide};
use crate::api::time;

pub static PODS: Columns = Columns {
    columns: &[
        text("Name"),
        text("Ready"),
        text("Status"),
        text("Restarts"),
        text("Age"),
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells: |row| {
        let summary = summary(row.object);
        let mut restarts = summary.restarts.to_string();
        if let (true, Some(last)) = (summary.restarts > 0, summary.last_restart) {
            restarts = format!("{restarts} ({} ago)", age::since(Some(last), row.now));
        }
        let address = list(row.at("/status/podIPs"))
            .first()
            .and_then(|one| one["ip"].as_str());
        vec![
            row.name(),
            json!(format!("{}/{}", summary.ready, summary.containers)),
            json!(summary.status),
            json!(restarts),
            row.age(),
            or_none(address.unwrap_or_else(|| row.text("/status/podIP"))),
            or_none(row.text("/spec/nodeName")),
            or_none(row.text("/status/nominatedNodeName")),
            json!(readiness_gates(row)),
        ]
    },
};

/// What the columns say about a pod.
struct Summary<'a> {
    ready: usize,
    containers: usize,
    status: String,
    restarts: i64,
    last_restart: Option<&'a str>,
}

/// Restarts of some containers, and when the last one was.
#[derive(Clone, Copy, Default)]
struct Restarts<'a> {
    count: i64,
    last: Option<&'a str>,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, container: &'a Value) {
        self.count += container["restartCount"].as_i64().unwrap_or(0);
        let ended = container
            .pointer("/lastState/terminated/finishedAt")
            .and_then(Value::as_str);
        if ended.and_then(time::parse) > self.last.and_then(time::parse) {
            self.last = ended;
        }
    }
}

fn summary(pod: &Value) -> Summary<'_> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = status["phase"].as_str().unwrap_or_default();
    let sidecars: Vec<&Value> = list(&spec["initContainers"])
        .iter()
        .filter(|one| one["restartPolicy"] == "Always")
        .map(|one| &one["name"])
        .collect();
    let mut state = State {
        reason: status["reason"]
            .as_str()
            .filter(|reason| !reason.is_empty())
            .unwrap_or(phase)
            .to_owned(),
        ready: 0,
        restarts: Restarts::default(),
    };
    let gated = |one: &Value| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated";
    if list(&status["conditions"]).iter().any(gated) {
        "SchedulingGated".clone_into(&mut state.reason);
    }
    let initializing = state.init_containers(pod, &sidecars);
    if !initializing || condition(status, "Initialized") {
        state.containers(status, &sidecars);
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() && !matches!(phase, "Succeeded" | "Failed") {
        "Terminating".clone_into(&mut state.reason);
    }
    Summary {
        ready: state.ready,
        containers: list(&spec["containers"]).len() + sidecars.len(),
        status: state.reason,
        restarts: state.restarts.count,
        last_restart: state.restarts.last,
    }
}

struct State<'a> {
    reason: String,
    ready: usize,
    restarts: Restarts<'a>,
}

impl<'a> State<'a> {
    /// Whether the pod still initializes; its first unfinished init container says how far it is.
    fn init_containers(&mut self, pod: &'a Value, sidecars: &[&Value]) -> bool {
        for (index, container) in list(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
            self.restarts.add(container);
            let (ended, waiting) = (
                &container["state"]["terminated"],
                &container["state"]["waiting"]["reason"],
            );
            if ended["exitCode"] == 0 {
                continue;
            }
            if sidecars.contains(&&container["name"]) && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            self.reason = match waiting.as_str() {
                _ if ended.is_object() => format!("Init:{}", end(ended)),
                Some(reason) if !matches!(reason, "" | "PodInitializing") => format!("Init:{reason}"),
                _ => format!("Init:{index}/{}", list(&pod["spec"]["initContainers"]).len()),
            };
            return true;
        }
        false
    }

    fn containers(&mut self, status: &'a Value, sidecars: &[&Value]) {
        self.restarts = Restarts::default();
        for container in list(&status["initContainerStatuses"]) {
            if sidecars.contains(&&container["name"]) {
                self.restarts.add(container);
            }
        }
        let mut running = false;
        for container in list(&status["containerStatuses"]).iter().rev() {
            self.restarts.add(container);
            let state = &container["state"];
            match state["waiting"]["reason"].as_str() {
                Some(reason) if !reason.is_empty() => reason.clone_into(&mut self.reason),
                _ if state["terminated"].is_object() => self.reason = end(&state["terminated"]),
                _ if container["ready"] == true && state["running"].is_object() => {
                    running = true;
                    self.ready += 1;
                }
                _ => {}
            }
        }
        if self.reason == "Completed" && running {
            let ready = condition(status, "Ready");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

/// Why a container ended.
fn end(terminated: &Value) -> String {
    match (terminated["reason"].as_str(), terminated["signal"].as_i64()) {
        (Some(reason), _) if !reason.is_empty() => reason.to_owned(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
    }
}

fn condition(status: &Value, name: &str) -> bool {
    list(&status["conditions"])
        .iter()
        .any(|one| one["type"] == name && one["status"] == "True")
}

fn readiness_gates(row: &Row<'_>) -> String {
    let gates = list(row.at("/spec/readinessGates"));
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = |gate: &&Value| {
        condition(
            row.at("/status"),
            gate["conditionType"].as_str().unwrap_or_default(),
        )
    };
    format!("{}/{}", gates.iter().filter(open).count(), gates.len())
}
