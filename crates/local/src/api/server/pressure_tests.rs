//! Clients that ask for too much, or too slowly: they are refused or cut, and everybody else is answered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::clock;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::tls::tokio_rustls::TlsConnector;
use identity::tls::tokio_rustls::client::TlsStream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::bounds::{Bounds, Limits};
use super::tests::{CONFIG_MAPS, Cluster, cluster, cluster_within, config_map, plain};

/// Long enough for whatever a test waits for; it fails then.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

async fn with(directory: &Path, limits: Limits) -> (Cluster, Arc<Bounds>) {
    let bounds = Bounds::new(limits);
    (cluster_within(directory, bounds.clone()).await, bounds)
}

/// A connection on which the test writes what it likes.
async fn raw(cluster: &Cluster, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let address = cluster.server.running.addresses["api"];
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let mut config = Arc::unwrap_or_clone(
        identity::tls::client_config(&cluster.server.ca_certificate, Some(&cluster.owner), &[]).unwrap(),
    );
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    let name = "localhost".to_owned().try_into().unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

/// Everything until the server closes; fails when it does not.
async fn until_closed(stream: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    let read = clock::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    // An end without a farewell is an end, too.
    let _ = read.expect("the server closes the connection");
    String::from_utf8_lossy(&all).into_owned()
}

async fn is_well(cluster: &Cluster) {
    let (code, _) = clock::timeout(PATIENCE, cluster.get("/api/v1/namespaces/default"))
        .await
        .unwrap();
    assert_eq!(code, 200, "others are answered");
}

#[tokio::test]
async fn the_longest_idle_connection_gives_way_to_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let (cluster, _) = with(directory.path(), limits).await;
    let mut first = raw(&cluster, &[]).await;
    let mut others = [raw(&cluster, &[b"h2"]).await, raw(&cluster, &[]).await];
    is_well(&cluster).await;
    until_closed(&mut first).await;
    let request = b"GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    others[1].write_all(request).await.unwrap();
    assert!(until_closed(&mut others[1]).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_thousand_connections_disturb_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let mut open = Vec::new();
    for _ in 0..1000 {
        open.push(raw(&cluster, &[]).await);
    }
    is_well(&cluster).await;
    let request = b"GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let first = &mut open[0];
    first.write_all(request).await.unwrap();
    assert!(until_closed(first).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn who_says_nothing_or_only_half_of_a_head_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        head: SHORT,
        ..Limits::default()
    };
    let (cluster, _) = with(directory.path(), limits).await;
    let mut silent = raw(&cluster, &[]).await;
    let mut silent_too = raw(&cluster, &[b"h2"]).await;
    let mut slow = raw(&cluster, &[]).await;
    slow.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\nx-more")
        .await
        .unwrap();
    is_well(&cluster).await;
    for stream in [&mut silent, &mut silent_too, &mut slow] {
        until_closed(stream).await;
    }
    is_well(&cluster).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        body: SHORT,
        ..Limits::default()
    };
    let (cluster, _) = with(directory.path(), limits).await;
    let mut stream = raw(&cluster, &[]).await;
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    is_well(&cluster).await;
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(
        answer.contains("Timeout: request did not complete within the allotted timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn bodies_that_do_not_come_make_room_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        bodies: 2,
        ..Limits::default()
    };
    let (cluster, _) = with(directory.path(), limits).await;
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut stream = raw(&cluster, &[]).await;
        let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{");
        stream.write_all(head.as_bytes()).await.unwrap();
        stuck.push(stream);
        is_well(&cluster).await;
    }
    assert_eq!(cluster.post(CONFIG_MAPS, config_map("a")).await.0, 201);
    let answer = until_closed(&mut stuck[0]).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    assert!(
        answer.contains("Too many requests, please try again later."),
        "{answer}"
    );
}

#[tokio::test]
async fn a_watcher_that_takes_nothing_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        stuck: SHORT,
        ..Limits::default()
    };
    let (cluster, bounds) = with(directory.path(), limits).await;
    for count in 0..16 {
        let object =
            json!({"metadata": {"name": format!("large-{count}")}, "data": {"a": "x".repeat(1 << 20)}});
        assert_eq!(cluster.post(CONFIG_MAPS, object).await.0, 201);
    }
    let mut stream = raw(&cluster, &[]).await;
    let head = format!("GET {CONFIG_MAPS}?watch=true HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // It begins to read, and then takes nothing more.
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    is_well(&cluster).await;
    let mut count = bounds.connections.count();
    let cut = clock::timeout(PATIENCE, count.wait_for(|count| *count == 0)).await;
    cut.expect("it is cut").unwrap();
    let rest = until_closed(&mut stream).await;
    assert!(rest.len() < 16 << 20, "not all of it was waiting somewhere");
}

