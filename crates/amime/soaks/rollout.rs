//! 30 rolling restarts of a backend that is gone the moment it is told to end, under 500 requests/s, HTTP/1.1 and
//! gRPC: no request fails.
//!
//! No preStop, no grace in the application; readiness is probed. The pods' proxies and the callers' make up for it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a soak run by hand; it ends at the first thing that is wrong"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod steady;

use std::time::Instant;

use harness::Local;
use serde_json::json;
use steady::{NAMESPACE, apply, backend, caller, load, namespace, objects, patch, service};

const RESTARTS: usize = 30;
const RATE: &str = "250";

fn main() {
    identity::install_provider();
    let local = Local::up(&[]);
    let callers = json!([
        caller("http", &["http", RATE, "backend:9090"]),
        caller("grpc", &["grpc", RATE, "backend:9091"]),
    ]);
    apply(&local, &[namespace(), service(), backend("0", 2)]);
    local.wait_for_deployment(NAMESPACE, "backend-0");
    apply(&local, &[load(callers)]);
    steady::wait_for_answers(&local, &["http", "grpc"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let deployments =
        runtime.block_on(async { objects(&steady::client(&local).await, "apps", "v1", "Deployment") });
    let begin = Instant::now();
    for restart in 1..=RESTARTS {
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": restart.to_string()});
        let change = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        runtime.block_on(patch(&deployments, "backend-0", change));
        local.wait_for_deployment(NAMESPACE, "backend-0");
        let failed = ["http", "grpc"].map(|container| steady::told(&local, container).failed);
        println!(
            "restart {restart:2} done after {:3} s; failed so far: {} HTTP/1.1, {} gRPC",
            begin.elapsed().as_secs(),
            failed[0],
            failed[1]
        );
    }
    let seconds = begin.elapsed().as_secs();
    println!("{RESTARTS} restarts in {seconds} s");
    steady::judge(&local, &["http", "grpc"], 200 * seconds);
}
