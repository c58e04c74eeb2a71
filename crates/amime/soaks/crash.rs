//! kill -9 of launcher or node in the middle of 1,000 writes, again and again.
//!
//! After each kill nothing of the cluster stays on the machine; the next `up` has every acknowledged write, a
//! resourceVersion that never went back (not even behind what a watch had shown), and the article's traffic works
//! again. A write that was under way when the kill came may or may not be there; nothing else may differ.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a soak run by hand; it ends at the first thing that is wrong"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daemon::Tasks;
use futures_util::StreamExt;
use harness::leftovers::{descends_from, left_behind, processes};
use harness::{Local, NAMESPACE, article, wait};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::Notify;

const ROUNDS: usize = 20;
const WRITES: usize = 1000;
const WRITERS: usize = 8;
/// Objects that each writer has to itself.
const OBJECTS: usize = 12;

/// What the server has acknowledged about one object, and what was under way when it was killed.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The value last acknowledged; `None`: no such object.
    value: Option<u64>,
    /// A write that was sent and never answered: the object may have this state instead.
    under_way: Option<Option<u64>>,
}

/// Everything known, by object name.
type Ledger = BTreeMap<String, Known>;

/// What all tasks of a round count together.
#[derive(Default)]
struct Count {
    acknowledged: AtomicUsize,
    /// The newest resourceVersion that anybody has been told, by an answer or by a watch.
    newest: AtomicU64,
    /// Told at each acknowledged write.
    progress: Notify,
}

fn main() {
    identity::install_provider();
    let seed = std::env::args()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed);
    let local = Local::up(&[]);
    for name in [
        "01-namespace.yaml",
        "03-service.yaml",
        "04-client.yaml",
        "05-backend-0-and-1.yaml",
        "06-all-to-v0.yaml",
    ] {
        local.ok(&["apply", "-f", article(name).to_str().unwrap()]);
    }
    article_works(&local);
    println!("{ROUNDS} kills in {WRITES} writes by {WRITERS} writers, seed {seed}");
    let (mut ledger, mut newest, mut total) = (Ledger::new(), 0, 0);
    for round in 1..=ROUNDS {
        let victim = if round % 2 == 0 { "node" } else { "launcher" };
        let at = random.random_range(1..WRITES);
        let count = write_until_killed(&local, &mut ledger, (victim, at, random.random()));
        newest = newest.max(count.newest.load(Ordering::Relaxed));
        let acknowledged = count.acknowledged.load(Ordering::Relaxed);
        total += acknowledged;
        wait("the kernel to remove everything", Duration::from_secs(10), || {
            left_behind().is_empty().then_some(())
        });
        let begin = Instant::now();
        local.start(&[]);
        let up = begin.elapsed();
        let version = compare(&local, &mut ledger);
        assert!(
            version >= newest,
            "resourceVersion went back from {newest} to {version}"
        );
        article_works(&local);
        println!(
            "round {round:2}: {victim:8} killed after {acknowledged:4} acknowledged writes; up after {:4} ms, article \
             works after {:5} ms; resourceVersion {newest} -> {version}",
            up.as_millis(),
            begin.elapsed().as_millis()
        );
    }
    println!("{total} acknowledged writes, none lost");
}

/// Writes from all sides until the kill comes; what is known goes into the ledger.
fn write_until_killed(
    local: &Local,
    ledger: &mut Ledger,
    (victim, at, seed): (&str, usize, u64),
) -> Arc<Count> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let count = Arc::new(Count::default());
    let pid = victim_pid(local, victim);
    let found = runtime.block_on(async {
        let client = client(local).await;
        let tasks = Tasks::new();
        tasks.spawn("watch", watch(client.clone(), count.clone()));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mine = (0..OBJECTS)
                    .map(|object| format!("crash-{writer}-{object}"))
                    .map(|name| (name.clone(), ledger.get(&name).cloned().unwrap_or_default()))
                    .collect();
                let random = StdRng::seed_from_u64(seed.wrapping_add(writer as u64));
                write(client.clone(), mine, random, count.clone())
            })
            .collect();
        let writing = futures_util::future::join_all(writers);
        let killing = async {
            while count.acknowledged.load(Ordering::Relaxed) < at {
                count.progress.notified().await;
            }
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        };
        let (found, ()) = tokio::join!(writing, killing);
        found
    });
    ledger.extend(found.into_iter().flatten());
    runtime.shutdown_background();
    count
}

async fn client(local: &Local) -> kube::Client {
    let read = Kubeconfig::read_from(local.kubeconfig()).unwrap();
    let mut settings = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .unwrap();
    settings.read_timeout = Some(Duration::from_secs(20));
    kube::Client::try_from(settings).unwrap()
}

