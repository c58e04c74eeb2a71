//! What a local cluster costs: time to ready, memory when idle, time until 50 pods with sidecars are Ready, and
//! what the API server writes and shows with one client and with eight.
//!
//! Memory is the proportional set size (PSS) of every process of the binary, from `/proc/PID/smaps_rollup`: pages
//! that processes share are counted once, divided among them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement run by hand: of real time, over processes"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use daemon::Tasks;
use futures_util::StreamExt;
use futures_util::future::join_all;
use harness::leftovers::processes;
use harness::{Local, wait};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::sync::mpsc;

const STARTS: usize = 5;
const PODS: usize = 50;
/// How long writers write.
const WRITING: Duration = Duration::from_secs(5);
/// How long nothing is asked of the cluster before its memory is read.
const IDLE: Duration = Duration::from_secs(10);

fn main() {
    identity::install_provider();
    time_to_ready();
    let local = Local::up(&[]);
    idle(IDLE);
    memory();
    for clients in [1, 8] {
        writes_and_watches(&local, clients);
    }
    fifty_pods(&local);
}

/// Time passes without any call.
fn idle(time: Duration) {
    std::thread::sleep(time);
}

/// `amime up --detach` until it returns: the API server answers and a pod would be injected.
fn time_to_ready() {
    let mut fresh = Vec::new();
    let mut again = Vec::new();
    for _ in 0..STARTS {
        let begin = Instant::now();
        let local = Local::up(&[]);
        fresh.push(begin.elapsed());
        local.down();
        let begin = Instant::now();
        local.start(&[]);
        again.push(begin.elapsed());
    }
    println!(
        "time to ready, median of {STARTS}: {} ms in a new directory, {} ms in one that was used before",
        median(&mut fresh).as_millis(),
        median(&mut again).as_millis()
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Proportional memory by role, and its sum.
fn memory() {
    let mut roles: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for process in processes() {
        let entry = roles.entry(process.role.clone()).or_default();
        entry.0 += 1;
        entry.1 += proportional_kilobytes(process.pid);
    }
    let sum: u64 = roles.values().map(|(_, kilobytes)| kilobytes).sum();
    let parts: Vec<String> = roles
        .iter()
        .map(|(role, (count, kilobytes))| format!("{count} {role} {:.1}", megabytes(*kilobytes)))
        .collect();
    println!(
        "memory, idle with the mesh in it (target 80 MB): {:.1} MB PSS",
        megabytes(sum)
    );
    println!("    {}", parts.join(", "));
}

fn proportional_kilobytes(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .unwrap_or_default()
}

fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 * 1024.0 / 1e6
}

/// From the write of a Deployment until its last pod, sidecar included, is Ready.
fn fifty_pods(local: &Local) {
    let labelled =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: fifty, labels: {istio-injection: enabled}}\n";
    assert!(local.apply(labelled).status.success());
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: fifty, namespace: fifty}}\nspec:\n  \
         replicas: {PODS}\n  selector: {{matchLabels: {{app: fifty}}}}\n  template:\n    \
         metadata: {{labels: {{app: fifty}}}}\n    spec:\n      containers:\n      - name: app\n        \
         image: curl\n        command: [sleep, infinity]\n"
    );
    let begin = Instant::now();
    assert!(local.apply(&deployment).status.success());
    wait("50 pods", Duration::from_secs(180), || {
        let found = local.get(&["deployments", "fifty", "-n", "fifty"]);
        (found["status"]["readyReplicas"].as_u64() == Some(PODS as u64)).then_some(())
    });
    println!(
        "{PODS} pods with sidecars Ready (target 15 s): {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    idle(IDLE);
    memory();
}

/// Changes of ConfigMaps by so many clients at once, each on a connection of its own; one more client watches.
fn writes_and_watches(local: &Local, clients: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (acknowledged, mut latencies) = runtime.block_on(async {
        let tasks = Tasks::new();
        let (sender, mut seen) = mpsc::channel(1_000_000);
        let (opened, ready) = tokio::sync::oneshot::channel();
        tasks.spawn("watch", watch(client(local).await, sender, opened));
        ready.await.unwrap();
        let begin = Instant::now();
        let writers = join_all((0..clients).map(|writer| async move {
            let client = client(local).await;
            write(client, format!("write-{clients}-{writer}"), begin).await
        }));
        let sent: BTreeMap<String, Instant> = writers.await.into_iter().flatten().collect();
        let count = sent.len();
        let mut latencies = Vec::with_capacity(count);
        while latencies.len() < count {
            let (version, at) = seen.recv().await.expect("the watch goes on");
            if let Some(begin) = sent.get(&version) {
                latencies.push(Instant::duration_since(&at, *begin));
            }
        }
        (count, latencies)
    });
    latencies.sort();
    let at =
        |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!(
        "{clients} clients: {:.0} writes/s; from sending a write until a watch shows it: median {:.1} ms, p99 {:.1} ms",
        acknowledged as f64 / WRITING.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
}

async fn client(local: &Local) -> kube::Client {
    let read = Kubeconfig::read_from(local.kubeconfig()).unwrap();
    let settings = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .unwrap();
    kube::Client::try_from(settings).unwrap()
}

/// Changes one ConfigMap until the time is over: when each write was sent, by the resourceVersion it got.
async fn write(client: kube::Client, name: String, begin: Instant) -> Vec<(String, Instant)> {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let object = json!({"metadata": {"name": name, "labels": {"bench": "up"}}, "data": {"value": "0"}});
    let object = serde_json::from_value(object).expect("it is a ConfigMap");
    maps.create(&PostParams::default(), &object).await.unwrap();
    let mut sent = Vec::new();
    for value in 1_u64.. {
        let at = Instant::now();
        if begin.elapsed() >= WRITING {
            break;
        }
        let change = Patch::Merge(json!({"data": {"value": value.to_string()}}));
        let answer = maps.patch(&name, &PatchParams::default(), &change).await.unwrap();
        sent.push((answer.metadata.resource_version.unwrap(), at));
    }
    sent
}

/// What the watch shows, and when.
async fn watch(
    client: kube::Client,
    sender: mpsc::Sender<(String, Instant)>,
    opened: tokio::sync::oneshot::Sender<()>,
) {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let how = WatchParams::default().labels("bench=up");
    let events = maps.watch(&how, "0").await.unwrap();
    let mut events = std::pin::pin!(events);
    opened.send(()).unwrap();
    while let Some(Ok(event)) = events.next().await {
        if let WatchEvent::Added(map) | WatchEvent::Modified(map) = event {
            let _ = sender
                .send((map.metadata.resource_version.unwrap(), Instant::now()))
                .await;
        }
    }
}
