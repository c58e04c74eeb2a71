//! The steps of the article, one after the other.

use std::time::Duration;

use anyhow::{Context, bail};
use daemon::clock;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::Value;

use super::measure::{self, Counts};
use crate::cluster::exec::Place;
use crate::cluster::{Cluster, text};
use crate::commands::apply::apply_all;
use crate::files::Documents;
use crate::output::progress;

const NAMESPACE: &str = "istio-http-example";
const POD_LIMIT: Duration = Duration::from_secs(60);
const LINE_LIMIT: Duration = Duration::from_secs(20);

macro_rules! article {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../../examples/article/", $name)),
        )
    };
}

/// A file of the article: its name and its text.
type File = (&'static str, &'static str);

const SETTING: &[File] = &[
    article!("01-namespace.yaml"),
    article!("02-backend-0.yaml"),
    article!("03-service.yaml"),
    article!("04-client.yaml"),
];

/// One measured step.
struct Chapter {
    title: &'static str,
    file: File,
    /// Share of requests that version 1 must answer.
    share: f64,
}

const CHAPTERS: &[Chapter] = &[
    Chapter {
        title: "Both versions, no rule",
        file: article!("05-backend-0-and-1.yaml"),
        share: 0.5,
    },
    Chapter {
        title: "All to v0",
        file: article!("06-all-to-v0.yaml"),
        share: 0.0,
    },
    Chapter {
        title: "All to v1",
        file: article!("07-all-to-v1.yaml"),
        share: 1.0,
    },
    Chapter {
        title: "90 % to v0, 10 % to v1",
        file: article!("08-v0-90-v1-10.yaml"),
        share: 0.1,
    },
];

/// How a step went.
pub(super) struct Step {
    pub(super) title: &'static str,
    counts: Counts,
    share: f64,
    pub(super) wrong: Option<String>,
}

impl Step {
    /// One line for the summary.
    pub(super) fn line(&self) -> String {
        let expected = f64::from(measure::REQUESTS) * self.share;
        let Counts { v0, v1 } = self.counts;
        let rest = f64::from(measure::REQUESTS) - expected;
        format!(
            "{:24} v0 {v0:4}  v1 {v1:4}   expected {rest:.0} / {expected:.0}",
            self.title
        )
    }
}

/// Tells the whole story.
pub(super) async fn tell(cluster: &Cluster) -> anyhow::Result<Vec<Step>> {
    println!("\n== One version of the backend, and a client that calls it every 3 s");
    for file in SETTING {
        apply(cluster, file).await?;
    }
    wait_for_pods(cluster, &["backend-0", "client-0"]).await?;
    let client = client_pod(cluster).await?;
    println!("Pod {client} has its sidecar. What the client prints:");
    show_lines(cluster, &client, 0).await?;
    let mut steps = Vec::new();
    for chapter in CHAPTERS {
        steps.push(tell_chapter(cluster, &client, chapter).await?);
    }
    Ok(steps)
}

async fn tell_chapter(cluster: &Cluster, client: &str, chapter: &Chapter) -> anyhow::Result<Step> {
    println!("\n== {}", chapter.title);
    let before = lines(cluster, client).await?.len();
    apply(cluster, &chapter.file).await?;
    wait_for_pods(cluster, &["backend-0", "backend-1", "client-0"]).await?;
    println!("What the client prints:");
    show_lines(cluster, client, before).await?;
    let place = Place {
        namespace: NAMESPACE,
        pod: client,
        container: "client",
    };
    let what = format!("{} requests from the client's container", measure::REQUESTS);
    let counts = progress::show(&what, measure::run(cluster, &place)).await?;
    let step = Step {
        title: chapter.title,
        counts,
        share: chapter.share,
        wrong: measure::judge(counts, chapter.share),
    };
    println!("{}", step.line());
    Ok(step)
}

async fn apply(cluster: &Cluster, (name, yaml): &File) -> anyhow::Result<()> {
    println!("\n$ amime apply -f examples/article/{name}");
    yaml.lines().for_each(|line| println!("    {line}"));
    let mut documents = Documents::default();
    documents.add(name, yaml);
    if !apply_all(cluster, &documents, NAMESPACE).await? {
        bail!("{name} was not applied");
    }
    Ok(())
}

/// Waits until each Deployment has rolled out.
async fn wait_for_pods(cluster: &Cluster, names: &[&str]) -> anyhow::Result<()> {
    let work = async {
        let deadline = clock::now() + POD_LIMIT;
        for name in names {
            let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}");
            while !rolled_out(&cluster.get(&path).await?) {
                if clock::now() >= deadline {
                    bail!("{name} is not ready after {} s", POD_LIMIT.as_secs());
                }
                clock::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    };
    progress::show(&format!("Waiting for {}", names.join(", ")), work).await
}

fn rolled_out(deployment: &Value) -> bool {
    let status = |field: &str| deployment["status"][field].as_i64().unwrap_or_default();
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    status("observedGeneration") >= deployment["metadata"]["generation"].as_i64().unwrap_or_default()
        && [
            status("replicas"),
            status("updatedReplicas"),
            status("availableReplicas"),
        ] == [wanted; 3]
}

async fn client_pod(cluster: &Cluster) -> anyhow::Result<String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dclient");
    let pods = cluster.get(&path).await?;
    let pod = pods["items"].get(0).context("there is no client pod")?;
    let containers = pod["spec"]["containers"].as_array().map_or(0, Vec::len)
        + pod["spec"]["initContainers"].as_array().map_or(0, |all| {
            all.iter()
                .filter(|container| text(container, "/restartPolicy") == "Always")
                .count()
        });
    if containers != 2 {
        bail!("the client pod has {containers} containers, expected 2: it was not injected");
    }
    Ok(text(pod, "/metadata/name").to_owned())
}

async fn lines(cluster: &Cluster, client: &str) -> anyhow::Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let how = LogParams {
        container: Some("client".to_owned()),
        ..LogParams::default()
    };
    Ok(pods
        .logs(client, &how)
        .await?
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Shows the client's next two lines: proof by the article's own program, and time for the rule to arrive.
async fn show_lines(cluster: &Cluster, client: &str, after: usize) -> anyhow::Result<()> {
    const SHOWN: usize = 2;
    let deadline = clock::now() + LINE_LIMIT;
    loop {
        let all = lines(cluster, client).await?;
        if all.len() >= after + SHOWN {
            all[after..after + SHOWN]
                .iter()
                .for_each(|line| println!("    {line}"));
            return Ok(());
        }
        if clock::now() >= deadline {
            bail!("the client printed nothing new for {} s", LINE_LIMIT.as_secs());
        }
        clock::sleep(Duration::from_millis(200)).await;
    }
}