/// Creates, changes and deletes until a write is refused or unanswered, as it is after the kill.
async fn write(client: kube::Client, mut mine: Ledger, mut random: StdRng, count: Arc<Count>) -> Ledger {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let names: Vec<String> = mine.keys().cloned().collect();
    while count.acknowledged.load(Ordering::Relaxed) < WRITES {
        let name = &names[random.random_range(0..names.len())];
        let known = mine.get_mut(name).expect("it is one of ours");
        let value = random.random_range(0..u64::from(u32::MAX));
        let intended = match known.value {
            Some(_) if random.random_bool(0.2) => None,
            _ => Some(value),
        };
        known.under_way = Some(intended);
        let Ok(version) = write_one(&maps, name, known.value, intended).await else {
            return mine;
        };
        known.value = intended;
        known.under_way = None;
        count.newest.fetch_max(version, Ordering::Relaxed);
        count.acknowledged.fetch_add(1, Ordering::Relaxed);
        count.progress.notify_one();
    }
    mine
}

/// One write; the resourceVersion of its answer.
async fn write_one(
    maps: &Api<ConfigMap>,
    name: &str,
    before: Option<u64>,
    intended: Option<u64>,
) -> kube::Result<u64> {
    let answer = match (before, intended) {
        (_, None) => {
            maps.delete(name, &DeleteParams::default()).await?;
            return Ok(0);
        }
        (None, Some(value)) => {
            let object = json!({"metadata": {"name": name, "labels": {"soak": "crash"}},
                "data": {"value": value.to_string()}});
            let object = serde_json::from_value(object).expect("it is a ConfigMap");
            maps.create(&PostParams::default(), &object).await?
        }
        (Some(_), Some(value)) => {
            let change = json!({"data": {"value": value.to_string()}});
            maps.patch(name, &PatchParams::default(), &Patch::Merge(change))
                .await?
        }
    };
    Ok(version(answer.metadata.resource_version.as_deref()))
}

/// Follows the ConfigMaps: what a watch has shown may not be taken back either.
async fn watch(client: kube::Client, count: Arc<Count>) {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let how = WatchParams::default().labels("soak=crash");
    let Ok(events) = maps.watch(&how, "0").await else {
        return;
    };
    let mut events = std::pin::pin!(events);
    while let Some(Ok(event)) = events.next().await {
        if let WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map) = event {
            let seen = version(map.metadata.resource_version.as_deref());
            count.newest.fetch_max(seen, Ordering::Relaxed);
        }
    }
}

fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The launcher, or the node: the youngest of the chain launcher, init, node.
fn victim_pid(local: &Local, victim: &str) -> rustix::process::Pid {
    let launcher: i32 = std::fs::read_to_string(local.home().join("lock"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let pid = match victim {
        "launcher" => launcher,
        _ => {
            let all = processes();
            let is_node = |process: &&harness::leftovers::Process| {
                process.role == "node" && descends_from(&all, process, launcher)
            };
            all.iter().find(is_node).expect("the node runs").pid
        }
    };
    rustix::process::Pid::from_raw(pid).expect("pids are positive")
}

/// Every object must be as acknowledged, or as the write that was under way would have made it. From then on it
/// is known again. The list's resourceVersion.
fn compare(local: &Local, ledger: &mut Ledger) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let list = runtime.block_on(async {
        let maps: Api<ConfigMap> = Api::namespaced(client(local).await, "default");
        maps.list(&ListParams::default().labels("soak=crash"))
            .await
            .unwrap()
    });
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for map in &list.items {
        let value = map.data.as_ref().and_then(|data| data.get("value")?.parse().ok());
        found.insert(map.metadata.name.clone().unwrap(), value.expect("a whole object"));
    }
    for (name, known) in ledger.iter_mut() {
        let now = found.remove(name);
        let fits = now == known.value || known.under_way.is_some_and(|intended| intended == now);
        assert!(fits, "{name} is {now:?}, and known is {known:?}");
        *known = Known {
            value: now,
            under_way: None,
        };
    }
    assert!(found.is_empty(), "objects that nobody made: {found:?}");
    version(list.metadata.resource_version.as_deref())
}

/// The client's calls reach version 0, through both sidecars, by the rules that were applied once.
fn article_works(local: &Local) {
    wait("the article's traffic", Duration::from_secs(60), || {
        let pods = local.get(&["pods", "-n", NAMESPACE, "-l", "app=client"]);
        let pod = pods["items"][0]["metadata"]["name"].as_str()?.to_owned();
        let call = ["curl", "-s", "-m", "5", "-w", "\n", "http://backend:9090/?[1-20]"];
        let words = ["exec", &pod, "-n", NAMESPACE, "-c", "client", "--"];
        let output = local.amime(&[&words[..], &call].concat());
        (harness::versions(&String::from_utf8_lossy(&output.stdout)) == (20, 0)).then_some(())
    });
}
