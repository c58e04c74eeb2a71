//! The status of a pod, derived from what is known of its containers. Pure; written only when it changed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use serde_json::{Map, Value, json};

use super::state::{Ended, Member, Role, State};
use crate::api::time::rfc3339;

/// What is known of a pod beside its containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Set when the sandbox stands.
    pub(crate) address: Option<String>,
    pub(crate) node_address: String,
    pub(crate) started: Option<SystemTime>,
    /// Set when nothing runs any more and nothing will.
    pub(crate) done: Option<bool>,
    /// Why the pod failed as a whole: reason and message.
    pub(crate) failure: Option<(&'static str, String)>,
}

/// The status as of `now`; `before` is the one in the store.
pub(crate) fn derive(pod: &Pod, members: &[Member], facts: &Facts, before: &Value, now: SystemTime) -> Value {
    let mut status = json!({
        "phase": phase(members, facts),
        "conditions": conditions(pod, members, facts, &before["conditions"], now),
        "hostIP": facts.node_address,
        "hostIPs": [{"ip": facts.node_address}],
        "qosClass": qos_class(pod),
        "containerStatuses": statuses(members, |role| role == Role::Main),
    });
    let mut set = |name: &str, value: Value| {
        status
            .as_object_mut()
            .expect("it is an object")
            .insert(name.to_owned(), value);
    };
    if members.iter().any(|member| member.role != Role::Main) {
        set(
            "initContainerStatuses",
            statuses(members, |role| role != Role::Main),
        );
    }
    if let Some(address) = &facts.address {
        set("podIP", address.clone().into());
        set("podIPs", json!([{"ip": address}]));
    }
    if let Some(started) = facts.started {
        set("startTime", rfc3339(started).into());
    }
    if let Some((reason, message)) = &facts.failure {
        set("reason", (*reason).into());
        set("message", message.clone().into());
    }
    status
}

fn phase(members: &[Member], facts: &Facts) -> &'static str {
    match facts.done {
        _ if facts.failure.is_some() => "Failed",
        Some(true) => "Succeeded",
        Some(false) => "Failed",
        None if members
            .iter()
            .any(|member| member.role == Role::Main && member.fresh()) =>
        {
            "Pending"
        }
        None => "Running",
    }
}

fn conditions(pod: &Pod, members: &[Member], facts: &Facts, before: &Value, now: SystemTime) -> Value {
    let succeeded = facts.done == Some(true) && facts.failure.is_none();
    let unready = names(members, |member| {
        member.role != Role::Init && !member.run().is_some_and(|run| run.ready && run.started)
    });
    let uninitialised = names(members, |member| match member.role {
        Role::Init => member.ended().is_none_or(|ended| ended.code != 0),
        Role::Sidecar => !member.run().is_some_and(|run| run.started),
        Role::Main => false,
    });
    let passed = members
        .iter()
        .any(|member| member.role == Role::Main && member.begun);
    let completed = Some(("PodCompleted", String::new()));
    let containers = if succeeded {
        Verdict {
            holds: false,
            why: completed.clone(),
        }
    } else if facts.done.is_some() {
        Verdict {
            holds: false,
            why: Some(("PodFailed", String::new())),
        }
    } else {
        Verdict::without(&unready, "ContainersNotReady", "containers with unready status")
    };
    let initialised = if succeeded {
        Verdict {
            holds: true,
            why: completed,
        }
    } else if passed {
        Verdict {
            holds: true,
            why: None,
        }
    } else {
        Verdict::without(
            &uninitialised,
            "ContainersNotInitialized",
            "containers with incomplete status",
        )
    };
    let ready = gates(pod, before)
        .filter(|_| containers.holds)
        .unwrap_or_else(|| containers.clone());
    let sandboxed = Verdict {
        holds: facts.address.is_some() && facts.done.is_none(),
        why: None,
    };
    let scheduled = Verdict {
        holds: true,
        why: None,
    };
    let ours = [
        ("PodReadyToStartContainers", sandboxed),
        ("Initialized", initialised),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", scheduled),
    ];
    let mut written: Vec<Value> = ours
        .iter()
        .map(|(kind, verdict)| verdict.condition(kind, before, now))
        .collect();
    // Conditions that others set, for readiness gates among them, are theirs.
    let foreign = before.as_array().into_iter().flatten();
    written.extend(
        foreign
            .filter(|other| !ours.iter().any(|(kind, _)| other["type"] == *kind))
            .cloned(),
    );
    written.into()
}