#[tokio::test]
async fn a_watch_ends_with_its_client_and_beyond_the_bound_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let (cluster, _) = with(directory.path(), limits).await;
    let mut watching = raw(&cluster, &[]).await;
    let path = format!("{CONFIG_MAPS}?watch=true");
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    watching.write_all(head.as_bytes()).await.unwrap();
    watching.read_exact(&mut [0; 15]).await.unwrap();
    let refused = cluster.send(plain(&path), Some(&cluster.owner)).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    is_well(&cluster).await;
    // Half-closed: it will send nothing more, and that is the end for HTTP/1.1 as for the real server.
    watching.shutdown().await.unwrap();
    until_closed(&mut watching).await;
    let again = cluster.send(plain(&path), Some(&cluster.owner)).await;
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    for bomb in [
        format!("x-large: {}\r\n", "x".repeat(70 << 10)),
        "x-many: 1\r\n".repeat(200),
    ] {
        let mut stream = raw(&cluster, &[]).await;
        let head = format!("GET /version HTTP/1.1\r\nhost: localhost\r\n{bomb}\r\n");
        // The answer may come before all of it is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let mut sender = http2_client(&cluster).await;
    let mut request = plain("/version");
    let value = "x".repeat(70 << 10).parse().unwrap();
    request.headers_mut().insert("x-large", value);
    let refused = sender.send_request(on_http2(request)).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431));
    is_well(&cluster).await;
}

#[tokio::test]
async fn selectors_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let many = (0..2000)
        .map(|count| format!("!a{count}"))
        .collect::<Vec<_>>()
        .join(",");
    let (code, status) = cluster.get(&format!("{CONFIG_MAPS}?labelSelector={many}")).await;
    assert_eq!(code, 400);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("2000 requirements, more than 1024"),
        "{status}"
    );
    let values = (0..5000)
        .map(|count| format!("v{count}"))
        .collect::<Vec<_>>()
        .join(",");
    let path = format!("{CONFIG_MAPS}?labelSelector=a%20in%20({values})");
    assert_eq!(cluster.get(&path).await.0, 200);
}

#[tokio::test]
async fn objects_that_are_too_large_are_refused_in_the_words_of_server_and_etcd() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let of_size = |bytes: usize| json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(bytes)}});
    let (code, status) = cluster.post(CONFIG_MAPS, of_size(2 << 20)).await;
    assert_eq!(
        (code, &status["message"]),
        (500, &json!("etcdserver: request is too large"))
    );
    let (code, status) = cluster.post(CONFIG_MAPS, of_size(4 << 20)).await;
    assert_eq!(
        (code, &status["message"]),
        (413, &json!("Request entity too large: limit is 3145728"))
    );
    assert_eq!(cluster.post(CONFIG_MAPS, of_size(1 << 20)).await.0, 201);
    is_well(&cluster).await;
}

/// Sends a body as it stands.
async fn send(cluster: &Cluster, method: Method, path: &str, media_type: &str, body: String) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", media_type)
        .body(Full::from(body))
        .unwrap();
    clock::timeout(PATIENCE, cluster.answer(request)).await.unwrap()
}

