//! 10,000 configuration changes in 5 minutes under 500 requests/s: no request fails, and none goes to another version
//! than the one that it names.
//!
//! The rules that the requests need never change; everything around them does: other rules before and after, retries,
//! timeouts, weights, traffic policies, subsets, ports, whole services with their rules. A pod asks all the time for
//! the number of the last change, which shows that the changes are in force.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a soak run by hand; it ends at the first thing that is wrong"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod steady;

use std::time::Duration;

use daemon::clock::{self, Instant};
use harness::{Local, wait};
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use steady::{NAMESPACE, apply, backend, caller, load, namespace, objects, patch, service};

const CHANGES: u32 = 10_000;
const TIME: Duration = Duration::from_secs(300);
/// Services that come and go.
const OTHERS: usize = 20;
const LOADS: [&str; 4] = ["http-0", "http-1", "grpc-0", "grpc-1"];

fn main() {
    identity::install_provider();
    let seed = std::env::args()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(1);
    // Each change by itself, where Istio's times would make one push of ten seconds of them.
    let local = Local::up(&[
        "--set",
        "pilot.env.PILOT_DEBOUNCE_AFTER=10ms",
        "--set",
        "pilot.env.PILOT_DEBOUNCE_MAX=50ms",
    ]);
    let callers = json!([
        caller("http-0", &["http", "125", "backend:9090", "0"]),
        caller("http-1", &["http", "125", "backend:9090", "1"]),
        caller("grpc-0", &["grpc", "125", "backend:9091", "0"]),
        caller("grpc-1", &["grpc", "125", "backend:9091", "1"]),
        {"name": "probe", "image": "curl", "command": ["curl", "-s", "-m", "5", "--rate", "5/s", "-w", "\n",
            "http://backend:9090/change?[1-1000000]"]},
    ]);
    let mut random = StdRng::seed_from_u64(seed);
    let first = [policy(&mut random), rules(&mut random, 0)];
    apply(
        &local,
        &[namespace(), service(), backend("0", 1), backend("1", 1)],
    );
    apply(&local, &first);
    for version in ["backend-0", "backend-1"] {
        local.wait_for_deployment(NAMESPACE, version);
    }
    apply(&local, &[load(callers)]);
    steady::wait_for_answers(&local, &LOADS);
    println!("{CHANGES} changes in {} s, seed {seed}", TIME.as_secs());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let took = runtime.block_on(change(&local, random));
    println!("made in {} s", took.as_secs());
    let last = format!("change {CHANGES}");
    wait("the last change to be in force", Duration::from_secs(10), || {
        steady::log(&local, "probe")
            .lines()
            .any(|line| line == last)
            .then_some(())
    });
    let probe = steady::log(&local, "probe");
    let mut seen: Vec<_> = probe.lines().filter(|line| line.starts_with("change ")).collect();
    seen.dedup();
    println!(
        "{} different states were seen in force, the last one among them",
        seen.len()
    );
    steady::judge(&local, &LOADS, 100 * took.as_secs());
    assert!(
        took < TIME + Duration::from_secs(15),
        "nothing failed, but this machine does not keep up: the changes took {} s",
        took.as_secs()
    );
}

/// Makes all changes, evenly over the time: the even ones to the rules, the odd ones to everything around them.
async fn change(local: &Local, mut random: StdRng) -> Duration {
    let client = steady::client(local).await;
    let world = World {
        rules: objects(&client, "networking.istio.io", "v1", "VirtualService"),
        policies: objects(&client, "networking.istio.io", "v1", "DestinationRule"),
        services: objects(&client, "", "v1", "Service"),
    };
    let begin = Instant::now();
    let mut random_around = StdRng::seed_from_u64(random.random());
    let rules = async {
        for number in (2..=CHANGES).step_by(2) {
            clock::sleep_until(begin + TIME * number / CHANGES).await;
            world.change_rules(&mut random, number).await;
        }
    };
    let around = async {
        let mut others = [false; OTHERS];
        for number in (1..=CHANGES).step_by(2) {
            clock::sleep_until(begin + TIME * number / CHANGES).await;
            world.change_around(&mut random_around, &mut others).await;
        }
    };
    futures_util::join!(rules, around);
    begin.elapsed()
}

struct World {
    rules: Api<DynamicObject>,
    policies: Api<DynamicObject>,
    services: Api<DynamicObject>,
}

impl World {
    async fn change_rules(&self, random: &mut StdRng, number: u32) {
        patch(
            &self.rules,
            "backend",
            json!({"spec": rules(random, number)["spec"]}),
        )
        .await;
    }

