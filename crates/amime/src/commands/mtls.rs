//! `amime mtls report`: every connection into the workloads of a namespace, with the identities at both ends; and who
//! calls in plain text, by name.
//!
//! The proxies count; this asks the admin page of each through a port-forward, and gives addresses the names of their
//! pods.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::clock;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cli::Target;
use crate::cluster::{Cluster, text};
use crate::connect;
use crate::output::table;

/// Where the proxy's admin pages are.
const ADMIN: u16 = 15000;
const PROXY: &str = "istio-proxy";
/// For one proxy; those that do not answer are named.
const PATIENCE: Duration = Duration::from_secs(10);
/// Proxies that are asked at once.
const AT_ONCE: usize = 16;
/// More than any proxy has to say.
const LONGEST: u64 = 16 << 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Who calls the workloads of a namespace, how, and the identities at both ends
    Report(Report),
}

#[derive(clap::Args)]
struct Report {
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Action::Report(report) = &arguments.action;
    let cluster = connect::connect(target).await?;
    let namespace = match report.all_namespaces {
        true => None,
        false => {
            let path = format!("/api/v1/namespaces/{}", report.namespace);
            cluster.get(&path).await?;
            Some(report.namespace.as_str())
        }
    };
    let pods = cluster.get("/api/v1/pods").await?;
    let pods = pods["items"].as_array().map_or(&[][..], Vec::as_slice);
    let names = names(pods);
    let (told, silent) = ask_all(&cluster, &proxies(pods, namespace)).await;
    print!("{}", written(&told, &names));
    for (pod, problem) in &silent {
        eprintln!("{pod} does not answer: {problem}");
    }
    Ok(ExitCode::from(u8::from(!silent.is_empty())))
}

/// `shop/backend-0`.
fn name_of(pod: &Value) -> String {
    format!(
        "{}/{}",
        text(pod, "/metadata/namespace"),
        text(pod, "/metadata/name")
    )
}

/// Pods by address. Those of the host's network share theirs, and are left out.
fn names(pods: &[Value]) -> BTreeMap<String, String> {
    let own = pods
        .iter()
        .filter(|pod| pod["spec"]["hostNetwork"] != true && text(pod, "/status/phase") == "Running");
    let addresses = own.flat_map(|pod| {
        let all = pod["status"]["podIPs"].as_array().into_iter().flatten();
        let all = all
            .map(|address| text(address, "/ip"))
            .chain([text(pod, "/status/podIP")]);
        all.filter(|address| !address.is_empty())
            .map(|address| (address.to_owned(), name_of(pod)))
            .collect::<Vec<_>>()
    });
    addresses.collect()
}

/// Running pods with a proxy.
fn proxies<'a>(pods: &'a [Value], namespace: Option<&str>) -> Vec<&'a Value> {
    let has_proxy = |pod: &Value| {
        let lists = ["containers", "initContainers"].map(|list| &pod["spec"][list]);
        let mut all = lists.into_iter().filter_map(Value::as_array).flatten();
        all.any(|container| text(container, "/name") == PROXY)
    };
    pods.iter()
        .filter(|pod| namespace.is_none_or(|namespace| text(pod, "/metadata/namespace") == namespace))
        .filter(|pod| text(pod, "/status/phase") == "Running" && has_proxy(pod))
        .collect()
}

/// A proxy's pod, and what it told or why it did not.
type Told = Vec<(String, Value)>;
type Silent = Vec<(String, String)>;

async fn ask_all(cluster: &Cluster, pods: &[&Value]) -> (Told, Silent) {
    let (mut told, mut silent) = (Vec::new(), Vec::new());
    for some in pods.chunks(AT_ONCE) {
        let answers = some.iter().map(|pod| async {
            let answer = clock::timeout(PATIENCE, ask(cluster, pod)).await;
            let answer = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
            (name_of(pod), answer)
        });
        for (pod, answer) in futures_util::future::join_all(answers).await {
            match answer {
                Ok(callers) => told.push((pod, callers)),
                Err(error) => silent.push((pod, format!("{error:#}"))),
            }
        }
    }
    (told, silent)
}