#[tokio::test]
async fn documents_that_grow_when_they_are_read_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n";
    let mut laughs = format!("{head}a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (next, last) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip("abcdefgh".chars())
    {
        let list = vec![format!("*{last}"); 10].join(", ");
        laughs.push_str(&format!("{next}: &{next} [{list}]\n"));
    }
    let deep_yaml = format!("{head}data: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_json = format!("{{\"data\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for (media_type, body) in [
        ("application/yaml", laughs.clone()),
        ("application/yaml", deep_yaml.clone()),
        ("application/json", deep_json.clone()),
    ] {
        let (code, status) = send(&cluster, Method::POST, CONFIG_MAPS, media_type, body).await;
        assert_eq!(code, 400, "{media_type}: {status}");
    }
    cluster.post(CONFIG_MAPS, config_map("a")).await;
    let one = format!("{CONFIG_MAPS}/a?fieldManager=test");
    for (media_type, body) in [
        ("application/apply-patch+yaml", laughs),
        ("application/apply-patch+yaml", deep_yaml),
        ("application/merge-patch+json", deep_json.clone()),
        ("application/strategic-merge-patch+json", deep_json),
    ] {
        let (code, status) = send(&cluster, Method::PATCH, &one, media_type, body).await;
        assert_eq!(code, 400, "{media_type}: {status}");
    }
    is_well(&cluster).await;
}

#[tokio::test]
async fn json_patches_are_bounded_in_operations_and_in_what_they_copy() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    cluster.post(CONFIG_MAPS, config_map("a")).await;
    let one = format!("{CONFIG_MAPS}/a");
    let media_type = "application/json-patch+json";
    let labels = |count: usize| {
        let add = json!({"op": "add", "path": "/metadata/labels", "value": {"a": "b"}});
        Value::Array(vec![add; count]).to_string()
    };
    assert_eq!(
        send(&cluster, Method::PATCH, &one, media_type, labels(10_000))
            .await
            .0,
        200
    );
    let (code, status) = send(&cluster, Method::PATCH, &one, media_type, labels(10_001)).await;
    assert_eq!(
        (code, &status["message"]),
        (
            413,
            &json!(
                "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
            )
        )
    );
    // Each copy of a whole into a part of itself doubles it.
    let large = json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "x".repeat(1000)}});
    let doubles = (0..60).map(|count| {
        json!({"op": "copy", "from": "/metadata/annotations", "path": format!("/metadata/annotations/{count}")})
    });
    let bomb: Value = std::iter::once(large).chain(doubles).collect();
    let (code, status) = send(&cluster, Method::PATCH, &one, media_type, bomb.to_string()).await;
    assert_eq!(code, 422, "{status}");
    is_well(&cluster).await;
}

async fn http2_client(cluster: &Cluster) -> http2::SendRequest<Full<Bytes>> {
    let stream = raw(cluster, &[b"h2"]).await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    cluster.tasks.spawn("test connection", async move {
        let _ = connection.await;
    });
    sender
}

fn on_http2(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let path = request.uri().to_string();
    *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
    request.headers_mut().remove("host");
    request
}

/// Memory of this process that is in use, in bytes.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn ten_thousand_watches_cost_little_and_all_hear_of_a_change() {
    const CONNECTIONS: usize = 50;
    const EACH: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(directory.path()).await;
    let (_, list) = cluster.get(CONFIG_MAPS).await;
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}");
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(http2_client(&cluster).await);
    }
    let before = memory();
    let mut watches: Vec<Incoming> = Vec::new();
    for sender in &mut connections {
        for _ in 0..EACH {
            let answer = sender.send_request(on_http2(plain(&path))).await.unwrap();
            assert_eq!(answer.status(), 200);
            watches.push(answer.into_body());
        }
    }
    let each = memory().saturating_sub(before) / watches.len();
    println!(
        "{} watches, {each} bytes each, client and server together",
        watches.len()
    );
    is_well(&cluster).await;
    cluster.post(CONFIG_MAPS, config_map("news")).await;
    for watch in &mut watches {
        let frame = clock::timeout(PATIENCE, watch.frame()).await.unwrap();
        let data = frame.unwrap().unwrap().into_data().unwrap();
        assert!(data.starts_with(b"{\"type\":\"ADDED\""));
    }
    assert!(each < 32 << 10, "{each} bytes for a watch");
}
