//! A proxy from a bootstrap file, and the server of discovery that the file names: a good one, one that comes and goes,
//! and those that send what nobody can use. What served goes on serving.

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::{Running, Tasks, clock};
use snapshot::route::Forward;
use snapshot::{Action, Direction, Listener, Snapshot, Weighted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;
use xds::message::{Body, Resource};
use xds::transport::{DeltaService, Session};
use xds::{Dialect, Encoded, Kind, Server};

use super::world::{Backend, PATIENCE, cluster, host, snapshot};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// What the server does with the streams of a proxy.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Tells what there is, and every change.
    Faithful,
    /// The same, and hangs up after each message.
    Flapping,
    /// The same, but never a word about endpoints that are not there.
    Forgetful,
    /// The same, with something in each message that nobody can read.
    Spoiling,
}

/// A server of discovery.
struct Controller {
    address: SocketAddr,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// What proxies refused, in their words.
    refusals: mpsc::Receiver<String>,
    streams: watch::Receiver<usize>,
    /// Names that proxies asked for.
    asked: watch::Receiver<Vec<String>>,
    _tasks: Tasks,
}

impl Controller {
    async fn start(snapshot: Snapshot, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sessions, mut taken) = mpsc::channel::<Session>(4);
        let (snapshots, current) = watch::channel(Arc::new(snapshot));
        let (refuse, refusals) = mpsc::channel(64);
        let (count, streams) = watch::channel(0);
        let (ask, asked) = watch::channel(Vec::new());
        let tasks = Tasks::new();
        tasks.spawn("controller", async move {
            let server = tonic::transport::Server::builder().add_service(DeltaService::new(sessions));
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        let owner = tasks.clone();
        tasks.spawn("sessions", async move {
            while let Some(session) = taken.recv().await {
                count.send_modify(|count| *count += 1);
                let tell = (refuse.clone(), ask.clone());
                owner.spawn("session", serve(session, current.clone(), manner, tell));
            }
        });
        Self {
            address,
            snapshots,
            refusals,
            streams,
            asked,
            _tasks: tasks,
        }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    async fn has_asked_for(&mut self, name: &str) {
        let asked = self
            .asked
            .wait_for(|names| names.iter().any(|known| known == name));
        clock::timeout(PATIENCE, asked).await.unwrap().unwrap();
    }

    async fn has_streams(&mut self, number: usize) {
        let reached = self.streams.wait_for(|streams| *streams >= number);
        clock::timeout(PATIENCE, reached).await.unwrap().unwrap();
    }
}

async fn serve(
    mut session: Session,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    manner: Manner,
    (refusals, asked): (mpsc::Sender<String>, watch::Sender<Vec<String>>),
) {
    let mut server = Server::new();
    let encode = |snapshot: Arc<Snapshot>| Arc::new(Encoded::new(snapshot, Dialect::Envoy, None));
    server.update(encode(snapshots.borrow_and_update().clone()));
    loop {
        tokio::select! {
            request = session.requests.message() => match request {
                Ok(Some(request)) => {
                    if let Some(error) = &request.error {
                        let _ = refusals.send(error.message.clone()).await;
                    }
                    server.request(&request);
                    asked.send_modify(|names| names.extend(request.subscribe));
                }
                _ => return,
            },
            _ = snapshots.changed() => server.update(encode(snapshots.borrow_and_update().clone())),
        }
        while let Some(mut response) = server.poll() {
            if manner == Manner::Forgetful && !response.removed.is_empty() {
                continue;
            }
            if manner == Manner::Spoiling {
                let kind = Kind::from_type_url(&response.type_url).unwrap();
                response.resources.push(garbage(kind));
            }
            if session.responses.send(Ok(response)).await.is_err() || manner == Manner::Flapping {
                return;
            }
        }
    }
}

/// A port that nobody else gets while this is there. The proxy's sockets may share it, because they share with each other.
struct Reserved(socket2::Socket);

impl Reserved {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }

    /// The body of an answer; none when there is nobody, or somebody who is just leaving.
    async fn call(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.address()).await.ok()?;
        stream.write_all(GET.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some(body.to_owned())
    }

    /// Calls until that comes back.
    async fn says(&self, body: &str) {
        let said = async { while self.call().await.is_none_or(|said| said != body) {} };
        let waited = clock::timeout(PATIENCE, said).await;
        assert!(waited.is_ok(), "{body:?} never came");
    }
}

/// One listener of the file's own, and whatever a server of discovery has.
async fn start(own: &Reserved, backend: &Backend, discovery: u16, form: &str) -> Running {
    let text = format!(
        r"
static_resources:
  listeners:
  - name: own
    address: {{socket_address: {{address: 127.0.0.1, port_value: {own}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: own
          route_config:
            virtual_hosts:
            - {{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: own}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: own
    load_assignment: {{endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {backend}}}}}}}}}]}}]}}
  - name: discovery
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment: {{endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {discovery}}}}}}}}}]}}]}}
dynamic_resources:
  ads_config: {{api_type: {form}, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: discovery}}}}]}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
",
        own = own.address().port(),
        backend = backend.address.port(),
    );
    let bootstrap = xds::bootstrap::decode(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    // Of several workers, so that sockets share their port.
    crate::start_bootstrap(bootstrap, 2).await.unwrap()
}

