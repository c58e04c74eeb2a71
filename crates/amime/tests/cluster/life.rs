//! Up, down, up again; what is left behind.

use std::time::Duration;

use crate::harness::leftovers::left_behind;
use crate::harness::{Local, said, wait};

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
