//! Sessions of TLS that are taken up again: between which ends, for how long, and whose they are.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daemon::{Tasks, clock};
use identity::Keypair;
use identity::tls::rustls::{ClientConfig, HandshakeKind};
use identity::tls::tokio_rustls::TlsConnector;
use identity::tls::{Origination, PeerName};
use snapshot::authorization::{
    Authorization, Condition, Pattern, Policy, RuleAction, Rules, Source, TextMatch,
};
use snapshot::{Handler, HttpFilter, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::mesh::{
    CLIENT, GET, SERVER, authority, auto_tls, believing, changed, inbound, outbound, somebody, telling,
};
use super::transport::{HOUR, now};
use super::world::{PATIENCE, World};
use crate::http::codec::Version;
use crate::tls::client::{Connection, Settings};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// A client that is no proxy of ours, and remembers sessions.
pub(super) struct Caller(Arc<ClientConfig>);

impl Caller {
    pub(super) fn new(own: &Keypair, roots: &str) -> Self {
        let origination = Origination {
            roots: Some(roots),
            names: vec![PeerName::Exact(SERVER.into())],
            keypair: Some(own),
            application_protocols: vec!["http/1.1".into()],
            ..Origination::default()
        };
        Self(origination.config().unwrap())
    }

    /// How the handshake went, and the last line of the answer.
    pub(super) async fn call(&self, world: &World) -> Option<(HandshakeKind, String)> {
        let stream = world.connect_inbound().await.stream;
        let connector = TlsConnector::from(self.0.clone());
        let name = "server".try_into().unwrap();
        let mut session = connector.connect(name, stream).await.ok()?;
        let kind = session.get_ref().1.handshake_kind()?;
        session.write_all(REQUEST).await.ok()?;
        let mut answer = String::new();
        session.read_to_string(&mut answer).await.ok()?;
        Some((kind, answer.rsplit('\n').next()?.to_owned()))
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
    let caller = Caller::new(&own, new.root_pem());
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (kind, told) = caller.call(&world).await.unwrap();
        assert_eq!(kind, expected);
        assert!(
            told.contains(CLIENT),
            "a session that is taken up again is still somebody's: {told}"
        );
    }
    believing(&server, &[&new]);
    assert_eq!(caller.call(&world).await, None);
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

/// Long enough for a session that is taken up again, and waited for by the tests below.
const SHORT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_session_does_not_outlive_the_certificate_of_its_client() {
    let root = authority("root");
    let backend = telling().await;
    let world = World::of(somebody(&root, SERVER), inbound(backend.address)).await;
    let own = root.issue_workload(&[CLIENT], SHORT, now()).unwrap();
    let caller = Caller::new(&own, root.root_pem());
    let kind = async || caller.call(&world).await.map(|(kind, _)| kind);
    assert_eq!(kind().await, Some(HandshakeKind::Full));
    let refused = async {
        while let Some(kind) = kind().await {
            assert_eq!(kind, HandshakeKind::Resumed);
        }
    };
    clock::timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test]
async fn a_session_does_not_outlive_the_certificate_of_its_server_and_nobody_notices() {
    let root = authority("root");
    let backend = telling().await;
    let member = somebody(&root, SERVER);
    member.show(root.issue_workload(&[SERVER], SHORT, now()).unwrap(), None);
    let server = World::of(member.clone(), inbound(backend.address)).await;
    let wire = Wire::to(server.running.addresses["inbound"]).await;
    let snapshot = without_keeping(outbound(&[(wire.address, true)]));
    let client = World::of(somebody(&root, CLIENT), snapshot).await;
    let resumed = async || {
        assert_eq!(client.call(GET).await.status, 200);
        let [hello] = wire.hellos().try_into().unwrap();
        hello.resumed
    };
    assert!(!resumed().await);
    assert!(resumed().await);
    // It is renewed in time, and still gives back what it gave with the old certificate.
    member.show(root.issue_workload(&[SERVER], HOUR, now()).unwrap(), None);
    assert!(resumed().await);
    let anew = async { while resumed().await {} };
    clock::timeout(PATIENCE, anew).await.unwrap();
    assert!(resumed().await);
}

/// What a ServerHello says of a session, in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hello {
    resumed: bool,
    /// The server asks for another key: that costs a round trip.
    again: bool,
    /// The number of the group of its key.
    group: u16,
}

/// What ServerHello and HelloRetryRequest are told apart by (RFC 8446, 4.1.3).
const AGAIN: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];
const PRE_SHARED_KEY: u16 = 41;
const KEY_SHARE: u16 = 51;
const X25519: u16 = 29;

