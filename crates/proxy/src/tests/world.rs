//! A proxy with a Snapshot, backends that speak HTTP by hand, and a client that does so too.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daemon::{Running, Tasks, clock};
use snapshot::cluster::{ServiceRef, UpstreamHttp};
use snapshot::endpoint::Workload;
use snapshot::route::Forward;
use snapshot::{
    Action, Chain, ChainMatch, Cluster, ClusterName, Direction, Discovery, Endpoint, Endpoints, Handler,
    HttpHandler, Listener, LoadBalancing, LocalityEndpoints, Retry, Route, RouteSource, RouteTable, Snapshot,
    TcpHandler, VirtualHost, Weighted,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::settings::{Capture, Certificates, Discovery as Controller, Listen, Node, Probers};
use crate::{OriginalDestination, Parts, Settings, Workload as Identity};

/// Longest time that any step of a test may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A running proxy.
pub(super) struct World {
    pub(super) running: Running,
    pub(super) snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    destination: Arc<Mutex<SocketAddr>>,
}

impl World {
    pub(super) async fn start(snapshot: Snapshot) -> Self {
        Self::with_workers(snapshot, 1).await
    }

    pub(super) async fn with_workers(snapshot: Snapshot, workers: usize) -> Self {
        Self::with(snapshot, settings(workers), None).await
    }

    /// One that is somebody in a mesh.
    pub(super) async fn of(workload: Identity, snapshot: Snapshot) -> Self {
        Self::with(snapshot, settings(1), Some(workload)).await
    }

    /// One whose application a kubelet asks after.
    pub(super) async fn probing(snapshot: Snapshot, probers: Probers) -> Self {
        let settings = Settings {
            probers,
            ..settings(1)
        };
        Self::with(snapshot, settings, None).await
    }

    async fn with(snapshot: Snapshot, settings: Settings, workload: Option<Identity>) -> Self {
        let (snapshots, receiver) = watch::channel(Some(Arc::new(snapshot)));
        let destination = Arc::new(Mutex::new("10.96.0.1:80".parse().unwrap()));
        let current = destination.clone();
        let original_destination = OriginalDestination::given(move |_, _, _| Some(*current.lock().unwrap()));
        let parts = Parts {
            snapshots: receiver,
            original_destination,
            workload,
        };
        let running = crate::start_with(settings, parts).await.unwrap();
        Self {
            running,
            snapshots,
            destination,
        }
    }

    /// Where connections accepted from now on were going.
    pub(super) fn going_to(&self, destination: &str) {
        *self.destination.lock().unwrap() = destination.parse().unwrap();
    }

    pub(super) async fn connect(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.running.addresses["outbound"])
                .await
                .unwrap(),
            read: Vec::new(),
        }
    }

    pub(super) async fn connect_inbound(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.running.addresses["inbound"])
                .await
                .unwrap(),
            read: Vec::new(),
        }
    }

    /// One request on its own connection.
    pub(super) async fn call(&self, request: &str) -> Answer {
        self.connect().await.call(request).await
    }

    /// Somebody at one of the admin servers.
    pub(super) async fn connect_page(&self, server: &'static str) -> Client {
        Client {
            stream: TcpStream::connect(self.running.addresses[server]).await.unwrap(),
            read: Vec::new(),
        }
    }

    /// A page of the admin servers.
    pub(super) async fn page(&self, server: &'static str, path: &str) -> Answer {
        let mut client = self.connect_page(server).await;
        client
            .call(&format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await
    }

    /// The value of the sample whose line has all these parts.
    pub(super) async fn metric(&self, name: &str, parts: &[&str]) -> Option<f64> {
        let page = self.page("metrics", "/stats/prometheus").await.body;
        let fits = |line: &&str| {
            line.starts_with(&format!("{name}{{")) && parts.iter().all(|part| line.contains(part))
        };
        page.lines()
            .find(fits)
            .and_then(|line| line.rsplit_once(' '))
            .map(|(_, value)| value.parse().unwrap())
    }
}

fn settings(workers: usize) -> Settings {
    let free = "127.0.0.1:0".parse().unwrap();
    Settings {
        node: Node {
            workload: "client".into(),
            namespace: "shop".into(),
            ..Node::default()
        },
        discovery: Controller {
            address: String::new(),
            ca_address: String::new(),
            token: "/".into(),
            root: "/".into(),
        },
        certificates: Certificates::default(),
        listen: Listen {
            outbound: free,
            inbound: free,
            admin: free,
            agent: free,
            health: free,
            metrics: free,
        },
        capture: Capture::default(),
        workers,
        drain: Duration::from_secs(5),
        probers: Probers::default(),
    }
}

