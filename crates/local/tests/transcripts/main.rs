//! Exchanges of kubectl 1.36 with a real API server 1.36, replayed in order against ours.
//!
//! `kubectl-1.36.json` holds what was sent and what came back. Equal means: the same status code and content type, and
//! the same answer in every field but those that differ from run to run, which stand there as `"*"` (uid, versions,
//! times, the age in a table) and match anything that is there. Left out on both sides: `managedFields`,
//! `storageVersionHash` and descriptions of columns. Of lists that were recorded in part, those items are compared,
//! by name. Protobuf answers stand there as the JSON of the same object. What was recorded of a watch is its beginning.
//!
//! Everything that differs stands in `differences.txt` with its reason; a difference that is not there fails, and so
//! does a line there that no longer differs. No recorded command needed a kubelet, so that none is left out.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use daemon::{Tasks, clock};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use identity::tls::tokio_rustls::TlsConnector;
use identity::{Authority, Keypair};
use local::api::node_link::NodeLink;
use local::api::{Server, Settings, start};
use serde_json::Value;
use tokio::net::TcpStream;

const RECORDING: &str = include_str!("kubectl-1.36.json");
const DIFFERENCES: &str = include_str!("differences.txt");
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn recorded_exchanges_have_the_recorded_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path()).await;
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    for before in recording["before"].as_array().unwrap() {
        let response = cluster.send(before).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(
            status.is_success(),
            "{before}: {}",
            String::from_utf8_lossy(&body)
        );
    }
    let mut found = Vec::new();
    let (mut replayed, mut equal) = (0, 0);
    for command in recording["commands"].as_array().unwrap() {
        for exchange in command["exchanges"].as_array().unwrap() {
            let mut differences = Vec::new();
            cluster.replay(exchange, &mut differences).await;
            replayed += 1;
            equal += usize::from(differences.is_empty());
            let path = exchange["path"].as_str().unwrap().split('?').next().unwrap();
            let method = exchange["method"].as_str().unwrap();
            found.extend(
                differences
                    .iter()
                    .map(|difference| format!("{method} {path} {difference}")),
            );
        }
    }
    found.sort();
    found.dedup();
    let listed = listed();
    println!(
        "{replayed} exchanges replayed, {equal} equal, {} differences, each with its reason",
        listed.len()
    );
    let unlisted: Vec<_> = found
        .iter()
        .filter(|line| !listed.contains_key(line.as_str()))
        .collect();
    assert!(unlisted.is_empty(), "not in differences.txt:\n{unlisted:#?}");
    let gone: Vec<_> = listed
        .keys()
        .filter(|line| !found.iter().any(|one| one == *line))
        .collect();
    assert!(gone.is_empty(), "no longer different:\n{gone:#?}");
    for (difference, reason) in &listed {
        assert!(
            !difference.contains("status code"),
            "{difference}: no reason is good enough"
        );
        assert!(reason.len() > 10, "{difference} has no reason");
    }
}

/// Differences and their reasons: a line, and an indented one below it.
fn listed() -> BTreeMap<&'static str, &'static str> {
    let lines: Vec<&str> = DIFFERENCES.lines().filter(|line| !line.is_empty()).collect();
    lines
        .chunks(2)
        .map(|pair| (pair[0], pair.get(1).map_or("", |reason| reason.trim())))
        .collect()
}

struct Cluster {
    server: Server,
    admin: Keypair,
    tasks: Tasks,
}