    async fn change_around(&self, random: &mut StdRng, others: &mut [bool; OTHERS]) {
        match random.random_range(0..6) {
            0..2 => self.change_policy(random).await,
            2 => self.change_ports(random).await,
            _ => self.change_other(random, others).await,
        }
    }

    async fn change_policy(&self, random: &mut StdRng) {
        patch(&self.policies, "backend", json!({"spec": policy(random)["spec"]})).await;
    }

    /// The service gets another port, or loses it.
    async fn change_ports(&self, random: &mut StdRng) {
        let mut ports = service()["spec"]["ports"].as_array().unwrap().clone();
        for extra in 0..random.random_range(0..3) {
            let name = ["http-extra", "tcp-extra"][extra % 2];
            ports.push(json!({"name": name, "port": 7000 + extra, "targetPort": 9090}));
        }
        patch(&self.services, "backend", json!({"spec": {"ports": ports}})).await;
    }

    /// A service with its rules comes, or goes.
    async fn change_other(&self, random: &mut StdRng, others: &mut [bool; OTHERS]) {
        let number = random.random_range(0..OTHERS);
        let name = format!("other-{number}");
        let there = &mut others[number];
        *there = !*there;
        if !*there {
            for api in [&self.rules, &self.services] {
                api.delete(&name, &DeleteParams::default()).await.unwrap();
            }
            return;
        }
        let port = 8000 + random.random_range(0..5);
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        let created = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": "backend"}, "ports": [{"name": "http", "port": port, "targetPort": 9090}]}});
        create(&self.services, created).await;
        let rules = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": name}}]}]}});
        create(&self.rules, rules).await;
    }
}

async fn create(api: &Api<DynamicObject>, object: Value) {
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Requests that name a version go there, whatever else the rules say.
fn rules(random: &mut StdRng, number: u32) -> Value {
    let mut http = Vec::new();
    let noise = |http: &mut Vec<Value>, random: &mut StdRng| {
        for rule in 0..random.random_range(0..4) {
            let path = format!("/never/{rule}/{}", random.random_range(0..1000));
            http.push(match random.random_range(0..3) {
                0 => json!({"match": [{"uri": {"prefix": path}}], "redirect": {"uri": "/elsewhere"}}),
                1 => json!({"match": [{"uri": {"exact": path}}], "directResponse": {"status": 418}}),
                _ => json!({"match": [{"uri": {"regex": format!("{path}/.*")}}], "route": to("0")}),
            });
        }
    };
    noise(&mut http, random);
    http.push(json!({"match": [{"uri": {"prefix": "/change"}}],
        "directResponse": {"status": 200, "body": {"string": format!("change {number}")}}}));
    let mut versions = ["0", "1"];
    if random.random_bool(0.5) {
        versions.reverse();
    }
    for version in versions {
        let mut rule = json!({"name": format!("to-{version}"), "route": to(version),
            "match": [{"headers": {"x-version": {"exact": version}}}]});
        if random.random_bool(0.5) {
            rule["timeout"] = json!(format!("{}s", random.random_range(20..60)));
        }
        if random.random_bool(0.5) {
            rule["headers"] = json!({"request": {"set": {"x-change": number.to_string()}}});
        }
        http.push(rule);
        noise(&mut http, random);
    }
    let share = random.random_range(0..=100);
    http.push(json!({"route": [
        {"destination": {"host": "backend", "subset": "v0"}, "weight": share},
        {"destination": {"host": "backend", "subset": "v1"}, "weight": 100 - share}]}));
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "backend", "namespace": NAMESPACE}, "spec": {"hosts": ["backend"], "http": http}})
}

fn to(version: &str) -> Value {
    json!([{"destination": {"host": "backend", "subset": format!("v{version}")}}])
}

/// The two subsets stay; others come and go, and each has another policy every time.
fn policy(random: &mut StdRng) -> Value {
    let some = |random: &mut StdRng| {
        let simple = ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"][random.random_range(0..3)];
        json!({"loadBalancer": {"simple": simple},
            "connectionPool": {"tcp": {"connectTimeout": format!("{}s", random.random_range(5..15))}}})
    };
    let mut subsets = Vec::new();
    for version in 0..2 + random.random_range(0..3) {
        let mut subset = json!({"name": format!("v{version}"), "labels": {"version": version.to_string()}});
        if random.random_bool(0.5) {
            subset["trafficPolicy"] = some(random);
        }
        subsets.push(subset);
    }
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "backend", "namespace": NAMESPACE},
        "spec": {"host": "backend", "trafficPolicy": some(random), "subsets": subsets}})
}