impl Hello {
    /// Reads a record that begins with one (RFC 8446, 4.1.3).
    fn read(record: &[u8]) -> Self {
        // Headers of record and message, and the version.
        let random = &record[5 + 4 + 2..];
        let session = &random[32..];
        // After the session's number come suite and compression, then the extensions with their length.
        let mut rest = &session[1 + usize::from(session[0]) + 3 + 2..];
        let mut hello = Self {
            resumed: false,
            again: random.starts_with(&AGAIN),
            group: 0,
        };
        while let [a, b, c, d, content @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            match u16::from_be_bytes([*a, *b]) {
                PRE_SHARED_KEY => hello.resumed = true,
                KEY_SHARE => hello.group = u16::from_be_bytes([content[0], content[1]]),
                _ => {}
            }
            rest = &content[length..];
        }
        hello
    }
}

/// Carries connections to a server, and remembers what it says first.
struct Wire {
    address: SocketAddr,
    hellos: Arc<Mutex<Vec<Hello>>>,
    _tasks: Tasks,
}

impl Wire {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
        let (hellos, owner) = (Arc::<Mutex<Vec<_>>>::default(), tasks.clone());
        let seen = hellos.clone();
        tasks.spawn("wire", async move {
            while let Ok((client, _)) = listener.accept().await {
                let seen = seen.clone();
                owner.spawn("connection", async move {
                    let _ = carry(client, server, &seen).await;
                });
            }
        });
        Self {
            address,
            hellos,
            _tasks: tasks,
        }
    }

    fn hellos(&self) -> Vec<Hello> {
        std::mem::take(&mut *self.hellos.lock().unwrap())
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, seen: &Mutex<Vec<Hello>>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    // One record of the client, its ClientHello, and what it is answered with.
    for first in [true, false] {
        let (from, to) = match first {
            true => (&mut client, &mut server),
            false => (&mut server, &mut client),
        };
        let mut record = vec![0; 5];
        from.read_exact(&mut record).await?;
        let length = u16::from_be_bytes([record[3], record[4]]);
        record.resize(5 + usize::from(length), 0);
        from.read_exact(&mut record[5..]).await?;
        if !first {
            seen.lock().unwrap().push(Hello::read(&record));
        }
        to.write_all(&record).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Lets in who has that identity.
fn only(snapshot: Snapshot, identity: &str) -> Snapshot {
    let identity = TextMatch::from(Pattern::Exact(identity.into()));
    let policy = Policy {
        permissions: vec![Condition::Any],
        principals: vec![Condition::Is(Source::Authenticated(Some(identity)))],
    };
    let filter = Arc::new(Authorization {
        rules: Some(Rules {
            action: RuleAction::Allow,
            policies: [("only".to_owned(), policy)].into(),
        }),
        ..Authorization::default()
    });
    changed(snapshot, |listener| {
        if let Some(Handler::Http(handler)) = listener.default_chain.as_mut().map(|chain| &mut chain.handler)
        {
            handler
                .filters
                .insert(0, HttpFilter::Authorization(filter.clone()));
        }
    })
}

/// Every request has a connection of its own.
fn without_keeping(mut snapshot: Snapshot) -> Snapshot {
    let mut cluster = snapshot.clusters.get("a").unwrap().as_ref().clone();
    cluster.circuit_breaker.max_requests_per_connection = Some(1);
    snapshot.clusters.insert(cluster);
    snapshot
}

#[tokio::test]
async fn two_proxies_take_up_their_sessions_again_and_policies_know_whose_they_are() {
    let root = authority("root");
    let backend = telling().await;
    let server = only(inbound(backend.address), CLIENT);
    let server = World::of(somebody(&root, SERVER), server).await;
    let wire = Wire::to(server.running.addresses["inbound"]).await;
    let other = "spiffe://cluster.local/ns/shop/sa/other";
    for (name, status) in [(CLIENT, 200), (other, 403)] {
        let snapshot = without_keeping(outbound(&[(wire.address, true)]));
        let client = World::of(somebody(&root, name), snapshot).await;
        for resumed in [false, true, true] {
            let answer = client.call(GET).await;
            assert_eq!(answer.status, status, "{name}, resumed: {resumed}: {answer:?}");
            if status == 200 {
                assert!(answer.body.contains(name), "{answer:?}");
            }
            let hello = Hello {
                resumed,
                again: false,
                group: X25519,
            };
            assert_eq!(wire.hellos(), [hello], "{name}");
        }
    }
}
