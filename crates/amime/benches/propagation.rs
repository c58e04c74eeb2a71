//! How long a rule takes to reach everybody: 20 sidecars call the backend all the time while a VirtualService is
//! flipped between v0 and v1; each time from the write until the last of them answers from the new version.
//!
//! A pod's answers carry the time at which the node read them, so what is measured is the whole way: API server,
//! watch, translation, push, proxy, call. Pods call every 20 ms, which is also the resolution.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement run by hand"
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::time::Duration;

use futures_util::{AsyncBufReadExt, StreamExt, TryStreamExt};
use harness::{Local, NAMESPACE, article};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, LogParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::ApiResource;
use serde_json::json;
use tokio::sync::mpsc;

const CALLERS: usize = 20;
const FLIPS: usize = 100;
const LIMIT: Duration = Duration::from_secs(10);

/// One answer: which caller, which version, when.
struct Answer {
    caller: usize,
    version: u8,
    at: Timestamp,
}

fn main() {
    identity::install_provider();
    let local = Local::up(&[]);
    for name in [
        "01-namespace.yaml",
        "03-service.yaml",
        "05-backend-0-and-1.yaml",
        "06-all-to-v0.yaml",
    ] {
        local.ok(&["apply", "-f", article(name).to_str().unwrap()]);
    }
    assert!(local.apply(&callers()).status.success());
    for name in ["backend-0", "backend-1", "caller"] {
        local.wait_for_deployment(NAMESPACE, name);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut times = runtime.block_on(measure(&local));
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_millis();
    println!(
        "{FLIPS} flips, {CALLERS} sidecars, from the write until the last one answers from the new version:"
    );
    println!(
        "median {} ms, p90 {} ms, p99 {} ms, longest {} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

fn callers() -> String {
    let command =
        r#"["curl", "-s", "-m", "5", "--rate", "50/s", "-w", "\n", "http://backend:9090/?[1-1000000]"]"#;
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: caller, namespace: {NAMESPACE}}}\nspec:\n  \
         replicas: {CALLERS}\n  selector: {{matchLabels: {{app: caller}}}}\n  template:\n    \
         metadata: {{labels: {{app: caller}}}}\n    spec:\n      containers:\n      - name: caller\n        \
         image: curl\n        command: {command}\n"
    )
}

async fn measure(local: &Local) -> Vec<Duration> {
    let read = Kubeconfig::read_from(local.kubeconfig()).unwrap();
    let settings = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = kube::Client::try_from(settings).unwrap();
    let mut answers = follow(&client).await;
    let gvk = kube::core::GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    let rules: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &ApiResource::from_gvk(&gvk));
    let mut times = Vec::new();
    for flip in 0..FLIPS {
        let version = u8::from(flip % 2 == 0);
        let rule = json!({"spec": {"http": [{"route": [
            {"destination": {"host": "backend", "subset": format!("v{version}")}}]}]}});
        let written = Timestamp::now();
        rules
            .patch("backend", &PatchParams::default(), &Patch::Merge(rule))
            .await
            .unwrap();
        times.push(last_to_follow(&mut answers, version, written).await);
    }
    times
}

/// The answers of all callers as they come.
async fn follow(client: &kube::Client) -> mpsc::Receiver<Answer> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let (sender, answers) = mpsc::channel(100_000);
    let found = pods
        .list(&ListParams::default().labels("app=caller"))
        .await
        .unwrap();
    assert_eq!(found.items.len(), CALLERS);
    for (caller, pod) in found.items.into_iter().enumerate() {
        let how = LogParams {
            container: Some("caller".to_owned()),
            follow: true,
            timestamps: true,
            tail_lines: Some(1),
            ..LogParams::default()
        };
        let lines = pods
            .log_stream(&pod.metadata.name.unwrap(), &how)
            .await
            .unwrap()
            .lines();
        let sender = sender.clone();
        let read = lines.into_stream().for_each(move |line| {
            let sender = sender.clone();
            async move {
                if let Some(answer) = line.ok().and_then(|line| parse(caller, &line)) {
                    let _ = sender.send(answer).await;
                }
            }
        });
        daemon::Tasks::new().spawn("log", read);
    }
    answers
}

/// `2026-11-22T20:25:06.123456789Z Hello, World!, version: 1`.
fn parse(caller: usize, line: &str) -> Option<Answer> {
    let (at, text) = line.split_once(' ')?;
    let version = text.strip_prefix("Hello, World!, version: ")?.parse().ok()?;
    Some(Answer {
        caller,
        version,
        at: at.parse().ok()?,
    })
}

/// The time from `written` until the first answer of the new version of the caller that was last.
async fn last_to_follow(answers: &mut mpsc::Receiver<Answer>, version: u8, written: Timestamp) -> Duration {
    let mut first: Vec<Option<Timestamp>> = vec![None; CALLERS];
    let all = async {
        while first.iter().any(Option::is_none) {
            let answer = answers.recv().await.expect("callers go on");
            let place = &mut first[answer.caller];
            match (answer.at >= written, answer.version == version) {
                (true, true) if place.is_none() => *place = Some(answer.at),
                // An old answer after a new one: it does not count until it stays.
                (true, false) => *place = None,
                _ => {}
            }
        }
    };
    daemon::clock::timeout(LIMIT, all)
        .await
        .expect("the rule arrives everywhere");
    let last = first.into_iter().flatten().max().expect("there are callers");
    Duration::try_from(last.duration_since(written)).unwrap_or_default()
}