/// A client that writes and reads bytes.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    /// As it came over the wire.
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

impl Client {
    pub(super) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    pub(super) async fn call(&mut self, request: &str) -> Answer {
        self.send(request).await;
        let answer = clock::timeout(PATIENCE, self.answer(request.starts_with("HEAD"))).await;
        answer.unwrap_or_else(|_| {
            panic!(
                "no answer in time; so far {}",
                String::from_utf8_lossy(&self.read)
            )
        })
    }

    /// Reads one response.
    pub(super) async fn answer(&mut self, head_only: bool) -> Answer {
        let head = self.until("\r\n\r\n").await.expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        if head_only || (100..200).contains(&status) || matches!(status, 204 | 304) {
            return answer;
        }
        answer.body = match (
            answer.header("content-length"),
            answer.header("transfer-encoding"),
        ) {
            (Some(length), _) => self.exactly(length.parse().unwrap()).await,
            (None, Some(_)) => self.chunks().await,
            (None, None) => self.rest().await,
        };
        answer
    }

    async fn chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let line = self.until("\r\n").await.expect("a chunk size");
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                loop {
                    let line = self.until("\r\n").await.expect("the end of trailers");
                    if line == "\r\n" {
                        return body;
                    }
                    body.push_str(&format!("|{}", line.trim()));
                }
            }
            body.push_str(&self.exactly(size).await);
            self.exactly(2).await;
        }
    }

    /// Everything up to and with `end`; `None` when the connection ends before.
    pub(super) async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self
                .read
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(position) = found {
                return Some(self.take(position + end.len()));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub(super) async fn exactly(&mut self, length: usize) -> String {
        while self.read.len() < length {
            assert!(
                self.more().await,
                "closed early, has {}",
                String::from_utf8_lossy(&self.read)
            );
        }
        self.take(length)
    }

    /// Everything until the connection ends.
    pub(super) async fn rest(&mut self) -> String {
        while self.more().await {}
        self.take(self.read.len())
    }

    async fn more(&mut self) -> bool {
        let read = clock::timeout(PATIENCE, self.stream.read_buf(&mut self.read))
            .await
            .expect("bytes in time");
        matches!(read, Ok(read) if read > 0)
    }

    fn take(&mut self, length: usize) -> String {
        String::from_utf8(self.read.drain(..length).collect()).unwrap()
    }
}

/// A server that answers each request with what `answer` makes of its text.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    open: watch::Sender<usize>,
    tasks: Tasks,
}

impl Backend {
    pub(super) async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
            open: watch::channel(0).0,
            tasks: Tasks::new(),
        };
        let (answer, owner) = (Arc::new(answer), backend.tasks.clone());
        let (connections, requests) = (backend.connections.clone(), backend.requests.clone());
        let open = backend.open.clone();
        backend.tasks.spawn("backend", async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, requests) = (answer.clone(), requests.clone());
                let open = Open::new(open.clone());
                owner.spawn("backend connection", async move {
                    let _open = open;
                    let mut client = Client {
                        stream,
                        read: Vec::new(),
                    };
                    while let Some(request) = request(&mut client).await {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let text = answer(&request);
                        if client.stream.write_all(text.as_bytes()).await.is_err()
                            || text.contains("\r\nconnection: close")
                        {
                            return;
                        }
                        if text.is_empty() {
                            return;
                        }
                    }
                });
            }
        });
        backend
    }

    /// Answers 200 with a fixed body.
    pub(super) async fn saying(body: &'static str) -> Self {
        Self::start(move |_| ok(body)).await
    }

    /// Waits until that many connections are open.
    pub(super) async fn until_open(&self, count: usize) {
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open == count).await.unwrap();
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Counts a connection while it is open.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|open| *open += 1);
        Self(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

async fn request(client: &mut Client) -> Option<String> {
    let head = client.until("\r\n\r\n").await?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let body = if head.contains("transfer-encoding: chunked") {
        client.chunks().await
    } else {
        client
            .exactly(length.map_or(0, |length| length.parse().unwrap()))
            .await
    };
    Some(head + &body)
}

pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An address on loopback where nobody listens, nor will: it stays taken for as long as the tests run.
pub(super) async fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}

