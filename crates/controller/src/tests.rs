//! The whole controller against an API server that is a function.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use daemon::clock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::{Listen, Settings, fake_api, start_with};

/// An API server with nothing in it, in which everything can be created.
fn empty_cluster() -> kube::Client {
    fake_api::client(|method, path, body| match method.as_str() {
        "GET" if path.contains('?') => (200, json!({"metadata": {"resourceVersion": "1"}, "items": []})),
        "GET" => fake_api::failure(404, "NotFound", "not found"),
        _ => (201, body),
    })
}

fn settings() -> Settings {
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    Settings {
        listen: Listen {
            http: any,
            webhook: any,
            xds: any,
            monitoring: any,
        },
        ..Settings::default()
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_starts_shows_its_metrics_and_stops() {
    let running = start_with(settings(), empty_cluster()).await.unwrap();
    let metrics = get(running.addresses["monitoring"], "/metrics").await;
    assert!(metrics.contains("istio_build{component=\"pilot\""), "{metrics}");
    assert!(
        get(running.addresses["http"], "/ready")
            .await
            .starts_with("HTTP/1.1 ")
    );
    let tasks = running.tasks.clone();
    running.stop(Duration::from_secs(5)).await;
    assert_eq!(tasks.count(), 0);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings();
    settings.listen.webhook = taken.local_addr().unwrap();
    let started = clock::timeout(Duration::from_secs(30), start_with(settings, empty_cluster()))
        .await
        .unwrap();
    let error = format!("{:#}", started.err().unwrap());
    assert!(
        error.contains(&format!("cannot listen on {}", taken.local_addr().unwrap())),
        "{error}"
    );
}

#[tokio::test]
async fn discovery_is_served_over_tls_only() {
    let running = start_with(settings(), empty_cluster()).await.unwrap();
    // The root that the controller made is in nobody's hands here, so the handshake must fail on trust, not on TLS.
    let other = identity::Authority::generate("other", Duration::from_secs(60), clock::wall()).unwrap();
    let tls = identity::tls::client_config(other.root_pem(), None, &[b"h2"]).unwrap();
    let stream = TcpStream::connect(running.addresses["xds"]).await.unwrap();
    let name = "istiod.istio-system.svc".try_into().unwrap();
    let error = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    running.stop(Duration::from_secs(5)).await;
}

/// A cluster with one service, that believes every token and keeps the certificate of the controller's authority.
fn cluster_with_a_service(authority: Arc<Mutex<Option<String>>>) -> kube::Client {
    let service = json!({
        "metadata": {"name": "backend", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 9090}]},
    });
    fake_api::client(move |method, path, body| {
        if body["metadata"]["name"] == "istio-ca-secret" {
            let encoded = body["data"]["ca-cert.pem"].as_str().unwrap();
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
            *authority.lock().unwrap() = Some(String::from_utf8(decoded).unwrap());
        }
        let user = json!({"username": "system:serviceaccount:shop:default"});
        let accepted = json!({"authenticated": true, "audiences": ["istio-ca"], "user": user});
        match method.as_str() {
            "GET" if path.contains("watch=true") => (200, json!(null)),
            "GET" if path.starts_with("/api/v1/services?") => (
                200,
                json!({"metadata": {"resourceVersion": "1"}, "items": [service]}),
            ),
            "GET" if path.contains('?') => (200, json!({"metadata": {"resourceVersion": "1"}, "items": []})),
            "GET" => fake_api::failure(404, "NotFound", "not found"),
            "POST" if path.contains("tokenreviews") => {
                (201, json!({"metadata": {}, "spec": {}, "status": accepted}))
            }
            _ => (201, body),
        }
    })
}

