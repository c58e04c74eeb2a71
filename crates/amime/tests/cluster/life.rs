//! Up, down, up again; what is left behind.

use std::time::Duration;

use crate::harness::{Local, said, wait};

/// Processes, network namespaces, mounts and links of the host that belong to local clusters.
fn left_behind() -> Vec<String> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.starts_with(env!("CARGO_BIN_EXE_amime")) {
            found.push(format!("process {command}"));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains("amime"))
            .map(|line| format!("mount {line}")),
    );
    let links = std::fs::read_to_string("/proc/net/dev").unwrap();
    let virtual_link = |line: &&str| line.trim_start().starts_with("veth") || line.contains("amime");
    found.extend(
        links
            .lines()
            .filter(virtual_link)
            .map(|line| format!("link {line}")),
    );
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    // 10.244.0.0/16 in the kernel's byte order.
    found.extend(
        routes
            .lines()
            .filter(|line| line.contains("F40A"))
            .map(|line| format!("route {line}")),
    );
    found
}

#[test]
fn down_leaves_nothing_but_the_state_and_up_brings_it_back() {
    let local = Local::up(&[]);
    let applied = local
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: default}\ndata: {a: b}\n");
    assert!(applied.status.success(), "{}", said(&applied));
    let pods = local.ok(&["get", "pods", "-n", "istio-system"]);
    assert!(pods.contains("istiod"), "{pods}");
    local.down();
    wait("everything to go", Duration::from_secs(5), || {
        left_behind().is_empty().then_some(())
    });

    local.start(&[]);
    assert_eq!(local.get(&["configmap", "kept"])["data"]["a"], "b");
    local.wait_for_deployment("istio-system", "istiod");
    local.down();
    let deleted = local.amime(&["down", "--delete"]);
    assert!(deleted.status.success(), "{}", said(&deleted));
    assert!(!local.home().exists());
}

#[test]
fn up_twice_is_one_clear_line() {
    let local = Local::up(&[]);
    let again = local.amime(&["up", "--detach"]);
    assert!(!again.status.success());
    let said = said(&again);
    assert!(
        said.contains("already runs") && said.contains("amime down"),
        "{said}"
    );
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}

#[test]
fn a_taken_port_is_named() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_amime"))
        .args(["up", "--detach", "--port", &port, "--home"])
        .arg(home.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains(&port), "{}", said(&output));
}
