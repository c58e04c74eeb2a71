//! Every workload gets another certificate every 10 s, and in the middle the root of the mesh is replaced by
//! `amime ca rotate`, under 200 requests/s and 50 streams of gRPC: no request fails, and no stream breaks.
//!
//! A program outside of the mesh watches which certificates the backend shows, so that it is known that they changed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a soak run by hand; it ends at the first thing that is wrong"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod steady;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::{Local, wait};
use serde_json::{Value, json};
use steady::{NAMESPACE, apply, backend, caller, load, log, namespace, service, told};

/// Certificates are renewed at half of their life.
const LIFE: &str = "20s";
const RENEWED: u64 = 10;
/// Before and after the rotation of the root.
const HOLDS: Duration = Duration::from_secs(60);
/// A rotation waits until every proxy has each of its steps.
const TAKES: Duration = Duration::from_secs(600);
const STREAMS: u64 = 50;
const LOADS: [&str; 3] = ["http", "grpc", "streams"];

fn main() {
    identity::install_provider();
    let local = Local::up(&[
        "--set",
        &format!("pilot.env.DEFAULT_WORKLOAD_CERT_TTL={LIFE}"),
        "--set",
        &format!("meshConfig.defaultConfig.proxyMetadata.SECRET_TTL={LIFE}"),
    ]);
    let callers = json!([
        caller("http", &["http", "100", "backend:9090"]),
        caller("grpc", &["grpc", "100", "backend:9091"]),
        caller("streams", &["streams", "50", "backend:9091"]),
    ]);
    apply(&local, &[namespace(), service(), strict(), backend("0", 1)]);
    local.wait_for_deployment(NAMESPACE, "backend-0");
    apply(&local, &[load(callers), watcher()]);
    steady::wait_for_answers(&local, &LOADS[..2]);
    local.wait_for_deployment(NAMESPACE, "watcher");
    wait("all streams", Duration::from_secs(60), || {
        (open(&local) == STREAMS).then_some(())
    });
    let begin = Instant::now();
    let old = root(&local);
    hold(HOLDS);
    tell(&local, begin, "before the rotation of the root");
    print!("{}", local.ok(&["ca", "rotate"]));
    wait("the new root to be the only one", TAKES, || {
        let now = root(&local);
        // During the rotation the mesh believes both.
        (now != old && !now.contains(old.trim())).then_some(())
    });
    tell(&local, begin, "the root is another");
    print!("{}", local.ok(&["ca", "status"]));
    hold(HOLDS);
    tell(&local, begin, "at the end");
    let seconds = begin.elapsed().as_secs();
    let shown = certificates(&local);
    let least = (seconds / RENEWED).saturating_sub(3) as usize;
    println!("the backend showed {} certificates in {seconds} s", shown.len());
    steady::judge(&local, &LOADS, 45 * seconds);
    assert_eq!(
        open(&local),
        STREAMS,
        "every stream is the one that was opened first"
    );
    assert!(
        shown.len() >= least,
        "at least {least} certificates were expected"
    );
}

/// Nothing falls back to plain text.
fn strict() -> Value {
    json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": NAMESPACE}, "spec": {"mtls": {"mode": "STRICT"}}})
}

fn watcher() -> Value {
    let labels = json!({"app": "watcher", "sidecar.istio.io/inject": "false"});
    let words = ["certificates", "backend:9090"];
    steady::deployment("watcher", 1, &labels, json!([caller("watcher", &words)]))
}

/// What every namespace is told to believe.
fn root(local: &Local) -> String {
    let map = local.get(&["configmaps", "istio-ca-root-cert", "-n", NAMESPACE]);
    map["data"]["root-cert.pem"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Streams that are open, as the last line says.
fn open(local: &Local) -> u64 {
    let text = log(local, "streams");
    let lines = text
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| line["open"].as_u64())
        .next()
        .unwrap_or_default()
}

/// The leaves that the backend showed.
fn certificates(local: &Local) -> BTreeSet<String> {
    let pod = local.pod(NAMESPACE, "app=watcher");
    let text = local.ok(&["logs", &pod, "-n", NAMESPACE, "-c", "watcher"]);
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| Some(line["certificate"].as_str()?.to_owned()))
        .collect()
}

fn tell(local: &Local, begin: Instant, when: &str) {
    println!(
        "{when}, after {:3} s: failed {:?}, {} streams are open, {} certificates were shown",
        begin.elapsed().as_secs(),
        LOADS.map(|container| told(local, container).failed),
        open(local),
        certificates(local).len(),
    );
}

/// Time passes, and the loads go on.
#[allow(clippy::disallowed_methods, reason = "real time, over processes")]
fn hold(time: Duration) {
    std::thread::sleep(time);
}
