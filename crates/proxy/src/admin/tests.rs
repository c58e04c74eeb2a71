//! The pages, asked over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use snapshot::{ClusterName, Endpoints, Host, LocalityEndpoints};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn snapshot() -> Snapshot {
    let name = ClusterName::outbound(9090, "", &Host::from("backend.shop.svc.cluster.local"));
    let cluster = snapshot::Cluster {
        name: name.clone(),
        discovery: Discovery::Endpoints,
        load_balancing: snapshot::LoadBalancing::default(),
        http: snapshot::cluster::UpstreamHttp::default(),
        connect_timeout: Duration::from_secs(10),
        circuit_breaker: snapshot::CircuitBreaker::default(),
        source_address: None,
        service: None,
        origin: None,
    };
    let endpoint = Endpoint {
        address: "10.244.0.9:8080".parse().unwrap(),
        weight: 1,
        health: Health::Draining,
        workload: snapshot::endpoint::Workload::default(),
    };
    let group = LocalityEndpoints { weight: 1, endpoints: vec![endpoint], ..LocalityEndpoints::default() };
    let listener = Listener {
        name: "virtualOutbound".into(),
        address: "0.0.0.0:15001".parse().unwrap(),
        bind: true,
        use_original_destination: true,
        direction: Direction::Outbound,
        detect_http: false,
        chains: Vec::new(),
        default_chain: None,
    };
    let mut snapshot = Snapshot::default();
    snapshot.clusters.insert(cluster);
    snapshot.endpoints.insert(Endpoints { cluster: name, localities: vec![group] });
    snapshot.listeners.insert(listener);
    snapshot
}

struct Trial {
    addresses: BTreeMap<&'static str, SocketAddr>,
    ready: Ready,
    quits: Arc<AtomicUsize>,
    _trigger: daemon::drain::Trigger,
}

async fn start() -> Trial {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listen = Listen { outbound: any, inbound: any, admin: any, agent: any, health: any, metrics: any };
    let (ready, quits) = (Ready::new(&[SNAPSHOT, CAPTURE]), Arc::new(AtomicUsize::new(0)));
    let (snapshot, counted) = (Arc::new(snapshot()), quits.clone());
    let view = View {
        node: Node { pod: "backend-0".to_owned(), namespace: "shop".to_owned(), ..Node::default() },
        workers: 1,
        started: clock::now(),
        ready: ready.clone(),
        metrics: Arc::new(|| Box::pin(async { "istio_build{component=\"proxy\"} 1\n".to_owned() })),
        snapshot: Arc::new(move || Some(snapshot.clone())),
        quit: Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
        drain_listeners: Arc::new(|| ()),
    };
    let sockets = Sockets::bind(&listen).await.unwrap();
    let addresses = sockets.addresses().unwrap();
    let (trigger, drain) = daemon::drain::channel();
    sockets.serve(&view, &Tasks::new(), &drain);
    Trial { addresses, ready, quits, _trigger: trigger }
}

impl Trial {
    /// Status and body.
    async fn ask(&self, server: &str, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addresses[server]).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        clock::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn health_is_bad_with_reasons_until_all_conditions_hold() {
    let trial = start().await;
    trial.ready.set(CAPTURE);
    for server in ["health", "agent"] {
        let expected = (503, "snapshot: not yet\n".to_owned());
        assert_eq!(trial.ask(server, "GET", "/healthz/ready").await, expected);
    }
    assert!(trial.ask("admin", "GET", "/ready").await.1.starts_with("PRE_INITIALIZING\n"));
    trial.ready.set(SNAPSHOT);
    assert_eq!(trial.ask("health", "GET", "/healthz/ready").await.0, 200);
    assert_eq!(trial.ask("admin", "GET", "/ready").await, (200, "LIVE\n".to_owned()));
    let info: Value = serde_json::from_str(&trial.ask("admin", "GET", "/server_info").await.1).unwrap();
    assert_eq!((&info["state"], &info["node"]["metadata"]["NAME"]), (&json!("LIVE"), &json!("backend-0")));
}

#[tokio::test]
async fn metrics_are_on_three_ports() {
    let trial = start().await;
    for server in ["metrics", "agent", "admin"] {
        let (status, body) = trial.ask(server, "GET", "/stats/prometheus").await;
        assert_eq!(status, 200);
        assert!(body.contains("istio_build{component=\"proxy\""), "{body}");
    }
}

#[tokio::test]
async fn what_the_proxy_was_told_can_be_read_back() {
    let trial = start().await;
    let dump: Snapshot = serde_json::from_str(&trial.ask("admin", "GET", "/config_dump").await.1).unwrap();
    assert_eq!(dump, snapshot());
    let clusters = trial.ask("admin", "GET", "/clusters").await.1;
    let line = "outbound|9090||backend.shop.svc.cluster.local::10.244.0.9:8080::health_flags::/eds_status_draining\n";
    assert!(clusters.contains(line), "{clusters}");
    let json: Value = serde_json::from_str(&trial.ask("admin", "GET", "/clusters?format=json").await.1).unwrap();
    let status = &json["cluster_statuses"][0]["host_statuses"][0]["health_status"]["eds_health_status"];
    assert_eq!(status, "DRAINING");
    let listeners = trial.ask("admin", "GET", "/listeners").await.1;
    assert_eq!(listeners, "virtualOutbound::0.0.0.0:15001::outbound\n");
}

#[tokio::test]
async fn the_process_ends_by_post_only_and_on_the_admin_port_only() {
    let trial = start().await;
    assert_eq!(trial.ask("admin", "GET", "/quitquitquit").await.0, 405);
    assert_eq!(trial.ask("health", "POST", "/quitquitquit").await.0, 404);
    assert_eq!(trial.quits.load(Ordering::SeqCst), 0);
    assert_eq!(trial.ask("admin", "POST", "/quitquitquit").await, (200, "OK\n".to_owned()));
    assert_eq!(trial.quits.load(Ordering::SeqCst), 1);
}
