//! Two proxies and an authority: mutual TLS from one to the other, who is believed, and what changes while they talk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::{Tasks, clock};
use identity::tls::rustls::HandshakeKind;
use identity::tls::tokio_rustls::TlsConnector;
use identity::tls::{Origination, PeerName};
use identity::{Authority, Bundle};
use snapshot::{
    Certificate, ClientCertificateHeader, ClientTls, Handler, Listener, ServerTls, Snapshot, SubjectMatch,
    TcpHandler, Trust,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use xds::secrets::Trusted;

use super::transport::{HOUR, now};
use super::world::{Backend, PATIENCE, World, all_to, ok};
use crate::Workload;
use crate::http::codec::Version;
use crate::tls::client::{Connection, Settings};

pub(super) const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
pub(super) const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/server";
const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

pub(super) fn authority(name: &str) -> Authority {
    Authority::generate(name, 10 * HOUR, now()).unwrap()
}

fn believing(workload: &Workload, authorities: &[&Authority]) {
    let pem: String = authorities.iter().map(|authority| authority.root_pem()).collect();
    let roots = Bundle::from_pem(&pem).unwrap();
    workload.believe(&Arc::new(Trusted { roots, revoked: None }));
}

/// Somebody with a certificate that was issued at `issued` for an hour, who believes its own authority.
fn issued(authority: &Authority, name: &str, issued: SystemTime) -> Workload {
    let workload = Workload::default();
    workload.show(authority.issue_workload(&[name], HOUR, issued).unwrap(), None);
    believing(&workload, &[authority]);
    workload
}

pub(super) fn somebody(authority: &Authority, name: &str) -> Workload {
    issued(authority, name, now())
}

/// What an inbound chain asks of its clients under STRICT.
fn strict() -> ServerTls {
    ServerTls {
        application_protocols: vec!["h2".into(), "http/1.1".into()],
        client_trust: Trust::Mesh,
        client_names: vec![SubjectMatch::Prefix {
            prefix: "spiffe://cluster.local/".into(),
        }],
        require_client_certificate: true,
        ..ServerTls::new(Certificate::Workload)
    }
}

fn auto_tls() -> ClientTls {
    ClientTls {
        server_name: "outbound_.80_._.a.shop.svc.cluster.local".into(),
        subject_alt_names: vec![SubjectMatch::Exact(SERVER.into())],
        certificate: Some(Certificate::Workload),
        application_protocols: vec!["istio-peer-exchange".into(), "istio".into()],
        ..ClientTls::new(Trust::Mesh)
    }
}

/// The inbound side of a workload at `backend`.
pub(super) fn inbound(backend: SocketAddr) -> Snapshot {
    changed(all_to(&[backend]), |listener| {
        let chain = listener.default_chain.as_mut().unwrap();
        chain.tls = Some(strict());
        if let Handler::Http(handler) = &mut chain.handler {
            handler.options.client_certificate = ClientCertificateHeader::OF_SIDECARS;
        }
    })
}

fn changed(mut snapshot: Snapshot, change: impl Fn(&mut Listener)) -> Snapshot {
    let mut listener = snapshot.listeners.get("virtualInbound").unwrap().as_ref().clone();
    change(&mut listener);
    snapshot.listeners.insert(listener);
    snapshot
}

/// The outbound side of a caller of these, of which those that say so take mutual TLS.
pub(super) fn outbound(members: &[(SocketAddr, bool)]) -> Snapshot {
    let addresses: Vec<_> = members.iter().map(|(address, _)| *address).collect();
    let mut snapshot = all_to(&addresses);
    let mut cluster = snapshot.clusters.get("a").unwrap().as_ref().clone();
    cluster.auto_tls = Some(auto_tls());
    snapshot.clusters.insert(cluster);
    let mut endpoints = snapshot.endpoints.get("a").unwrap().as_ref().clone();
    for (endpoint, (_, mutual)) in endpoints.localities[0].endpoints.iter_mut().zip(members) {
        endpoint.mutual = *mutual;
    }
    snapshot.endpoints.insert(endpoints);
    snapshot
}

/// Answers with what it was told of the client's certificate.
async fn telling() -> Backend {
    Backend::start(|head| {
        let told = head
            .lines()
            .find_map(|line| line.strip_prefix("x-forwarded-client-cert: "));
        ok(told.unwrap_or("-"))
    })
    .await
}

struct Mesh {
    client: World,
    server: World,
    _backend: Backend,
}

impl Mesh {
    async fn start(client: Workload, server: Workload) -> Self {
        let backend = telling().await;
        let server = World::of(server, inbound(backend.address)).await;
        let at = server.running.addresses["inbound"];
        Self {
            client: World::of(client, outbound(&[(at, true)])).await,
            server,
            _backend: backend,
        }
    }
}

#[tokio::test]
async fn a_request_between_two_proxies_says_who_sent_it() {
    let root = authority("root");
    let mesh = Mesh::start(somebody(&root, CLIENT), somebody(&root, SERVER)).await;
    let answer = mesh.client.call(GET).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let parts: Vec<&str> = answer.body.split(';').collect();
    assert_eq!(parts[0], format!("By={SERVER}"));
    assert!(
        parts[1].starts_with("Hash=") && parts[1].len() == 5 + 64,
        "{parts:?}"
    );
    assert_eq!(&parts[2..], ["Subject=\"\"", &format!("URI={CLIENT}")]);

    let parties = [
        format!("source_principal=\"{CLIENT}\""),
        format!("destination_principal=\"{SERVER}\""),
    ];
    for (world, reporter, policy) in [
        (&mesh.client, "source", "unknown"),
        (&mesh.server, "destination", "mutual_tls"),
    ] {
        let (reporter, policy) = (
            format!("reporter=\"{reporter}\""),
            format!("connection_security_policy=\"{policy}\""),
        );
        let labels = [&*parties[0], &*parties[1], &*reporter, &*policy];
        assert_eq!(
            world.metric("istio_requests_total", &labels).await,
            Some(1.0),
            "{labels:?}"
        );
    }
}

#[tokio::test]
async fn nobody_can_say_whose_certificate_was_shown_but_a_proxy_that_saw_it() {
    let root = authority("root");
    let mesh = Mesh::start(somebody(&root, CLIENT), somebody(&root, SERVER)).await;
    let forged = "GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-client-cert: URI=spiffe://cluster.local/ns/a/sa/admin\r\n\r\n";
    let answer = mesh.client.call(forged).await;
    assert!(
        answer.body.starts_with("By=") && !answer.body.contains("admin"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn plain_text_is_left_without_an_answer() {
    let root = authority("root");
    let backend = telling().await;
    let world = World::of(somebody(&root, SERVER), inbound(backend.address)).await;
    let mut client = world.connect_inbound().await;
    client.send(GET).await;
    let answer = client.rest().await;
    assert_eq!((answer.as_str(), backend.requests()), ("", 0));
}

#[tokio::test]
async fn who_cannot_be_believed_is_not_served_and_not_called() {
    let (root, other) = (authority("root"), authority("other"));
    let long_ago = now() - 5 * HOUR;
    let strange = "spiffe://elsewhere/ns/shop/sa/client";
    type Case = (&'static str, Workload, Workload, bool);
    let cases: [Case; 6] = [
        (
            "both are right",
            somebody(&root, CLIENT),
            somebody(&root, SERVER),
            true,
        ),
        (
            "another server",
            somebody(&root, CLIENT),
            somebody(&root, CLIENT),
            false,
        ),
        (
            "another authority",
            somebody(&other, CLIENT),
            somebody(&root, SERVER),
            false,
        ),
        (
            "expired client",
            issued(&root, CLIENT, long_ago),
            somebody(&root, SERVER),
            false,
        ),
        (
            "expired server",
            somebody(&root, CLIENT),
            issued(&root, SERVER, long_ago),
            false,
        ),
        (
            "another trust domain",
            somebody(&root, strange),
            somebody(&root, SERVER),
            false,
        ),
    ];
    for (name, client, server, good) in cases {
        let mesh = Mesh::start(client, server).await;
        let answer = mesh.client.call(GET).await;
        assert_eq!(answer.status, if good { 200 } else { 503 }, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_proxy_without_a_certificate_yet_serves_and_calls_nobody_in_the_mesh() {
    let root = authority("root");
    let backend = telling().await;
    let nobody = Workload::default();
    let server = World::of(nobody.clone(), inbound(backend.address)).await;
    let at = server.running.addresses["inbound"];
    let client = World::of(somebody(&root, CLIENT), outbound(&[(at, true)])).await;
    assert_eq!(client.call(GET).await.status, 503);
    assert_ne!(server.page("health", "/healthz/ready").await.status, 200);
    nobody.show(root.issue_workload(&[SERVER], HOUR, now()).unwrap(), None);
    believing(&nobody, &[&root]);
    assert_eq!(client.call(GET).await.status, 200);
    let ready = async { while server.page("health", "/healthz/ready").await.status != 200 {} };
    clock::timeout(PATIENCE, ready).await.unwrap();
}

#[tokio::test]
async fn members_without_a_proxy_are_called_in_plain_text() {
    let root = authority("root");
    let plain = Backend::saying("plain").await;
    let backend = telling().await;
    let server = World::of(somebody(&root, SERVER), inbound(backend.address)).await;
    let at = server.running.addresses["inbound"];
    let members = [(plain.address, false), (at, true)];
    let client = World::of(somebody(&root, CLIENT), outbound(&members)).await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(client.call(GET).await.body.starts_with("By="));
    }
    bodies.sort_unstable();
    assert_eq!(bodies, [false, false, true, true]);
}

#[tokio::test]
async fn a_member_that_begins_to_take_mutual_tls_gets_no_plain_text_from_the_pool() {
    let root = authority("root");
    let plain = telling().await;
    let client = World::of(somebody(&root, CLIENT), outbound(&[(plain.address, false)])).await;
    assert_eq!(client.call(GET).await.body, "-");
    plain.until_open(1).await;
    let next = outbound(&[(plain.address, true)]);
    client.snapshots.send_replace(Some(Arc::new(next)));
    // Nobody there speaks TLS: what is asked must fail, whatever plain connection was kept.
    let refused = async { while client.call(GET).await.status != 503 {} };
    clock::timeout(PATIENCE, refused).await.unwrap();
    plain.until_open(0).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_connection_and_breaks_none() {
    let root = authority("root");
    let (client, server) = (somebody(&root, CLIENT), somebody(&root, SERVER));
    let mesh = Mesh::start(client.clone(), server.clone()).await;
    let mut connection = mesh.client.connect().await;
    let first = connection.call(GET).await.body;
    for workload in [&client, &server] {
        let name = workload.id().unwrap().to_string();
        workload.show(root.issue_workload(&[name], HOUR, now()).unwrap(), None);
    }
    assert_eq!(
        connection.call(GET).await.body,
        first,
        "the connection upstream is kept"
    );
    // Another worker's pool, another proxy: here, two requests at once need a second connection.
    let (one, other) = tokio::join!(mesh.client.call(GET), mesh.client.call(GET));
    for answer in [&one, &other] {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn roots_are_replaced_under_requests_without_a_failure() {
    let (old, new) = (authority("old"), authority("new"));
    let (client, server) = (somebody(&old, CLIENT), somebody(&old, SERVER));
    let mesh = Mesh::start(client.clone(), server.clone()).await;
    let both = [&client, &server];
    let sign = |by: &Authority, workload: &Workload| {
        let name = workload.id().unwrap().to_string();
        workload.show(by.issue_workload(&[name], HOUR, now()).unwrap(), None);
    };
    let call = async || assert_eq!(mesh.client.call(GET).await.status, 200);
    call().await;
    for workload in both {
        believing(workload, &[&old, &new]);
        call().await;
    }
    for workload in both {
        sign(&new, workload);
        call().await;
    }
    for workload in both {
        believing(workload, &[&new]);
        call().await;
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_the_root_that_it_came_from() {
    let (old, new) = (authority("old"), authority("new"));
    let server = somebody(&new, SERVER);
    believing(&server, &[&new, &old]);
    let backend = telling().await;
    let world = World::of(server.clone(), inbound(backend.address)).await;
    let own = old.issue_workload(&[CLIENT], HOUR, now()).unwrap();
    let origination = Origination {
        roots: Some(new.root_pem()),
        names: vec![PeerName::Exact(SERVER.into())],
        keypair: Some(&own),
        application_protocols: vec!["http/1.1".into()],
        ..Origination::default()
    };
    let config = origination.config().unwrap();
    let call = async || -> Option<(HandshakeKind, String)> {
        let stream = TcpStream::connect(world.running.addresses["inbound"])
            .await
            .unwrap();
        let connector = TlsConnector::from(config.clone());
        let mut session = connector
            .connect("server".try_into().unwrap(), stream)
            .await
            .ok()?;
        let kind = session.get_ref().1.handshake_kind()?;
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        session.write_all(request).await.ok()?;
        let mut answer = String::new();
        session.read_to_string(&mut answer).await.ok()?;
        Some((kind, answer.rsplit('\n').next()?.to_owned()))
    };
    let (first, told) = call().await.unwrap();
    assert!(told.contains(CLIENT), "{told}");
    let (second, told) = call().await.unwrap();
    assert_eq!((first, second), (HandshakeKind::Full, HandshakeKind::Resumed));
    assert!(
        told.contains(CLIENT),
        "a session that is taken up again is still somebody's: {told}"
    );
    believing(&server, &[&new]);
    assert_eq!(call().await, None);
}

#[tokio::test]
async fn a_session_is_taken_up_again_with_the_member_that_it_was_had_with() {
    let root = authority("root");
    let backend = telling().await;
    let server = World::of(somebody(&root, SERVER), inbound(backend.address)).await;
    let client = somebody(&root, CLIENT);
    let (settings, tls) = (Settings::default(), auto_tls());
    let call = async |member: &str| -> HandshakeKind {
        let connection = Connection {
            member: member.parse().unwrap(),
            named: false,
            version: Some(Version::Http1),
        };
        let current = settings.current(&tls, &client, connection).unwrap();
        let stream = TcpStream::connect(server.running.addresses["inbound"])
            .await
            .unwrap();
        let name = "outbound_.80_._.a".try_into().unwrap();
        let mut session = TlsConnector::from(current.config)
            .connect(name, stream)
            .await
            .unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        session.write_all(request).await.unwrap();
        session.read_to_end(&mut Vec::new()).await.unwrap();
        session.get_ref().1.handshake_kind().unwrap()
    };
    assert_eq!(call("10.0.0.1:80").await, HandshakeKind::Full);
    assert_eq!(call("10.0.0.1:80").await, HandshakeKind::Resumed);
    assert_eq!(call("10.0.0.2:80").await, HandshakeKind::Full);
    client.show(root.issue_workload(&[CLIENT], HOUR, now()).unwrap(), None);
    assert_eq!(
        call("10.0.0.1:80").await,
        HandshakeKind::Full,
        "it is somebody anew"
    );
}

#[tokio::test]
async fn a_server_that_speaks_first_does_so_under_mutual_tls() {
    let root = authority("root");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    tasks.spawn("greeter", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"hello\n").await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
        }
    });
    let opaque = |listener: &mut Listener| {
        let chain = listener.default_chain.as_mut().unwrap();
        chain.handler = Handler::Tcp(TcpHandler::to("a".into()));
    };
    let server = changed(inbound(address), opaque);
    let server = World::of(somebody(&root, SERVER), server).await;
    let at = server.running.addresses["inbound"];
    let client = World::of(somebody(&root, CLIENT), outbound(&[(at, true)])).await;
    client.going_to("10.96.0.1:5432");
    let mut connection = client.connect().await;
    assert_eq!(connection.exactly(6).await, "hello\n");
    connection.send("abc").await;
    connection.stream.shutdown().await.unwrap();
    assert_eq!(connection.rest().await, "abc");
    let labels = [
        "connection_security_policy=\"mutual_tls\"",
        &format!("source_principal=\"{CLIENT}\""),
    ];
    let opened = server.metric("istio_tcp_connections_opened_total", &labels).await;
    assert_eq!(opened, Some(1.0));
    tasks.stop(Duration::ZERO).await;
}