#[tokio::test]
async fn a_proxy_with_a_token_gets_its_snapshot_over_tls() {
    let started = Started::new().await;
    let (running, proxy) = (&started.running, started.caller(true));
    let (snapshots, mut received) = watch::channel(None);
    let (events, _told) = mpsc::channel(16);
    running
        .tasks
        .spawn("proxy", xds::transport::follow(proxy, snapshots, events));
    let snapshot = clock::timeout(Duration::from_secs(20), received.wait_for(Option::is_some)).await;
    let snapshot = snapshot
        .expect("a snapshot comes in time")
        .unwrap()
        .clone()
        .unwrap();
    let cluster = "outbound|9090||backend.shop.svc.cluster.local";
    assert!(snapshot.clusters.get(cluster).is_some(), "{snapshot:?}");
    let sync = get(running.addresses["http"], "/debug/syncz").await;
    assert!(sync.contains("\"proxy\":\"client-0.shop\""), "{sync}");
    started.running.stop(Duration::from_secs(5)).await;
}

/// A controller, and what its proxies mount.
struct Started {
    running: daemon::Running,
    directory: tempfile::TempDir,
}

impl Started {
    async fn new() -> Self {
        let authority = Arc::new(Mutex::new(None));
        let client = cluster_with_a_service(authority.clone());
        let running = start_with(settings(), client).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root = authority
            .lock()
            .unwrap()
            .clone()
            .expect("the controller stored its authority");
        std::fs::write(directory.path().join("root-cert.pem"), root).unwrap();
        std::fs::write(directory.path().join("token"), "a token").unwrap();
        Self { running, directory }
    }

    fn caller(&self, with_token: bool) -> xds::transport::Settings {
        let path = |name: &str| self.directory.path().join(name);
        xds::transport::Settings {
            mark: None,
            address: self.running.addresses["xds"].to_string(),
            server_name: "istiod.istio-system.svc".into(),
            trust: Some(path("root-cert.pem").into()),
            token: with_token.then(|| path("token")),
            whole: false,
            node: xds::Node {
                id: "sidecar~10.0.0.7~client-0.shop~shop.svc.cluster.local".into(),
                agent: xds::Node::AMIME.into(),
                ..xds::Node::default()
            },
        }
    }
}

#[tokio::test]
async fn a_workload_with_a_token_gets_a_certificate_for_itself() {
    let started = Started::new().await;
    let key = identity::PrivateKey::generate().unwrap();
    let request = || xds::transport::certificates::CertificateRequest {
        csr: key
            .request(&["spiffe://cluster.local/ns/other/sa/other"])
            .unwrap(),
        validity_duration: 600,
        metadata: None,
    };
    let asked = async {
        loop {
            match xds::transport::certificates::create(&started.caller(true), request()).await {
                Ok(chain) => break chain,
                Err(early) => assert!(early.to_string().contains("not read yet"), "{early}"),
            }
        }
    };
    let chain = clock::timeout(Duration::from_secs(20), asked).await.unwrap();
    let keypair = identity::Keypair::with_key(&chain[0], key.clone()).unwrap();
    let facts = keypair.facts().unwrap();
    assert_eq!(facts.uris, ["spiffe://cluster.local/ns/shop/sa/default"]);
    let root = std::fs::read_to_string(started.directory.path().join("root-cert.pem")).unwrap();
    assert_eq!(chain.last(), Some(&root));

    let refused = xds::transport::certificates::create(&started.caller(false), request())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("request authenticate failure"),
        "{refused}"
    );
    started.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_proxy_is_told_whom_to_believe_over_its_stream() {
    let started = Started::new().await;
    let (snapshots, _received) = watch::channel(None);
    let (trusted, mut told) = watch::channel(None);
    let (events, _told) = mpsc::channel(16);
    let believe = Box::new(move |told| drop(trusted.send_replace(Some(told))));
    let follow = xds::transport::follow_trusting(started.caller(true), snapshots, believe, events);
    started.running.tasks.spawn("proxy", follow);
    let told = clock::timeout(Duration::from_secs(20), told.wait_for(Option::is_some)).await;
    let told = told.expect("roots come in time").unwrap().clone().unwrap();
    let root = std::fs::read_to_string(started.directory.path().join("root-cert.pem")).unwrap();
    assert_eq!(told.roots.pem(), root);
    started.running.stop(Duration::from_secs(5)).await;
}
