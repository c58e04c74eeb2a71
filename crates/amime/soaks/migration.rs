//! PERMISSIVE to STRICT and back, under 200 requests/s from clients with a proxy and from one without: no request of the
//! former ever fails, and the latter fails only while STRICT holds.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a soak run by hand; it ends at the first thing that is wrong"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod steady;

use std::time::{Duration, Instant};

use harness::{Local, wait};
use serde_json::{Value, json};
use steady::{NAMESPACE, apply, backend, caller, load, namespace, service, told};

const SWITCHES: usize = 5;
/// How long each mode holds, after it does.
const HOLDS: Duration = Duration::from_secs(10);
/// For every proxy to have a mode, and for what was open before to be closed.
const TAKES: Duration = Duration::from_secs(60);
const INJECTED: [&str; 2] = ["http", "grpc"];

fn main() {
    identity::install_provider();
    let local = Local::up(&[]);
    let callers = json!([
        caller("http", &["http", "80", "backend:9090"]),
        caller("grpc", &["grpc", "80", "backend:9091"]),
    ]);
    apply(
        &local,
        &[namespace(), service(), mode("PERMISSIVE"), backend("0", 2)],
    );
    local.wait_for_deployment(NAMESPACE, "backend-0");
    apply(&local, &[load(callers), plain()]);
    steady::wait_for_answers(&local, &INJECTED);
    local.wait_for_deployment(NAMESPACE, "plain");
    wait("the client without a proxy", Duration::from_secs(30), || {
        (of_plain(&local).answered > 100).then_some(())
    });
    let begin = Instant::now();
    for switch in 1..=SWITCHES {
        hold(HOLDS);
        let before = of_plain(&local);
        // Failures that the end of STRICT left are those of the turn before.
        let failed = before.failed;
        hold(HOLDS);
        let later = of_plain(&local);
        assert_eq!(
            later.failed, failed,
            "PERMISSIVE takes plain text: {:?}",
            later.failures
        );
        assert!(
            later.answered > before.answered,
            "the client without a proxy calls"
        );
        apply(&local, &[mode("STRICT")]);
        let refused = wait("no answer in plain text for 3 s", TAKES, || {
            quiet(&local, Duration::from_secs(3))
        });
        assert!(refused > failed, "the client without a proxy is refused");
        hold(HOLDS);
        apply(&local, &[mode("PERMISSIVE")]);
        let answered = of_plain(&local).answered;
        wait("answers in plain text", TAKES, || {
            (of_plain(&local).answered > answered + 20).then_some(())
        });
        println!(
            "switch {switch} done after {:3} s; injected failed so far: {:?}; plain: {} answered, {} refused",
            begin.elapsed().as_secs(),
            INJECTED.map(|container| told(&local, container).failed),
            of_plain(&local).answered,
            of_plain(&local).failed,
        );
    }
    let seconds = begin.elapsed().as_secs();
    println!("{SWITCHES} switches in {seconds} s");
    steady::judge(&local, &INJECTED, 70 * seconds);
}

/// The namespace's mode.
fn mode(mode: &str) -> Value {
    json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": NAMESPACE}, "spec": {"mtls": {"mode": mode}}})
}

/// A caller that nobody injects.
fn plain() -> Value {
    let labels = json!({"app": "plain", "sidecar.istio.io/inject": "false"});
    steady::deployment(
        "plain",
        1,
        &labels,
        json!([caller("plain", &["http", "40", "backend:9090"])]),
    )
}

fn of_plain(local: &Local) -> steady::Told {
    let pod = local.pod(NAMESPACE, "app=plain");
    steady::read(&local.ok(&["logs", &pod, "-n", NAMESPACE, "-c", "plain"]))
}

/// How many calls were refused, once none was answered for a while.
fn quiet(local: &Local, time: Duration) -> Option<u64> {
    let before = of_plain(local);
    hold(time);
    let after = of_plain(local);
    (before.answered == after.answered && after.failed > before.failed).then_some(after.failed)
}

/// Time passes, and the loads go on.
#[allow(clippy::disallowed_methods, reason = "real time, over processes")]
fn hold(time: Duration) {
    std::thread::sleep(time);
}