/// A listener at that address whose routes lead to a cluster with that member; all four kinds of resources.
fn serving(at: &Reserved, member: SocketAddr) -> Snapshot {
    let forward = Forward::to(vec![Weighted::new("a".into(), 1)]);
    let whole = snapshot(
        vec![host("*", Action::Forward(forward))],
        vec![(cluster("a"), vec![member])],
    );
    let chain = whole.listeners.get("0.0.0.0_80").unwrap().default_chain.clone();
    let listener = Listener {
        bind: true,
        direct: true,
        default_chain: chain,
        ..Listener::new("told".into(), at.address(), Direction::Outbound)
    };
    Snapshot {
        listeners: [listener].into_iter().collect(),
        ..whole
    }
}

fn garbage(kind: Kind) -> Resource {
    Resource {
        version: "1".into(),
        name: "garbage".into(),
        body: Some(Body {
            type_url: kind.type_url().into(),
            value: b"\xff\xff\xff\xff\xff nothing".as_slice().into(),
        }),
    }
}

#[tokio::test]
async fn a_file_names_a_server_of_discovery_and_what_it_says_is_served_beside_the_files_own() {
    for form in ["DELTA_GRPC", "GRPC"] {
        let (own, told) = (Reserved::new(), Reserved::new());
        let (backend, other) = (Backend::saying("own").await, Backend::saying("told").await);
        let controller = Controller::start(serving(&told, other.address), Manner::Faithful).await;
        let running = start(&own, &backend, controller.port(), form).await;
        own.says("own").await;
        told.says("told").await;
        // Endpoints change, then the listener goes.
        let changed = Backend::saying("changed").await;
        controller
            .snapshots
            .send_replace(Arc::new(serving(&told, changed.address)));
        told.says("changed").await;
        controller.snapshots.send_replace(Arc::default());
        let gone = async { while told.call().await.is_some() {} };
        clock::timeout(PATIENCE, gone).await.unwrap();
        own.says("own").await;
        drop(running);
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_after_each_message_costs_no_request_and_is_understood_in_the_end() {
    let (own, told) = (Reserved::new(), Reserved::new());
    let (backend, other) = (Backend::saying("own").await, Backend::saying("told").await);
    let mut controller = Controller::start(serving(&told, other.address), Manner::Flapping).await;
    let _running = start(&own, &backend, controller.port(), "DELTA_GRPC").await;
    told.says("told").await;
    let changed = Backend::saying("changed").await;
    controller
        .snapshots
        .send_replace(Arc::new(serving(&told, changed.address)));
    let understood = async {
        loop {
            assert_eq!(own.call().await.unwrap(), "own");
            match told.call().await.unwrap().as_str() {
                "changed" => return,
                body => assert_eq!(body, "told"),
            }
        }
    };
    clock::timeout(PATIENCE, understood).await.unwrap();
    controller.has_streams(4).await;
}

#[tokio::test]
async fn resources_that_nobody_can_read_are_refused_by_name_and_the_rest_is_served() {
    for form in ["DELTA_GRPC", "GRPC"] {
        let (own, told) = (Reserved::new(), Reserved::new());
        let (backend, other) = (Backend::saying("own").await, Backend::saying("told").await);
        let mut controller = Controller::start(serving(&told, other.address), Manner::Spoiling).await;
        let _running = start(&own, &backend, controller.port(), form).await;
        told.says("told").await;
        own.says("own").await;
        let refused = clock::timeout(PATIENCE, controller.refusals.recv()).await;
        let words = refused.unwrap().unwrap();
        assert!(words.starts_with("CDS ") && words.contains("decode"), "{words}");
    }
}

#[tokio::test]
async fn half_a_snapshot_leaves_the_last_whole_one_in_force() {
    let (own, told) = (Reserved::new(), Reserved::new());
    let (backend, other) = (Backend::saying("own").await, Backend::saying("told").await);
    let mut controller = Controller::start(serving(&told, other.address), Manner::Forgetful).await;
    let _running = start(&own, &backend, controller.port(), "DELTA_GRPC").await;
    told.says("told").await;
    // The cluster is another one, and its endpoints never come.
    let mut half = serving(&told, other.address);
    half.clusters.insert(cluster("b"));
    half.routes.insert(snapshot::RouteTable {
        match_ports: false,
        name: "80".into(),
        hosts: vec![host(
            "*",
            Action::Forward(Forward::to(vec![Weighted::new("b".into(), 1)])),
        )],
    });
    controller.snapshots.send_replace(Arc::new(half));
    // The proxy has asked for them: it knows of the half.
    controller.has_asked_for("b").await;
    for _ in 0..50 {
        assert_eq!(told.call().await.unwrap(), "told");
    }
}

#[tokio::test]
async fn a_server_that_is_none_leaves_the_files_own_resources_serving() {
    let own = Reserved::new();
    let backend = Backend::saying("own").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = Tasks::new();
    let (hear, mut heard) = watch::channel(0);
    tasks.spawn("no server", async move {
        // Each connection gets another kind of nonsense.
        let nonsense: [&[u8]; 4] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\0\0\x12\x04\0\0\0\0\0garbage",
            &[0xff; 4096],
            b"",
        ];
        for bytes in nonsense.iter().cycle() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(bytes).await;
            hear.send_modify(|count| *count += 1);
        }
    });
    let _running = start(&own, &backend, port, "DELTA_GRPC").await;
    own.says("own").await;
    let all = heard.wait_for(|count| *count >= 4);
    clock::timeout(PATIENCE, all).await.unwrap().unwrap();
    assert_eq!(own.call().await.unwrap(), "own");
}
