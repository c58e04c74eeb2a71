//! Requests that nobody processed: an application that ends costs its callers nothing.

use std::net::SocketAddr;

use daemon::{Tasks, clock};
use snapshot::{Action, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{Backend, PATIENCE, World, all_to, forward, nobody, ok};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

/// How a server treats its first connection; later ones are answered.
#[derive(Clone, Copy)]
enum First {
    /// Closed with the request unread, as the kernel does for a program that ends.
    Unread,
    /// The request is read, and the connection closed.
    Read,
}

async fn server(first: First, tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("server", async move {
        let mut request = [0; 1024];
        let (mut stream, _) = listener.accept().await.unwrap();
        let _arrived = match first {
            // `readable` may wake for nothing, and then the request would come after the close.
            First::Unread => stream.peek(&mut request).await.unwrap(),
            First::Read => stream.read(&mut request).await.unwrap(),
        };
        drop(stream);
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(ok("again").as_bytes()).await;
        }
    });
    address
}

/// Everything goes to these endpoints, and the route has no retry policy.
fn without_policy(addresses: &[SocketAddr]) -> Snapshot {
    let mut snapshot = all_to(addresses);
    let mut table = snapshot.routes.get("80").unwrap().as_ref().clone();
    let mut forward = forward(&[("a", 1)]);
    forward.retry = None;
    table.hosts[0].routes[0].action = Action::Forward(forward);
    snapshot.routes.insert(table);
    snapshot
}

#[tokio::test]
async fn a_request_that_its_server_never_read_is_sent_again() {
    let tasks = Tasks::new();
    let address = server(First::Unread, &tasks).await;
    let world = World::start(without_policy(&[address])).await;
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "again"));
}

#[tokio::test]
async fn a_request_that_its_server_has_read_is_not_sent_again() {
    for request in [GET, POST] {
        let tasks = Tasks::new();
        let address = server(First::Read, &tasks).await;
        let world = World::start(without_policy(&[address])).await;
        assert_eq!(world.call(request).await.status, 503, "{request}");
    }
}

#[tokio::test]
async fn the_head_of_a_request_with_a_body_may_have_been_read() {
    let tasks = Tasks::new();
    let address = server(First::Unread, &tasks).await;
    let world = World::start(without_policy(&[address])).await;
    assert_eq!(world.call(POST).await.status, 503);
}

#[tokio::test]
async fn a_workload_that_does_not_listen_is_told_apart_from_one_that_failed() {
    let world = World::start(without_policy(&[nobody().await])).await;
    let answer = world.connect_inbound().await.call(GET).await;
    assert_eq!(
        (answer.status, answer.header("x-amime-unprocessed")),
        (503, Some("true"))
    );
    let outbound = world.call(GET).await;
    assert_eq!(
        (outbound.status, outbound.header("x-amime-unprocessed")),
        (503, None),
        "clients are not told"
    );
}

#[tokio::test]
async fn a_request_that_the_other_proxy_could_not_deliver_goes_elsewhere() {
    let refusing = || {
        Backend::start(|_| {
            "HTTP/1.1 503 Service Unavailable\r\nx-amime-unprocessed: true\r\ncontent-length: 4\r\n\r\ngone"
                .into()
        })
    };
    let (gone, stays) = (refusing().await, Backend::saying("stays").await);
    let world = World::start(all_to(&[gone.address, stays.address])).await;
    for request in [GET, POST].repeat(5) {
        let answer = world.call(request).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "stays"));
    }
    assert!(gone.requests() > 0, "the test shows nothing otherwise");
    // Nobody else is there: the client gets the answer, without the mark.
    let only = World::start(without_policy(&[gone.address])).await;
    let answer = only.call(GET).await;
    assert_eq!(
        (
            answer.status,
            answer.body.as_str(),
            answer.header("x-amime-unprocessed")
        ),
        (503, "gone", None)
    );
}

#[tokio::test]
async fn an_application_cannot_say_that_it_did_not_process_a_request() {
    let forging = Backend::start(|_| {
        "HTTP/1.1 503 Service Unavailable\r\nx-amime-unprocessed: true\r\ncontent-length: 0\r\n\r\n".into()
    });
    let forging = forging.await;
    let world = World::start(all_to(&[forging.address])).await;
    let answer = world.connect_inbound().await.call(GET).await;
    assert_eq!(answer.header("x-amime-unprocessed"), None);
    assert_eq!(forging.requests(), 1);
}

#[tokio::test]
async fn over_http2_a_workload_that_does_not_listen_refuses_the_stream() {
    let world = World::start(without_policy(&[nobody().await])).await;
    let client = world.connect_inbound().await;
    let (send, connection) = h2::client::handshake(client.stream).await.unwrap();
    let tasks = Tasks::new();
    tasks.spawn("connection", async move { drop(connection.await) });
    let request = http::Request::get("http://a/").body(()).unwrap();
    let (response, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
    let refused = clock::timeout(PATIENCE, response).await.unwrap().unwrap_err();
    assert_eq!(refused.reason(), Some(h2::Reason::REFUSED_STREAM));
}
