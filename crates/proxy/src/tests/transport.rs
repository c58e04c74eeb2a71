//! What lies under the bytes towards members: TLS and PROXY protocol, for requests and for opaque streams; and the
//! choice of a chain by the server name of a ClientHello.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::{Tasks, clock};
use identity::tls::tokio_rustls::{TlsAcceptor, TlsConnector};
use identity::{Authority, Keypair};
use snapshot::route::Forward;
use snapshot::{
    Action, Chain, ChainMatch, ClientTls, Cluster, Direction, Handler, Listener, ProxyProtocol, Snapshot,
    TcpHandler, Trust, Weighted,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{Backend, PATIENCE, World, cluster, forward, host, snapshot};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

#[allow(clippy::disallowed_methods, reason = "the TLS library reads the real clock")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// An authority, with its certificate in a file.
pub(super) struct Trusted {
    pub(super) authority: Authority,
    pub(super) folder: tempfile::TempDir,
}

impl Trusted {
    pub(super) fn new() -> Self {
        let trusted = Self {
            authority: Authority::generate("test", HOUR, now()).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        trusted.write();
        trusted
    }

    fn write(&self) {
        std::fs::write(self.path(), self.authority.certificate_pem()).unwrap();
    }

    pub(super) fn path(&self) -> String {
        let path: &Path = self.folder.path();
        path.join("ca.pem").to_str().unwrap().to_owned()
    }

    pub(super) fn certificate(&self, names: &[&str]) -> Keypair {
        self.authority.issue_server(names, HOUR, now()).unwrap()
    }
}

/// A TLS server that answers each request with the server name that was asked for and the protocol that was agreed on,
/// and echoes what is no request.
struct Server {
    address: SocketAddr,
    _tasks: Tasks,
}

impl Server {
    async fn start(keypair: &Keypair) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = identity::tls::server_config(keypair, None, &[b"http/1.1"]).unwrap();
        let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
        let owner = tasks.clone();
        tasks.spawn("tls server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(config.clone());
                owner.spawn("tls connection", async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let session = stream.get_ref().1;
                    let name = session.server_name().unwrap_or("-").to_owned();
                    let protocol =
                        String::from_utf8_lossy(session.alpn_protocol().unwrap_or(b"-")).into_owned();
                    let told = super::world::ok(&name);
                    let told = told.replacen("\r\n", &format!("\r\nx-protocol: {protocol}\r\n"), 1);
                    let mut read = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut read).await {
                        let answer = match read[..length].starts_with(b"GET ") {
                            true => told.clone().into_bytes(),
                            false => read[..length].to_vec(),
                        };
                        stream.write_all(&answer).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

fn tls(trust: Trust) -> ClientTls {
    ClientTls {
        request_names_server: true,
        verify_request_host: true,
        ..ClientTls::new(trust)
    }
}

/// Everything goes to the cluster `a`, which is as `change` makes it, and has that member.
fn all_to(address: SocketAddr, change: impl FnOnce(&mut Cluster)) -> Snapshot {
    let mut changed = cluster("a");
    change(&mut changed);
    let once = Forward::to(vec![Weighted::new("a".into(), 1)]);
    snapshot(
        vec![host("*", Action::Forward(once))],
        vec![(changed, vec![address])],
    )
}

async fn call(world: &World, authority: &str) -> (u16, String) {
    let answer = world
        .call(&format!("GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n"))
        .await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn requests_are_encrypted_and_ask_for_the_server_of_their_host() {
    let trusted = Trusted::new();
    let server = Server::start(&trusted.certificate(&["a.example", "b.example"])).await;
    let trust = Trust::File(trusted.path());
    let world = World::start(all_to(server.address, |cluster| cluster.tls = Some(tls(trust)))).await;
    for _ in 0..2 {
        assert_eq!(call(&world, "a.example:80").await, (200, "a.example".into()));
        assert_eq!(
            call(&world, "b.example").await,
            (200, "b.example".into()),
            "not over the same connection"
        );
    }
    let (status, body) = call(&world, "c.example").await;
    assert_eq!(status, 503);
    assert!(
        body.ends_with("reset reason: remote connection failure"),
        "{body}"
    );
}

#[tokio::test]
async fn a_server_that_nobody_trusts_is_an_upstream_failure_unless_everybody_is_believed() {
    let (trusted, other) = (Trusted::new(), Trusted::new());
    let server = Server::start(&other.certificate(&["a.example"])).await;
    let mut doubting = cluster("a");
    doubting.tls = Some(tls(Trust::File(trusted.path())));
    let hosts = vec![host("*", Action::Forward(forward(&[("a", 1)])))];
    let world = World::start(snapshot(hosts, vec![(doubting, vec![server.address])])).await;
    let (status, body) = call(&world, "a.example").await;
    assert_eq!(status, 503);
    assert!(
        body.ends_with("retried and the latest reset reason: remote connection failure"),
        "the request reached nobody, so another try was made: {body}"
    );
    let anybody = all_to(server.address, |cluster| {
        cluster.tls = Some(ClientTls::new(Trust::Anybody))
    });
    let world = World::start(anybody).await;
    assert_eq!(
        call(&world, "a.example").await,
        (200, "-".into()),
        "no name was to be asked for"
    );
}

#[tokio::test]
async fn http_offers_its_version_unless_something_else_is_stated() {
    let trusted = Trusted::new();
    let server = Server::start(&trusted.certificate(&["a.example"])).await;
    let nothing = all_to(server.address, |cluster| {
        cluster.tls = Some(ClientTls::new(Trust::Anybody));
    });
    let answer = World::start(nothing)
        .await
        .call("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert_eq!(answer.header("x-protocol"), Some("http/1.1"));
    let other = all_to(server.address, |cluster| {
        cluster.tls = Some(ClientTls {
            application_protocols: vec!["other".to_owned()],
            ..ClientTls::new(Trust::Anybody)
        });
    });
    let (status, _) = call(&World::start(other).await, "x").await;
    assert_eq!(status, 503, "what is stated is offered, and nothing else");
}

#[tokio::test]
async fn a_server_without_tls_and_missing_files_are_upstream_failures() {
    let plain = Backend::saying("plain").await;
    let world = World::start(all_to(plain.address, |cluster| {
        cluster.tls = Some(ClientTls::new(Trust::Anybody))
    }))
    .await;
    assert_eq!(call(&world, "a.example").await.0, 503);
    let missing = Trust::File("/nowhere/ca.pem".into());
    let world = World::start(all_to(plain.address, |cluster| cluster.tls = Some(tls(missing)))).await;
    let (status, body) = call(&world, "a.example").await;
    assert_eq!(status, 503);
    assert!(
        body.ends_with("reset reason: remote connection failure"),
        "{body}"
    );
}

#[tokio::test]
async fn opaque_streams_are_encrypted_and_keep_their_half_close() {
    let trusted = Trusted::new();
    let server = Server::start(&trusted.certificate(&["a.example"])).await;
    let trust = Trust::File(trusted.path());
    let world = World::start(all_to(server.address, |cluster| cluster.tls = Some(tls(trust)))).await;
    world.going_to("10.96.0.1:5432");
    let mut client = world.connect().await;
    client.send("hello").await;
    assert_eq!(client.exactly(5).await, "hello");
    client.stream.shutdown().await.unwrap();
    assert_eq!(clock::timeout(PATIENCE, client.rest()).await.unwrap(), "");
}

#[tokio::test]
async fn the_header_of_the_proxy_protocol_names_client_and_destination() {
    let backend = Backend::start(|request| super::world::ok(request.lines().next().unwrap())).await;
    let world = World::start(all_to(backend.address, |cluster| {
        cluster.proxy_protocol = Some(ProxyProtocol::V1);
    }))
    .await;
    let mut client = world.connect().await;
    let port = client.stream.local_addr().unwrap().port();
    let answer = client.call("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(answer.body, format!("PROXY TCP4 127.0.0.1 10.96.0.1 {port} 80"));
    let again = client.call("GET /again HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(
        again.body, "GET /again HTTP/1.1",
        "the same client keeps its connection"
    );
    let other = world.call("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        other.body.starts_with("PROXY TCP4"),
        "another client has its own: {}",
        other.body
    );
}

#[tokio::test]
async fn the_server_name_of_a_client_hello_chooses_the_chain() {
    let trusted = Trusted::new();
    let server = Server::start(&trusted.certificate(&["a.example", "b.example"])).await;
    let mut snapshot = all_to(server.address, |_| {});
    let chain = |name: &str, cluster: &str| Chain {
        name: name.into(),
        matches: ChainMatch {
            server_names: vec![name.into()],
            ..ChainMatch::default()
        },
        tls: None,
        filters: Vec::new(),
        handler: Handler::Tcp(TcpHandler::to(cluster.into())),
    };
    snapshot.listeners.insert(Listener {
        detect_tls: true,
        chains: vec![chain("*.example", "a"), chain("b.example", "nowhere")],
        ..Listener::new(
            "0.0.0.0_8443".into(),
            "0.0.0.0:8443".parse().unwrap(),
            Direction::Outbound,
        )
    });
    let world = World::start(snapshot).await;
    world.going_to("10.96.0.1:8443");
    let config = identity::tls::client_config(&trusted.authority.certificate_pem(), None, &[]).unwrap();
    let connect = async |name: &'static str| {
        let stream = world.connect().await.stream;
        let connector = TlsConnector::from(Arc::clone(&config));
        let mut session = connector.connect(name.try_into().unwrap(), stream).await.ok()?;
        session.write_all(b"GET / HTTP/1.1\r\n\r\n").await.ok()?;
        let mut answer = [0; 64];
        let length = session.read(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    assert!(connect("a.example").await.unwrap().ends_with("a.example"));
    assert_eq!(connect("b.example").await, None, "its chain leads nowhere");
    assert_eq!(connect("other").await, None, "no chain, and no default");
}

/// A proxy that agrees to every CONNECT or POST with its head, and then echoes.
async fn agreeing(answer: &'static str) -> (SocketAddr, Tasks, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let (heads, received) = tokio::sync::mpsc::channel(8);
    tasks.spawn("agreeing proxy", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            heads.send(String::from_utf8(head).unwrap()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        }
    });
    (address, tasks, received)
}

fn tunnelling(address: SocketAddr, post: bool) -> Snapshot {
    let mut snapshot = all_to(address, |_| {});
    let mut handler = TcpHandler::to("a".into());
    handler.tunnel = Some(snapshot::Tunnel {
        target: "far.example:443".into(),
        post,
    });
    snapshot.listeners.insert(Listener {
        default_chain: Some(Chain {
            name: "tunnel".into(),
            matches: ChainMatch::default(),
            tls: None,
            filters: Vec::new(),
            handler: Handler::Tcp(handler),
        }),
        ..Listener::new(
            "0.0.0.0_9000".into(),
            "0.0.0.0:9000".parse().unwrap(),
            Direction::Outbound,
        )
    });
    snapshot
}

#[tokio::test]
async fn a_tunnel_begins_with_connect_and_carries_bytes_and_half_close() {
    let (address, _server, mut heads) = agreeing("HTTP/1.1 200 OK\r\n\r\nfirst").await;
    let world = World::start(tunnelling(address, false)).await;
    world.going_to("10.96.0.1:9000");
    let mut client = world.connect().await;
    assert_eq!(client.exactly(5).await, "first", "the other end may speak first");
    client.send("hello").await;
    assert_eq!(client.exactly(5).await, "hello");
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "");
    let head = heads.recv().await.unwrap();
    assert!(
        head.starts_with("CONNECT far.example:443 HTTP/1.1\r\nhost: far.example:443\r\n"),
        "{head}"
    );
    assert!(!head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn a_tunnel_by_post_is_a_chunked_body() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let (address, _server, mut heads) = agreeing(answer).await;
    let world = World::start(tunnelling(address, true)).await;
    world.going_to("10.96.0.1:9000");
    let mut client = world.connect().await;
    assert_eq!(client.exactly(5).await, "first");
    client.send("hello").await;
    assert_eq!(
        client.exactly(5).await,
        "hello",
        "the echo is chunked as the body was"
    );
    let head = heads.recv().await.unwrap();
    assert!(
        head.starts_with("POST / HTTP/1.1\r\nhost: far.example:443\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_refused_tunnel_closes_the_connection() {
    let (address, _server, _heads) = agreeing("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let world = World::start(tunnelling(address, false)).await;
    world.going_to("10.96.0.1:9000");
    assert_eq!(world.connect().await.rest().await, "");
}
