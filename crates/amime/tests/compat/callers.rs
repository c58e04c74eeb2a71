//! A program of ours in a pod, told over standard input what to call, and telling how it ended.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::time::timeout;

/// Longer than any list of repetitions takes.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Caller {
    place: String,
    input: Box<dyn AsyncWrite + Unpin>,
    output: Lines<BufReader<Box<dyn AsyncRead + Unpin>>>,
    _process: kube::api::AttachedProcess,
}

impl Caller {
    pub(crate) async fn start(client: &Client, namespace: &str, pod: &str, container: &str) -> Self {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let how = AttachParams::default()
            .stdin(true)
            .stdout(true)
            .stderr(false)
            .container(container);
        let started = pods.exec(pod, ["compat-caller"], &how).await;
        let place = format!("{namespace}/{pod}");
        let mut process = started.unwrap_or_else(|error| panic!("{place}: {error}"));
        let output: Box<dyn AsyncRead + Unpin> = Box::new(process.stdout().unwrap());
        Self {
            place,
            input: Box::new(process.stdin().unwrap()),
            output: BufReader::new(output).lines(),
            _process: process,
        }
    }

    /// Makes one call to its end.
    pub(crate) async fn call(&mut self, call: &Value) -> Value {
        let answered = timeout(LIMIT, self.exchange(call)).await;
        let answered = answered.unwrap_or_else(|_| panic!("{}: no answer to {call}", self.place));
        answered.unwrap_or_else(|problem| panic!("{}: {problem}: {call}", self.place))
    }

    async fn exchange(&mut self, call: &Value) -> Result<Value, String> {
        let line = format!("{call}\n");
        let sent = self.input.write_all(line.as_bytes()).await;
        sent.map_err(|error| format!("cannot send: {error}"))?;
        let flushed = self.input.flush().await;
        flushed.map_err(|error| format!("cannot send: {error}"))?;
        let line = self.output.next_line().await;
        let line = line.map_err(|error| format!("cannot receive: {error}"))?;
        let line = line.ok_or("the caller ended")?;
        serde_json::from_str(&line).map_err(|error| format!("{error} in {line}"))
    }

    /// The JSON of a page, asked for past any table.
    pub(crate) async fn page(&mut self, address: &str, path: &str) -> Option<Value> {
        let call = json!({"address": address, "method": "GET", "target": path, "authority": address});
        let outcome = self.call(&call).await;
        serde_json::from_str(outcome["body"].as_str()?).ok()
    }
}
