//! Up, down, up again; what is left behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::leftovers::{left_behind, network_namespaces, processes, still_there};
use crate::harness::{Local, said, wait};

/// The kernel takes a network namespace away a moment after its last process.
fn wait_until_gone(namespaces: &BTreeSet<String>) {
    wait("everything to go", Duration::from_secs(20), || {
        (left_behind().is_empty() && still_there(namespaces).is_empty()).then_some(())
    });
}

#[test]
fn down_leaves_nothing_but_the_state_and_up_brings_it_back() {
    let local = Local::up(&[]);
    let applied = local
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: default}\ndata: {a: b}\n");
    assert!(applied.status.success(), "{}", said(&applied));
    let pods = local.ok(&["get", "pods", "-n", "istio-system"]);
    assert!(pods.contains("istiod"), "{pods}");
    let namespaces = network_namespaces();
    assert!(
        namespaces.len() >= 2,
        "the node and a pod have a network each: {namespaces:?}"
    );
    local.down();
    wait_until_gone(&namespaces);

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

#[test]
fn whichever_process_is_killed_nothing_stays() {
    let local = Local::up(&[]);
    for role in ["node", "init", "launcher"] {
        let namespaces = network_namespaces();
        let victim = processes().into_iter().find(|process| process.role == role);
        let victim = rustix::process::Pid::from_raw(victim.unwrap().pid).unwrap();
        rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
        wait_until_gone(&namespaces);
        local.start(&[]);
    }
}

#[test]
fn ctrl_c_ends_the_demo_without_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_amime"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap()).lines();
    // The first objects of the story: the mesh is up, and pods are on their way.
    let begun = said.by_ref().any(|line| line.unwrap().contains("amime apply"));
    assert!(begun, "the demo tells what it applies");
    let namespaces = network_namespaces();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&demo),
        rustix::process::Signal::INT,
    )
    .unwrap();
    said.for_each(drop);
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    wait_until_gone(&namespaces);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "the demo's state goes with it"
    );
}