#[derive(Clone)]
struct Verdict {
    holds: bool,
    why: Option<(&'static str, String)>,
}

impl Verdict {
    fn without(missing: &[&str], reason: &'static str, text: &str) -> Self {
        let message = format!("{text}: [{}]", missing.join(" "));
        Self {
            holds: missing.is_empty(),
            why: (!missing.is_empty()).then_some((reason, message)),
        }
    }

    fn condition(&self, kind: &str, before: &Value, now: SystemTime) -> Value {
        let value = if self.holds { "True" } else { "False" };
        let earlier = find(before, kind).filter(|earlier| earlier["status"] == value);
        let since = earlier
            .and_then(|earlier| earlier["lastTransitionTime"].as_str())
            .map(str::to_owned);
        let mut condition = json!({
            "type": kind, "status": value, "lastProbeTime": null,
            "lastTransitionTime": since.unwrap_or_else(|| rfc3339(now)),
        });
        if let Some((reason, message)) = &self.why {
            condition["reason"] = (*reason).into();
            if !message.is_empty() {
                condition["message"] = message.clone().into();
            }
        }
        condition
    }
}

/// What readiness gates say, if there is one that does not hold.
fn gates(pod: &Pod, before: &Value) -> Option<Verdict> {
    let gates = pod
        .spec
        .iter()
        .flat_map(|spec| spec.readiness_gates.iter().flatten());
    let closed: Vec<_> = gates
        .map(|gate| gate.condition_type.as_str())
        .filter(|kind| find(before, kind).is_none_or(|condition| condition["status"] != "True"))
        .map(|kind| {
            format!(
                "corresponding condition of pod readiness gate \"{kind}\" does not exist or is not \"True\""
            )
        })
        .collect();
    (!closed.is_empty()).then(|| Verdict {
        holds: false,
        why: Some(("ReadinessGatesNotReady", closed.join(", "))),
    })
}

fn find<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn names(members: &[Member], chosen: impl Fn(&Member) -> bool) -> Vec<&str> {
    members
        .iter()
        .filter(|member| chosen(member))
        .map(Member::name)
        .collect()
}

fn statuses(members: &[Member], chosen: impl Fn(Role) -> bool) -> Value {
    members
        .iter()
        .filter(|member| chosen(member.role))
        .map(container_status)
        .collect()
}

fn container_status(member: &Member) -> Value {
    let image = member.spec.image.clone().unwrap_or_default();
    let run = member.run();
    let completed_init = member.role == Role::Init && member.ended().is_some_and(|ended| ended.code == 0);
    let started = run.is_some_and(|run| run.started);
    let mut status = json!({
        "name": member.name(),
        "image": image,
        "imageID": if member.fresh() { String::new() } else { format!("local://{image}") },
        "ready": completed_init || run.is_some_and(|run| run.ready && run.started),
        "started": started,
        "restartCount": member.restarts,
        "state": state(member),
        "lastState": member.last.as_ref().map_or_else(|| json!({}), |ended| json!({"terminated": terminated(ended)})),
    });
    let id = run
        .map(|run| &run.id)
        .or_else(|| member.ended().map(|ended| &ended.id));
    if let Some(id) = id {
        status["containerID"] = id.clone().into();
    }
    status
}

fn state(member: &Member) -> Value {
    match &member.state {
        State::Running(run) => json!({"running": {"startedAt": rfc3339(run.since)}}),
        State::Ended(ended) => json!({"terminated": terminated(ended)}),
        State::Waiting { reason, message } => {
            let mut waiting = Map::from_iter([("reason".to_owned(), Value::from(*reason))]);
            if !message.is_empty() {
                waiting.insert("message".to_owned(), message.clone().into());
            }
            json!({"waiting": waiting})
        }
    }
}

fn terminated(ended: &Ended) -> Value {
    let mut terminated = json!({
        "exitCode": ended.code,
        "reason": ended.reason,
        "startedAt": ended.since.map(rfc3339),
        "finishedAt": rfc3339(ended.at),
        "containerID": ended.id,
    });
    if let Some(signal) = ended.signal {
        terminated["signal"] = signal.into();
    }
    if !ended.message.is_empty() {
        terminated["message"] = ended.message.clone().into();
    }
    terminated
}

/// `Guaranteed` when every container limits both cpu and memory to what it requests, `BestEffort` when none says
/// anything. <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
fn qos_class(pod: &Pod) -> &'static str {
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    });
    let resources: Vec<ResourceRequirements> = containers
        .map(|one| one.resources.clone().unwrap_or_default())
        .collect();
    let counted = |map: &Option<BTreeMap<String, _>>| {
        map.iter().flatten().any(
            |(name, _): (&String, &k8s_openapi::apimachinery::pkg::api::resource::Quantity)| {
                name == "cpu" || name == "memory"
            },
        )
    };
    let guaranteed = |one: &ResourceRequirements| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = one.limits.as_ref().and_then(|limits| limits.get(*name));
            let request = one.requests.as_ref().and_then(|requests| requests.get(*name));
            limit.is_some() && (request.is_none() || request == limit)
        })
    };
    if resources
        .iter()
        .all(|one| !counted(&one.limits) && !counted(&one.requests))
    {
        "BestEffort"
    } else if resources.iter().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::state::{Run, members};
    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(Value::from_iter([
            ("metadata", json!({"name": "a"})),
            ("spec", spec),
        ]))
        .unwrap()
    }

    fn run(started: bool, ready: bool) -> State {
        State::Running(Run {
            id: "local://1".to_owned(),
            pid: 1,
            since: UNIX_EPOCH,
            started,
            ready,
        })
    }

    fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
        find(&status["conditions"], kind).unwrap()
    }

    #[test]
    fn a_pod_goes_from_pending_to_running_and_ready() {
        let pod = pod(json!({"containers": [{"name": "app", "image": "x"}],
            "initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}));
        let mut members = members(&pod);
        let facts = Facts {
            address: Some("10.244.0.2".to_owned()),
            ..Facts::default()
        };
        let derived = |members: &[Member], before: &Value, second| {
            derive(
                &pod,
                members,
                &facts,
                before,
                UNIX_EPOCH + Duration::from_secs(second),
            )
        };
        let first = derived(&members, &Value::Null, 0);
        assert_eq!(first["phase"], "Pending");
        assert_eq!(
            condition(&first, "Initialized")["reason"],
            "ContainersNotInitialized"
        );
        assert_eq!(
            condition(&first, "Ready")["message"],
            "containers with unready status: [proxy app]"
        );
        assert_eq!(
            first["containerStatuses"][0]["state"]["waiting"]["reason"],
            "ContainerCreating"
        );
        members[0].state = run(true, true);
        members[1].state = run(true, false);
        let second = derived(&members, &first, 1);
        assert_eq!(
            (&second["phase"], &second["podIP"]),
            (&json!("Running"), &json!("10.244.0.2"))
        );
        assert_eq!(condition(&second, "Initialized")["status"], "True");
        assert_eq!(condition(&second, "Ready")["status"], "False");
        members[1].state = run(true, true);
        let third = derived(&members, &second, 2);
        assert_eq!(condition(&third, "Ready")["status"], "True");
        assert_eq!(
            condition(&third, "Ready")["lastTransitionTime"],
            "1970-01-01T00:00:02Z"
        );
        assert_eq!(
            condition(&third, "Initialized")["lastTransitionTime"],
            "1970-01-01T00:00:01Z"
        );
        // Nothing new, nothing to write.
        assert_eq!(derived(&members, &third, 3), third);
    }

    #[test]
    fn a_closed_readiness_gate_keeps_a_pod_unready_and_its_condition_is_kept() {
        let pod = pod(json!({"containers": [{"name": "app"}], "readinessGates": [{"conditionType": "x/y"}]}));
        let mut members = members(&pod);
        members[0].state = run(true, true);
        let before = json!({"conditions": [{"type": "x/y", "status": "False"}]});
        let status = derive(&pod, &members, &Facts::default(), &before, UNIX_EPOCH);
        assert_eq!(condition(&status, "Ready")["reason"], "ReadinessGatesNotReady");
        assert_eq!(condition(&status, "ContainersReady")["status"], "True");
        assert_eq!(condition(&status, "x/y")["status"], "False");
    }

    #[test]
    fn a_pod_that_is_done_says_how() {
        let pod = pod(json!({"containers": [{"name": "app"}]}));
        let members = members(&pod);
        let phase = |facts: Facts| derive(&pod, &members, &facts, &Value::Null, UNIX_EPOCH)["phase"].clone();
        assert_eq!(
            phase(Facts {
                done: Some(true),
                ..Facts::default()
            }),
            "Succeeded"
        );
        assert_eq!(
            phase(Facts {
                done: Some(false),
                ..Facts::default()
            }),
            "Failed"
        );
    }

    #[test]
    fn the_quality_of_service_follows_from_limits_and_requests() {
        let class = |resources: Value| {
            qos_class(&pod(
                json!({"containers": [{"name": "a", "resources": resources}]}),
            ))
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(
            class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
            "Guaranteed"
        );
    }
}