async fn ask(cluster: &Cluster, pod: &Value) -> anyhow::Result<Value> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), text(pod, "/metadata/namespace"));
    let mut forward = pods.portforward(text(pod, "/metadata/name"), &[ADMIN]).await?;
    let mut stream = forward.take_stream(ADMIN).context("no port-forward")?;
    stream
        .write_all(b"GET /callers HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    (&mut stream).take(LONGEST).read_to_end(&mut answer).await?;
    body(&answer)
}

/// The content of an answer whose end is the connection's.
fn body(answer: &[u8]) -> anyhow::Result<Value> {
    let text = std::str::from_utf8(answer).context("the answer is not text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer is cut short")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("{status}");
    }
    serde_json::from_str(body).context("the answer is not understood")
}

fn written(told: &[(String, Value)], names: &BTreeMap<String, String>) -> String {
    let mut rows = Vec::new();
    for (pod, callers) in told {
        for caller in callers.as_array().into_iter().flatten() {
            rows.push(row(pod, caller, names));
        }
    }
    if rows.is_empty() {
        return "No connections.\n".to_owned();
    }
    rows.sort();
    let headings = [
        "SOURCE",
        "DESTINATION",
        "SECURITY",
        "SOURCE IDENTITY",
        "DESTINATION IDENTITY",
        "OPEN",
        "TOTAL",
    ];
    table::columns(&headings, &rows)
}

fn row(pod: &str, caller: &Value, names: &BTreeMap<String, String>) -> Vec<String> {
    let address = text(caller, "/client");
    let source = match names.get(address) {
        Some(name) => name.clone(),
        None if address.is_empty() => "(too many to be told apart)".to_owned(),
        None => address.to_owned(),
    };
    let known = |pointer: &str| match text(caller, pointer) {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    let security = match text(caller, "/security") {
        "mutual_tls" => "mutual TLS",
        "tls" => "TLS",
        _ => "plain text",
    };
    vec![
        source,
        format!("{pod}:{}", caller["port"]),
        security.to_owned(),
        known("/clientIdentity"),
        known("/identity"),
        caller["open"].to_string(),
        caller["opened"].to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, address: &str, container: &str) -> Value {
        json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"containers": [{"name": container}]},
            "status": {"phase": "Running", "podIP": address},
        })
    }

    #[test]
    fn both_ends_have_names_and_plain_text_is_called_so() {
        let pods = [
            pod("backend-0", "10.0.0.1", PROXY),
            pod("stranger", "10.0.0.9", "app"),
        ];
        let callers = json!([
            {"client": "10.0.0.7", "port": 9090, "security": "mutual_tls", "clientIdentity": "spiffe://a/ns/shop/sa/x",
             "identity": "spiffe://a/ns/shop/sa/y", "open": 1, "opened": 3},
            {"client": "10.0.0.9", "port": 9090, "security": "none", "identity": "spiffe://a/ns/shop/sa/y", "open": 0, "opened": 1},
        ]);
        assert_eq!(proxies(&pods, Some("shop")).len(), 1);
        assert!(proxies(&pods, Some("other")).is_empty());
        let text = written(&[("shop/backend-0".into(), callers)], &names(&pods));
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("   ").map(str::trim).collect())
            .collect();
        let cells = |line: usize| {
            lines[line]
                .iter()
                .filter(|cell| !cell.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!(
            cells(1),
            "10.0.0.7|shop/backend-0:9090|mutual TLS|spiffe://a/ns/shop/sa/x|spiffe://a/ns/shop/sa/y|1|3"
        );
        assert_eq!(
            cells(2),
            "shop/stranger|shop/backend-0:9090|plain text|-|spiffe://a/ns/shop/sa/y|0|1"
        );
    }

    #[test]
    fn an_answer_is_read_or_named() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\n[1]").unwrap(), json!([1]));
        for answer in [
            &b"HTTP/1.1 404 Not Found\r\n\r\n"[..],
            b"",
            b"HTTP/1.1 200 OK\r\n\r\n{",
        ] {
            assert!(body(answer).is_err());
        }
    }
}
