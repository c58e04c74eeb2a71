//! The Nodes, their conditions and their leases.
//!
//! All nodes are this process, so that what it says of them is true as long as it can say it.

use std::time::Duration;

use daemon::{Tasks, clock};
use serde_json::{Value, json};

use super::{Settings, object};
use crate::api::client::{Client, DeleteOptions, Patch, Query};
use crate::api::gvr::{NODES, PODS};
use crate::api::{Gvr, Status, time};
use crate::nodes::Simulated;

const LEASES: Gvr = Gvr::fixed("coordination.k8s.io", "v1", "leases");
/// How Nodes say whose they are: those that users make themselves are left alone.
const PROVIDER: &str = "amime://";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Kubernetes' own numbers: the lease is good for 40 s and renewed every 10 s, the status every 5 minutes.
const LEASE_SECONDS: u64 = 40;
const RENEWAL: Duration = Duration::from_secs(10);
const RENEWALS_PER_STATUS: u32 = 30;
/// More than the 110 of a Kubernetes node: a pod costs less here.
const MOST_PODS: u32 = 1000;
/// A node promises this many times what the machine has: requests are counted, but nothing is reserved, and what is
/// requested for a cluster is rarely used on a laptop.
const PROMISES: usize = 10;

pub(super) async fn start(client: &Client, settings: &Settings, tasks: &Tasks) -> Result<(), Status> {
    let machine = Machine::read();
    for node in &settings.nodes {
        write(client, settings, node, &machine).await?;
        renew(client, node).await?;
    }
    remove_others(client, settings).await?;
    let (client, settings) = (client.clone(), settings.clone());
    tasks.spawn("node heartbeat", async move {
        let mut renewals = 0;
        loop {
            clock::sleep(RENEWAL).await;
            renewals = (renewals + 1) % RENEWALS_PER_STATUS;
            for node in &settings.nodes {
                let result = match renewals {
                    0 => write(&client, &settings, node, &machine).await,
                    _ => renew(&client, node).await,
                };
                if let Err(status) = result {
                    tracing::warn!(%status, node = node.name, "node heartbeat failed");
                }
            }
        }
    });
    Ok(())
}

/// Nodes of an earlier run that had more of them go, and their pods with them.
async fn remove_others(client: &Client, settings: &Settings) -> Result<(), Status> {
    for node in client.list(&NODES, "", &Query::default())?.items {
        let name = object::name(&node);
        let is_ours = object::text(&node["spec"]["providerID"]).starts_with(PROVIDER);
        if !is_ours || settings.nodes.iter().any(|one| one.name == name) {
            continue;
        }
        super::write::delete(client, &NODES, &node, None).await?;
        let there = Query {
            fields: format!("spec.nodeName={name}"),
            ..Query::default()
        };
        for pod in client.list(&PODS, "", &there)?.items {
            let at_once = DeleteOptions {
                grace_seconds: Some(0),
                ..DeleteOptions::default()
            };
            let (namespace, name) = (object::namespace(&pod), object::name(&pod));
            match client.delete(&PODS, namespace, name, at_once).await {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Creates the Node or brings it up to date.
async fn write(
    client: &Client,
    settings: &Settings,
    simulated: &Simulated,
    machine: &Machine,
) -> Result<(), Status> {
    let name = simulated.name.as_str();
    let node = node(simulated);
    let found = match client.create(&NODES, "", without_nulls(&node)).await {
        Err(status) if status.reason == "AlreadyExists" => {
            let before = client.get(&NODES, "", name)?;
            if keeps_its_place(&before, &node) {
                client.patch(&NODES, "", name, Patch::Merge(node)).await?
            } else {
                super::write::delete(client, &NODES, &before, None).await?;
                client.create(&NODES, "", successor(&before, &node)).await?
            }
        }
        created => created?,
    };
    let status = status(
        (settings, simulated),
        machine,
        &found,
        &time::rfc3339(clock::wall()),
    );
    client
        .patch_status(&NODES, "", name, Patch::Merge(json!({"status": status})))
        .await?;
    Ok(())
}

fn node(simulated: &Simulated) -> Value {
    let name = simulated.name.as_str();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture(), "node-role.kubernetes.io/control-plane": "",
                // Null removes the label that an earlier run wrote.
                "topology.kubernetes.io/zone": simulated.zone,
                "topology.kubernetes.io/region": simulated.region,
            },
        },
        "spec": {
            "podCIDR": simulated.range, "podCIDRs": [simulated.range],
            "providerID": format!("{PROVIDER}{name}"),
        },
    })
}

/// Whether the Node may become this one. Its range and its provider never change: how many nodes share the network
/// decides about the range, and so a later `up` with another number of them needs other Nodes of the same names.
fn keeps_its_place(before: &Value, node: &Value) -> bool {
    ["podCIDR", "providerID"]
        .iter()
        .all(|field| before["spec"][field].is_null() || before["spec"][field] == node["spec"][field])
}

/// The Node that comes after one of the same name, with what users have said of that: labels, taints, cordon.
fn successor(before: &Value, node: &Value) -> Value {
    let mut node = without_nulls(node);
    let kept = |object: &Value, fields: &[&str]| {
        let fields = fields.iter().filter(|field| !object[**field].is_null());
        fields
            .map(|field| ((*field).to_owned(), object[*field].clone()))
            .collect::<Vec<_>>()
    };
    if let Some(spec) = node["spec"].as_object_mut() {
        spec.extend(kept(&before["spec"], &["taints", "unschedulable"]));
    }
    for field in ["labels", "annotations"] {
        for (name, value) in before["metadata"][field].as_object().into_iter().flatten() {
            let is_ours = name.starts_with("topology.kubernetes.io/");
            if !is_ours && node["metadata"][field][name].is_null() {
                node["metadata"][field][name] = value.clone();
            }
        }
    }
    node
}

