//! From a pod's and a container's `securityContext` to credentials.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Capabilities, Container, Pod, PodSecurityContext, SecurityContext};

use super::container::credentials::Credentials;
use crate::sys::namespaces::Users;

/// What containers have without asking; as containerd gives it, but without MKNOD.
const DEFAULT: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Of these, what takes asking where all programs have one user: it lets a program put any mark on what it sends
/// (`SO_MARK`), and marks are then all that rules can tell programs apart by.
const MARKING: &str = "NET_RAW";

/// What they may have beyond that. The rest reaches the host, and nobody gets it, `privileged` or not.
const GRANTABLE: [&str; 5] = ["IPC_LOCK", "NET_ADMIN", "NET_BROADCAST", "SYS_NICE", "SYS_PTRACE"];

/// Who the container's process is; or why it can't be, in kubelet's words.
pub(crate) fn credentials(pod: &Pod, container: &Container, users: Users) -> Result<Credentials, String> {
    let spec = pod.spec.as_ref();
    let of_pod = spec
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(of_pod.run_as_user).unwrap_or(0);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) && user == 0 {
        return Err(runs_as_root(
            pod,
            container,
            own.run_as_user.or(of_pod.run_as_user),
        ));
    }
    let id = |value: i64| u32::try_from(value).map_err(|_| format!("id {value} is out of range"));
    // Without a group Kubernetes takes the image's, which is root's.
    let group = own.run_as_group.or(of_pod.run_as_group).unwrap_or(0);
    Ok(Credentials {
        user: id(user)?,
        group: id(group)?,
        groups: groups(&of_pod).into_iter().map(id).collect::<Result<_, _>>()?,
        capabilities: capabilities(&own, users),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
    })
}

fn runs_as_root(pod: &Pod, container: &Container, asked: Option<i64>) -> String {
    let name = |text: &Option<String>| text.clone().unwrap_or_default();
    let place = format!(
        "(pod: \"{}_{}({})\", container: {})",
        name(&pod.metadata.name),
        name(&pod.metadata.namespace),
        name(&pod.metadata.uid),
        container.name
    );
    match asked {
        Some(_) => format!("container's runAsUser breaks non-root policy {place}"),
        None => format!("container has runAsNonRoot and image will run as root {place}"),
    }
}

fn groups(of_pod: &PodSecurityContext) -> Vec<i64> {
    of_pod
        .supplemental_groups
        .iter()
        .flatten()
        .copied()
        .chain(of_pod.fs_group)
        .collect()
}

fn capabilities(own: &SecurityContext, users: Users) -> BTreeSet<String> {
    let Capabilities { add, drop } = own.capabilities.clone().unwrap_or_default();
    let plain = |name: &String| name.trim_start_matches("CAP_").to_owned();
    let (add, drop): (Vec<_>, Vec<_>) = (
        add.iter().flatten().map(plain).collect(),
        drop.iter().flatten().map(plain).collect(),
    );
    let all = |names: &[String]| names.iter().any(|name| name == "ALL");
    let grantable = || DEFAULT.iter().chain(&GRANTABLE).map(|name| (*name).to_owned());
    if own.privileged == Some(true) {
        return grantable().collect();
    }
    let mut kept: BTreeSet<String> = if all(&drop) {
        BTreeSet::new()
    } else {
        DEFAULT.map(str::to_owned).into_iter().collect()
    };
    kept.retain(|name| !drop.contains(name) && (users == Users::Any || name != MARKING));
    kept.extend(grantable().filter(|name| all(&add) || add.contains(name)));
    kept
}

/// The group that the pod's volumes belong to, if there is a choice of groups.
pub(crate) fn volume_group(pod: &Pod, users: Users) -> Option<u32> {
    let of_pod = pod.spec.as_ref()?.security_context.as_ref()?;
    let group = of_pod.fs_group.filter(|_| users == Users::Any)?;
    u32::try_from(group).ok()
}

/// Fields that ask for other users and groups than root, where there are none.
pub(crate) fn ids_not_applied(pod: &Pod, users: Users) -> Vec<String> {
    let Some(spec) = pod.spec.as_ref().filter(|_| users == Users::One) else {
        return Vec::new();
    };
    let other = |id: Option<i64>| id.is_some_and(|id| id != 0);
    let mut fields = Vec::new();
    if let Some(of_pod) = &spec.security_context {
        for (name, asked) in [
            ("runAsUser", other(of_pod.run_as_user)),
            ("runAsGroup", other(of_pod.run_as_group)),
            ("fsGroup", other(of_pod.fs_group)),
            (
                "supplementalGroups",
                of_pod.supplemental_groups.iter().flatten().any(|id| *id != 0),
            ),
        ] {
            fields.extend(asked.then(|| format!("securityContext.{name}")));
        }
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let own = container.security_context.as_ref();
        for (name, asked) in [
            ("runAsUser", own.and_then(|own| own.run_as_user)),
            ("runAsGroup", own.and_then(|own| own.run_as_group)),
        ] {
            let field = || format!("securityContext.{name} of container {}", container.name);
            fields.extend(other(asked).then(field));
        }
    }
    fields
}