impl Cluster {
    async fn start(directory: &std::path::Path) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (node, _requests) = NodeLink::new();
        let server = start(Settings {
            directory: directory.to_owned(),
            listener,
            cluster_listeners: Vec::new(),
            advertised: "10.244.0.1:6443".parse().unwrap(),
            node,
        })
        .await
        .unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.join("pki").join(name)).unwrap();
        let authority = Authority::from_pem(&read("ca.crt"), &read("ca.key")).unwrap();
        let hour = Duration::from_secs(3600);
        let admin = authority
            .issue_client("admin", "system:masters", hour, clock::wall())
            .unwrap();
        Self {
            server,
            admin,
            tasks: Tasks::new(),
        }
    }

    /// Sends a recorded request over a connection of its own.
    async fn send(&self, exchange: &Value) -> Response<Incoming> {
        let text = |field: &str| exchange[field].as_str();
        let method = text("method").unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(text("path").unwrap())
            .header("host", "localhost");
        if let Some(accept) = text("accept") {
            request = request.header("accept", accept);
        }
        let plain = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let body = match (text("protobuf"), &exchange["body"]) {
            (Some(protobuf), _) => STANDARD.decode(protobuf).unwrap(),
            (None, Value::Null) => Vec::new(),
            (None, body) => body.to_string().into_bytes(),
        };
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, text("content-type").unwrap_or(plain));
        }
        let config =
            identity::tls::client_config(&self.server.ca_certificate, Some(&self.admin), &[]).unwrap();
        let stream = TcpStream::connect(self.server.running.addresses["api"])
            .await
            .unwrap();
        let name = "localhost".to_owned().try_into().unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn("test connection", async move {
            let _ = connection.await;
        });
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        sender.send_request(request).await.unwrap()
    }

    /// Replays one exchange and notes what is not as recorded.
    async fn replay(&self, exchange: &Value, differences: &mut Vec<String>) {
        let response = self.send(exchange).await;
        let code = Value::from(response.status().as_u16());
        let kind = response.headers().get(CONTENT_TYPE).unwrap().to_str().unwrap();
        compare("status code", &exchange["status"], &code, differences);
        compare(
            "content type",
            &exchange["answer-type"],
            &Value::from(kind),
            differences,
        );
        if let Some(events) = exchange["events"].as_array() {
            let got = first_lines(response.into_body(), events.len()).await;
            compare("", &exchange["events"], &Value::from(got), differences);
        } else if exchange["answer"].is_object() {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let got = serde_json::from_slice(&body).unwrap();
            compare("", &exchange["answer"], &got, differences);
        }
    }
}

/// The first events of a watch, which then is left.
async fn first_lines(mut body: Incoming, count: usize) -> Vec<Value> {
    let mut text = Vec::new();
    while text.iter().filter(|byte| **byte == b'\n').count() < count {
        let frame = clock::timeout(PATIENCE, body.frame()).await;
        let frame = frame
            .expect("events come at once")
            .expect("the watch goes on")
            .unwrap();
        text.extend_from_slice(frame.data_ref().unwrap());
    }
    let lines = text.split(|byte| *byte == b'\n').take(count);
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// What is never compared.
const LEFT_OUT: &[&str] = &["managedFields", "storageVersionHash", "description"];

fn compare(path: &str, recorded: &Value, got: &Value, differences: &mut Vec<String>) {
    match (recorded, got) {
        (Value::String(any), got) if any == "*" && !got.is_null() => {}
        (Value::Object(old), Value::Object(new)) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort();
            names.dedup();
            for name in names
                .into_iter()
                .filter(|name| !LEFT_OUT.contains(&name.as_str()))
            {
                let absent = Value::Null;
                let (old, new) = (old.get(name).unwrap_or(&absent), new.get(name).unwrap_or(&absent));
                if path.is_empty() && name == "resources" {
                    compare_by_name(old, new, differences);
                } else {
                    compare(&format!("{path}/{name}"), old, new, differences);
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}/{at}"), old, new, differences);
            }
        }
        (old, new) if old == new => {}
        (old, new) => differences.push(format!("{path}: {old} became {new}")),
    }
}

/// Resources of a group: those that were recorded.
fn compare_by_name(recorded: &Value, got: &Value, differences: &mut Vec<String>) {
    for old in recorded.as_array().unwrap() {
        let name = &old["name"];
        let new = got.as_array().unwrap().iter().find(|new| new["name"] == *name);
        compare(
            &format!("/resources/{}", name.as_str().unwrap()),
            old,
            new.unwrap_or(&Value::Null),
            differences,
        );
    }
}
