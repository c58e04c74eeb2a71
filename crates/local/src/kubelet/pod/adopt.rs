//! Taking over a pod that an earlier run of the node has left: its containers are gone, its history is not.

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::Life;
use super::state::{BackOff, Ended, RestartPolicy, Role, State};
use crate::api::time;
use crate::kubelet::events::Severity;
use crate::kubelet::security;

impl Life {
    /// Reads the history from the status in the store.
    pub(super) fn adopt(&mut self) {
        let object = self.object.clone();
        let status = &object["status"];
        self.facts.started = status["startTime"].as_str().and_then(time::parse);
        match status["phase"].as_str() {
            Some("Succeeded") => self.facts.done = Some(true),
            Some("Failed") => self.facts.done = Some(false),
            _ => {}
        }
        let lists = ["containerStatuses", "initContainerStatuses"];
        for before in lists
            .iter()
            .flat_map(|list| status[list].as_array().into_iter().flatten())
        {
            let member = self
                .members
                .iter_mut()
                .find(|member| before["name"] == member.name());
            let Some(member) = member else { continue };
            member.restarts = before["restartCount"]
                .as_i64()
                .and_then(|count| i32::try_from(count).ok())
                .unwrap_or(0);
            let ended = read_end(&before["state"]["terminated"]);
            let lost = before["state"]["running"].is_object().then(|| lost(before));
            let earlier = read_end(&before["lastState"]["terminated"]);
            // An init container runs again: the namespaces that it prepared are gone.
            let again = member.role == Role::Init;
            member.last = lost
                .clone()
                .or_else(|| ended.clone())
                .or(earlier)
                .filter(|_| !again);
            let kept = match member.role {
                _ if self.facts.done.is_some() => ended.or(lost),
                Role::Main if self.policy == RestartPolicy::Never => ended.or(lost),
                Role::Main if self.policy == RestartPolicy::OnFailure => {
                    ended.filter(|ended| ended.code == 0)
                }
                Role::Main | Role::Init | Role::Sidecar => None,
            };
            if let Some(kept) = kept {
                member.last = read_end(&before["lastState"]["terminated"]);
                member.state = State::Ended(kept);
            }
            member.back_off = BackOff::default();
        }
        if self.facts.done.is_some() {
            self.fate = super::Fate::End;
        }
    }

    /// Says once which fields of the pod are accepted but have no effect.
    pub(super) fn report_not_enforced(&self) {
        let fields = not_enforced(&self.pod);
        if !fields.is_empty() {
            let message = format!(
                "Accepted, but not enforced by the local cluster: {}",
                fields.join(", ")
            );
            self.event(Severity::Normal, "NotEnforced", message);
        }
        let ids = security::ids_not_applied(&self.pod, self.node.users);
        if !ids.is_empty() {
            let message = format!(
                "Not applied, because a cluster that was not started by root has one user only: {}",
                ids.join(", ")
            );
            self.event(Severity::Normal, "NotEnforced", message);
        }
    }
}

/// It ran when the node ended.
fn lost(before: &Value) -> Ended {
    Ended {
        id: before["containerID"].as_str().unwrap_or_default().to_owned(),
        code: 255,
        signal: None,
        reason: "Unknown".to_owned(),
        message: "The node was stopped while the container ran".to_owned(),
        since: before["state"]["running"]["startedAt"]
            .as_str()
            .and_then(time::parse),
        at: daemon::clock::wall(),
    }
}

fn read_end(terminated: &Value) -> Option<Ended> {
    let text = |name: &str| terminated[name].as_str().unwrap_or_default().to_owned();
    Some(Ended {
        id: text("containerID"),
        code: i32::try_from(terminated["exitCode"].as_i64()?).ok()?,
        signal: terminated["signal"]
            .as_i64()
            .and_then(|signal| i32::try_from(signal).ok()),
        reason: text("reason"),
        message: text("message"),
        since: time::parse(&text("startedAt")),
        at: time::parse(&text("finishedAt"))?,
    })
}

fn not_enforced(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut fields: Vec<String> = [
        ("hostPID", spec.host_pid == Some(true)),
        ("hostIPC", spec.host_ipc == Some(true)),
        (
            "shareProcessNamespace",
            spec.share_process_namespace == Some(true),
        ),
        ("runtimeClassName", spec.runtime_class_name.is_some()),
        (
            "ephemeralContainers",
            spec.ephemeral_containers
                .as_ref()
                .is_some_and(|list| !list.is_empty()),
        ),
    ]
    .into_iter()
    .filter(|(_, stated)| *stated)
    .map(|(name, _)| name.to_owned())
    .collect();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let limits = container
            .resources
            .as_ref()
            .and_then(|resources| resources.limits.as_ref());
        let mut of_container = security::not_enforced(container);
        if limits.is_some_and(|limits| !limits.is_empty()) {
            of_container.push("resources.limits".to_owned());
        }
        if container
            .volume_devices
            .as_ref()
            .is_some_and(|devices| !devices.is_empty())
        {
            of_container.push("volumeDevices".to_owned());
        }
        fields.extend(
            of_container
                .into_iter()
                .map(|field| format!("{field} of container {}", container.name)),
        );
    }
    for volume in spec.volumes.iter().flatten() {
        if volume.host_path.is_some() {
            fields.push(format!(
                "writing to volume {} (hostPath is shown read-only)",
                volume.name
            ));
        }
        let sized = volume
            .empty_dir
            .as_ref()
            .is_some_and(|empty| empty.size_limit.is_some() && empty.medium.as_deref() != Some("Memory"));
        if sized {
            fields.push(format!("emptyDir.sizeLimit of volume {}", volume.name));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_without_effect_are_named() {
        let pod = serde_json::from_value(
            json!({"spec": {"hostPID": true, "volumes": [{"name": "h", "hostPath": {"path": "/x"}}],
            "containers": [{"name": "app", "stdin": true, "tty": true, "resources": {"limits": {"cpu": "1"}}}]}}),
        );
        assert_eq!(
            not_enforced(&pod.unwrap()),
            [
                "hostPID",
                "resources.limits of container app",
                "writing to volume h (hostPath is shown read-only)"
            ]
        );
    }

    #[test]
    fn an_end_is_read_back_as_it_was_written() {
        let terminated = json!({"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-22T20:25:06Z",
            "startedAt": null, "containerID": "local://x"});
        let ended = read_end(&terminated).unwrap();
        assert_eq!(
            (ended.code, ended.reason.as_str(), ended.since),
            (3, "Error", None)
        );
        assert_eq!(read_end(&Value::Null), None);
    }
}