/// Fields of the container that are accepted but not honoured, by name.
pub(crate) fn not_enforced(container: &Container) -> Vec<String> {
    let mut fields = Vec::new();
    let Some(own) = &container.security_context else {
        return fields;
    };
    if own.privileged == Some(true) {
        fields.push("securityContext.privileged".to_owned());
    }
    let added = own
        .capabilities
        .as_ref()
        .and_then(|capabilities| capabilities.add.as_ref());
    for name in added.into_iter().flatten() {
        let plain = name.trim_start_matches("CAP_");
        if plain != "ALL" && !DEFAULT.contains(&plain) && !GRANTABLE.contains(&plain) {
            fields.push(format!("securityContext.capabilities.add[{name}]"));
        }
    }
    for (name, present) in [
        (
            "seccompProfile",
            own.seccomp_profile
                .as_ref()
                .is_some_and(|profile| profile.type_ != "RuntimeDefault" && profile.type_ != "Unconfined"),
        ),
        ("appArmorProfile", own.app_armor_profile.is_some()),
        ("seLinuxOptions", own.se_linux_options.is_some()),
        (
            "procMount",
            own.proc_mount.as_ref().is_some_and(|mount| mount != "Default"),
        ),
    ] {
        if present {
            fields.push(format!("securityContext.{name}"));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn credentials_of(of_pod: Value, own: Value) -> Result<Credentials, String> {
        let mut pod =
            json!({"metadata": {"name": "a", "namespace": "b", "uid": "c"}, "spec": {"containers": []}});
        pod["spec"]["securityContext"] = of_pod;
        let pod = serde_json::from_value(pod);
        let mut container = json!({"name": "app"});
        container["securityContext"] = own;
        let container = serde_json::from_value(container);
        credentials(&pod.unwrap(), &container.unwrap(), Users::Any)
    }

    #[test]
    fn the_container_s_user_wins_over_the_pod_s() {
        let who = credentials_of(
            json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3}),
            json!({"runAsUser": 1337}),
        );
        let who = who.unwrap();
        assert_eq!((who.user, who.group, who.groups), (1337, 2, vec![3]));
    }

    #[test]
    fn a_container_that_must_not_be_root_is_told_so() {
        let error = credentials_of(json!({"runAsNonRoot": true}), json!({})).unwrap_err();
        assert_eq!(
            error,
            "container has runAsNonRoot and image will run as root (pod: \"a_b(c)\", container: app)"
        );
        assert!(credentials_of(json!({"runAsNonRoot": true}), json!({"runAsUser": 5})).is_ok());
        assert!(credentials_of(json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false})).is_ok());
    }

    #[test]
    fn capabilities_are_dropped_and_added() {
        let of = |capabilities| {
            credentials_of(json!({}), json!({"capabilities": capabilities}))
                .unwrap()
                .capabilities
        };
        let only: Vec<_> = of(json!({"drop": ["ALL"], "add": ["NET_ADMIN", "CAP_CHOWN"]}))
            .into_iter()
            .collect();
        assert_eq!(only, ["CHOWN", "NET_ADMIN"]);
        assert!(!of(json!({"drop": ["KILL"]})).contains("KILL"));
        assert!(!of(json!({"add": ["SYS_ADMIN", "ALL"]})).contains("SYS_ADMIN"));
    }

    #[test]
    fn with_one_user_ids_are_named_and_marking_takes_asking() {
        let pod = json!({"spec": {"securityContext": {"runAsUser": 1000, "fsGroup": 2000}, "containers": [
            {"name": "app", "securityContext": {"runAsUser": 0, "runAsGroup": 7}}, {"name": "other"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(
            ids_not_applied(&pod, Users::One),
            [
                "securityContext.runAsUser",
                "securityContext.fsGroup",
                "securityContext.runAsGroup of container app"
            ]
        );
        assert!(ids_not_applied(&pod, Users::Any).is_empty());
        assert_eq!(volume_group(&pod, Users::One), None);
        assert_eq!(volume_group(&pod, Users::Any), Some(2000));

        let of = |own: Value| capabilities(&serde_json::from_value(own).unwrap(), Users::One);
        assert!(!of(json!({})).contains(MARKING), "nobody asked");
        assert!(of(json!({"capabilities": {"add": ["NET_RAW"]}})).contains(MARKING));
    }
}