pub(super) fn cluster(name: &str) -> Cluster {
    Cluster {
        load_balancing: LoadBalancing::RoundRobin,
        connect_timeout: Duration::from_secs(2),
        service: Some(ServiceRef {
            host: format!("{name}.shop.svc"),
            name: name.into(),
            namespace: "shop".into(),
        }),
        ..Cluster::new(name.into(), Discovery::Endpoints)
    }
}

pub(super) fn endpoints(cluster: &str, addresses: &[SocketAddr]) -> Endpoints {
    let endpoint = |address: &SocketAddr| Endpoint {
        workload: Workload {
            name: format!("{cluster}-0"),
            ..Workload::default()
        },
        ..Endpoint::new(*address)
    };
    Endpoints {
        cluster: cluster.into(),
        localities: vec![LocalityEndpoints {
            weight: 1,
            endpoints: addresses.iter().map(endpoint).collect(),
            ..LocalityEndpoints::default()
        }],
    }
}

pub(super) fn forward(clusters: &[(&str, u32)]) -> Forward {
    let weighted = |(name, weight): &(&str, u32)| Weighted::new(ClusterName::from(*name), *weight);
    Forward {
        retry: Some(Retry::default()),
        ..Forward::to(clusters.iter().map(weighted).collect())
    }
}

pub(super) fn host(domain: &str, action: Action) -> VirtualHost {
    VirtualHost {
        name: domain.to_owned(),
        without_attempt_count: false,
        domains: vec![domain.to_owned()],
        routes: vec![Route {
            name: "default".into(),
            ..Route::new(action)
        }],
    }
}

/// The listeners of [`listeners`], the table `80` with these hosts, and a cluster for what passes through.
pub(super) fn snapshot(hosts: Vec<VirtualHost>, clusters: Vec<(Cluster, Vec<SocketAddr>)>) -> Snapshot {
    let mut snapshot = Snapshot {
        listeners: listeners().into_iter().collect(),
        ..Snapshot::default()
    };
    snapshot.routes.insert(RouteTable {
        match_ports: false,
        name: "80".into(),
        hosts,
    });
    for (cluster, addresses) in clusters {
        snapshot
            .endpoints
            .insert(endpoints(cluster.name.as_str(), &addresses));
        snapshot.clusters.insert(cluster);
    }
    snapshot.clusters.insert(Cluster {
        discovery: Discovery::OriginalDestination,
        http: UpstreamHttp::Downstream,
        service: None,
        ..cluster(ClusterName::PASSTHROUGH)
    });
    snapshot
}

/// Port 80 is HTTP, 5432 is opaque, 7000 is detected; the rest passes through. Inbound is HTTP.
fn listeners() -> [Listener; 5] {
    let chain = |name: &str, handler| Chain {
        name: name.into(),
        matches: ChainMatch::default(),
        tls: None,
        filters: Vec::new(),
        handler,
    };
    let listener = |name: &str, port: u16, default: Chain| Listener {
        bind: name.starts_with("virtual"),
        use_original_destination: name == "virtualOutbound",
        default_chain: Some(default),
        ..Listener::new(name.into(), ([0, 0, 0, 0], port).into(), Direction::Outbound)
    };
    let mut detecting = listener("0.0.0.0_7000", 7000, chain("other", tcp("a")));
    detecting.detect_http = true;
    detecting.chains.push(Chain {
        matches: ChainMatch {
            application_protocols: ["http/1.0", "http/1.1", "h2c"].map(String::from).to_vec(),
            ..ChainMatch::default()
        },
        ..chain("detected", http())
    });
    [
        listener("0.0.0.0_80", 80, chain("http", http())),
        listener("0.0.0.0_5432", 5432, chain("tcp", tcp("a"))),
        detecting,
        listener(
            "virtualOutbound",
            15001,
            chain("rest", tcp(ClusterName::PASSTHROUGH)),
        ),
        Listener {
            direction: Direction::Inbound,
            ..listener("virtualInbound", 15006, chain("in", http()))
        },
    ]
}

fn http() -> Handler {
    let routes = RouteSource::Named("80".into());
    Handler::Http(HttpHandler::new("outbound".into(), routes, "envoy"))
}

fn tcp(cluster: &str) -> Handler {
    Handler::Tcp(TcpHandler::to(cluster.into()))
}

/// Everything goes to the cluster `a` with these endpoints.
pub(super) fn all_to(addresses: &[SocketAddr]) -> Snapshot {
    snapshot(
        vec![host("*", Action::Forward(forward(&[("a", 1)])))],
        vec![(cluster("a"), addresses.to_vec())],
    )
}
