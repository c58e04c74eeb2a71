//! What detection of protocols cannot be used for: nobody gets past the policies of a port by silence, by slowness, or by
//! what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Tasks, clock};
use snapshot::authorization::{Authorization, Condition, Policy, RuleAction, Rules, Target, TextMatch};
use snapshot::{AccessLog, Chain, ChainMatch, Format, Handler, HttpFilter, LogFormat, Snapshot, TcpHandler};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{PATIENCE, World, all_to};

const BEGINNING: &str = "GET /admin HT";
const REST: &str = "TP/1.1\r\nhost: x\r\n\r\n";

/// Greets each client at once, and then says again what it is told.
async fn echo() -> (std::net::SocketAddr, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let owner = tasks.clone();
    tasks.spawn("echo", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            owner.spawn("echo connection", async move {
                let _ = stream.write_all(b"hello\n").await;
                let mut bytes = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    let _ = stream.write_all(&bytes[..read]).await;
                }
            });
        }
    });
    (address, tasks)
}

/// Nobody may ask for `/admin`.
fn no_admin() -> HttpFilter {
    let path = TextMatch::from(snapshot::authorization::Pattern::Prefix("/admin".into()));
    let policy = Policy {
        permissions: vec![Condition::Is(Target::Path(path))],
        principals: vec![Condition::Any],
    };
    HttpFilter::Authorization(Arc::new(Authorization {
        rules: Some(Rules {
            action: RuleAction::Deny,
            policies: [("no-admin".to_owned(), policy)].into(),
        }),
        ..Authorization::default()
    }))
}

/// An inbound port that takes both HTTP and anything else.
fn either(backend: std::net::SocketAddr, filters: &[HttpFilter], log: Option<&Arc<AccessLog>>) -> Snapshot {
    let mut snapshot = all_to(&[backend]);
    let mut listener = snapshot.listeners.get("virtualInbound").unwrap().as_ref().clone();
    let mut http = listener.default_chain.take().unwrap();
    http.matches.application_protocols = ["http/1.0", "http/1.1", "h2c"].map(String::from).to_vec();
    if let Handler::Http(handler) = &mut http.handler {
        handler.filters.extend(filters.iter().cloned());
    }
    let opaque = Chain {
        name: "opaque".into(),
        matches: ChainMatch::default(),
        handler: Handler::Tcp(TcpHandler {
            access_log: log.into_iter().cloned().collect(),
            ..TcpHandler::to("a".into())
        }),
        ..http.clone()
    };
    listener.detect_http = true;
    listener.chains = vec![http];
    listener.default_chain = Some(opaque);
    snapshot.listeners.insert(listener);
    snapshot
}

#[tokio::test]
async fn a_slow_request_is_still_a_request() {
    let (address, _server) = echo().await;
    let world = World::start(either(address, &[no_admin()], None)).await;
    let mut slow = world.connect_inbound().await;
    slow.send(BEGINNING).await;
    // Whoever comes later, says nothing and is served shows that time enough has passed.
    assert_eq!(world.connect_inbound().await.exactly(6).await, "hello\n");
    let answer = slow.call(REST).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (403, "RBAC: access denied")
    );
}

#[tokio::test]
async fn after_silence_a_request_does_not_pass_as_opaque_bytes_where_policies_judge_requests() {
    let (address, _server) = echo().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let log = Arc::new(AccessLog {
        path: file.to_str().unwrap().to_owned(),
        format: LogFormat::Text(
            Format::parse("%CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED%\n").unwrap(),
        ),
        only_flags: Vec::new(),
    });
    let world = World::start(either(address, &[no_admin()], Some(&log))).await;
    let requests = [
        "GET /admin HTTP/1.1\r\nhost: x\r\n\r\n",
        "\r\nGET /admin HTTP/1.1\r\nhost: x\r\n\r\n",
        "get /admin HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /admin\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for request in requests {
        let mut client = world.connect_inbound().await;
        assert_eq!(client.exactly(6).await, "hello\n", "the server speaks first");
        client.send(request).await;
        let rest = clock::timeout(PATIENCE, client.rest())
            .await
            .expect("it is closed");
        assert_eq!(rest, "", "{request:?}");
    }
    world.running.stop(Duration::ZERO).await;
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        written,
        "request_outside_of_http_policies 0\n".repeat(requests.len())
    );
}

#[tokio::test]
async fn servers_that_speak_first_work_beside_policies() {
    let (address, _server) = echo().await;
    let world = World::start(either(address, &[no_admin()], None)).await;
    let mut client = world.connect_inbound().await;
    assert_eq!(client.exactly(6).await, "hello\n");
    client.send("EH").await;
    client.send("LO me\r\n").await;
    assert_eq!(client.exactly(9).await, "EHLO me\r\n");
    client.send("GET /admin HTTP/1.1\r\n").await;
    assert_eq!(
        client.exactly(21).await,
        "GET /admin HTTP/1.1\r\n",
        "that is data"
    );
    let mut brief = world.connect_inbound().await;
    brief.exactly(6).await;
    brief.send("GE").await;
    brief.stream.shutdown().await.unwrap();
    assert_eq!(clock::timeout(PATIENCE, brief.rest()).await.unwrap(), "GE");
}

#[tokio::test]
async fn without_policies_nothing_is_withheld() {
    let (address, _server) = echo().await;
    let world = World::start(either(address, &[HttpFilter::Stats], None)).await;
    let mut client = world.connect_inbound().await;
    assert_eq!(client.exactly(6).await, "hello\n");
    client.send("GET /admin HTTP/1.1\r\n").await;
    assert_eq!(client.exactly(21).await, "GET /admin HTTP/1.1\r\n");
}