/// What a patch removes is not there to begin with.
fn without_nulls(node: &Value) -> Value {
    let mut node = node.clone();
    if let Some(labels) = node["metadata"]["labels"].as_object_mut() {
        labels.retain(|_, value| !value.is_null());
    }
    node
}

fn status(
    (settings, simulated): (&Settings, &Simulated),
    machine: &Machine,
    before: &Value,
    now: &str,
) -> Value {
    let resources = json!({
        "cpu": (machine.processors * PROMISES).to_string(),
        "memory": format!("{}Ki", machine.memory_kib * PROMISES as u64),
        "ephemeral-storage": format!("{}Ki", machine.disk_kib),
        "pods": MOST_PODS.to_string(),
    });
    json!({
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            {"type": "InternalIP", "address": simulated.address.to_string()},
            {"type": "Hostname", "address": simulated.name},
        ],
        "conditions": conditions(before, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": "linux",
            "kernelVersion": machine.kernel, "osImage": machine.system,
            "machineID": machine.id, "systemUUID": machine.id, "bootID": machine.boot,
            "containerRuntimeVersion": "amime://0.0.0",
            "kubeletVersion": settings.version, "kubeProxyVersion": "",
        },
    })
}

fn conditions(before: &Value, now: &str) -> Value {
    let conditions = [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    conditions
        .iter()
        .map(|(kind, status, reason, message)| {
            let since = object::condition(before, kind)
                .filter(|condition| condition["status"] == *status)
                .map_or(now, |condition| object::text(&condition["lastTransitionTime"]));
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": since,
            })
        })
        .collect()
}

async fn renew(client: &Client, simulated: &Simulated) -> Result<(), Status> {
    let name = simulated.name.as_str();
    let now = micro_time();
    let renewed = json!({"spec": {"renewTime": now}});
    let missing = match client
        .patch(&LEASES, LEASE_NAMESPACE, name, Patch::Merge(renewed))
        .await
    {
        Err(status) if status.code == 404 => true,
        written => written.map(|_| false)?,
    };
    if missing {
        let node = client.get(&NODES, "", name)?;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": name, "uid": object::uid(&node)},
            ]},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
        });
        client.create(&LEASES, LEASE_NAMESPACE, lease).await?;
    }
    Ok(())
}

/// `2026-11-22T20:25:06.000000Z`, as leases have it.
fn micro_time() -> String {
    time::rfc3339(clock::wall()).replace('Z', ".000000Z")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What the machine says of itself; what cannot be read is empty or zero.
#[derive(Debug, Default)]
struct Machine {
    processors: usize,
    memory_kib: u64,
    disk_kib: u64,
    kernel: String,
    system: String,
    id: String,
    boot: String,
}

impl Machine {
    fn read() -> Self {
        let line = |file: &str| {
            std::fs::read_to_string(file)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: memory_kib(&line("/proc/meminfo")),
            disk_kib: disk_kib(),
            kernel: line("/proc/sys/kernel/osrelease"),
            system: pretty_name(&line("/etc/os-release")),
            id: line("/etc/machine-id"),
            boot: line("/proc/sys/kernel/random/boot_id"),
        }
    }
}

fn memory_kib(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The size of the root file system.
fn disk_kib() -> u64 {
    rustix::fs::statvfs("/").map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize) / 1024)
}

fn pretty_name(os_release: &str) -> String {
    let name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_its_files() {
        assert_eq!(memory_kib("MemTotal:       16384 kB\nMemFree: 1 kB"), 16384);
        assert_eq!(pretty_name("ID=debian\nPRETTY_NAME=\"Debian 12\""), "Debian 12");
    }

    #[test]
    fn a_node_with_another_range_succeeds_the_one_before_and_keeps_what_users_said_of_it() {
        let before = json!({
            "metadata": {"name": "local", "uid": "u", "labels": {"disk": "ssd", "topology.kubernetes.io/zone": "a"},
                "annotations": {"note": "mine"}},
            "spec": {"podCIDR": "10.244.0.0/16", "unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]}});
        let node = json!({"metadata": {"name": "local", "labels": {"topology.kubernetes.io/zone": null}},
            "spec": {"podCIDR": "10.244.0.0/20"}});
        assert!(!keeps_its_place(&before, &node) && keeps_its_place(&before, &before));
        assert_eq!(
            successor(&before, &node),
            json!({"metadata": {"name": "local", "labels": {"disk": "ssd"}, "annotations": {"note": "mine"}},
                "spec": {"podCIDR": "10.244.0.0/20", "taints": [{"key": "k", "effect": "NoSchedule"}],
                    "unschedulable": true}})
        );
    }

    #[test]
    fn a_condition_that_stays_keeps_its_beginning() {
        let first = conditions(&Value::Null, "2026-01-01T00:00:00Z");
        let later = conditions(&json!({"status": {"conditions": first}}), "2026-01-01T00:05:00Z");
        assert_eq!(later[3]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(later[3]["lastHeartbeatTime"], "2026-01-01T00:05:00Z");
    }
}
