//! What streams may be: silent for how long, open for how long, switched to what, and spoken in gRPC-Web.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use snapshot::route::Forward;
use snapshot::{Action, GrpcTimeout, Handler, HttpFilter, HttpHandler, Snapshot};

use super::world::{Backend, World, all_to, cluster, forward, host, ok, snapshot};

/// The handler of port 80, changed.
fn with_handler(mut snapshot: Snapshot, change: impl Fn(&mut HttpHandler)) -> Snapshot {
    let mut listener = (**snapshot.listeners.get("0.0.0.0_80").unwrap()).clone();
    if let Some(Handler::Http(handler)) = listener.default_chain.as_mut().map(|chain| &mut chain.handler) {
        change(handler);
    }
    snapshot.listeners.insert(listener);
    snapshot
}

/// A server that never answers.
async fn silent() -> Backend {
    Backend::start(|_| "HTTP/1.1 100 Continue\r\n\r\n".to_owned()).await
}

#[tokio::test]
async fn a_silent_stream_ends_with_a_status_that_says_who_was_waited_for() {
    let backend = silent().await;
    let snapshot = with_handler(all_to(&[backend.address]), |handler| {
        handler.stream_idle_timeout = Some(Duration::from_millis(50));
    });
    let world = World::start(snapshot).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 504),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhi", 408),
    ] {
        let mut client = world.connect().await;
        client.send(request).await;
        let mut answer = client.answer(false).await;
        while answer.status == 100 {
            answer = client.answer(false).await;
        }
        assert_eq!((answer.status, answer.body.as_str()), (status, "stream timeout"));
    }
}

fn aged(forward: Forward, addresses: &[std::net::SocketAddr]) -> Snapshot {
    snapshot(
        vec![host("*", Action::Forward(forward))],
        vec![(cluster("a"), addresses.to_vec())],
    )
}

#[tokio::test]
async fn a_stream_ends_when_it_has_lived_long_enough_or_its_caller_says_so() {
    let backend = Backend::start(|request| {
        assert!(!request.contains("nobody"));
        "HTTP/1.1 103 Early Hints\r\n\r\n".to_owned()
    })
    .await;
    let old = Forward {
        max_stream_duration: Some(Duration::from_millis(50)),
        ..forward(&[("a", 1)])
    };
    let world = World::start(aged(old, &[backend.address])).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = client.answer(false).await;
    while answer.status == 103 {
        answer = client.answer(false).await;
    }
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (504, "downstream duration timeout")
    );

    let by_caller = Forward {
        grpc_timeout: GrpcTimeout::OfStream(Duration::ZERO),
        ..forward(&[("a", 1)])
    };
    let world = World::start(aged(by_caller, &[backend.address])).await;
    let mut client = world.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ngrpc-timeout: 50m\r\n\r\n")
        .await;
    let mut answer = client.answer(false).await;
    while answer.status == 103 {
        answer = client.answer(false).await;
    }
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (200, Some("4")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn connections_switch_to_websockets_and_to_nothing_else() {
    let backend = Backend::start(|request| {
        assert!(
            request.to_ascii_lowercase().contains("upgrade: websocket"),
            "{request}"
        );
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n".to_owned()
    })
    .await;
    let world = World::start(all_to(&[backend.address])).await;
    let request = |protocol: &str| {
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\r\n")
    };
    let refused = world.call(&request("other")).await;
    assert_eq!((refused.status, refused.body.as_str()), (403, ""));
    assert_eq!(world.call(&request("WebSocket")).await.status, 101);
}

fn grpc_web(addresses: &[std::net::SocketAddr]) -> Snapshot {
    with_handler(all_to(addresses), |handler| {
        handler.filters.insert(0, HttpFilter::GrpcWeb);
    })
}

/// Answers with the message that it was sent.
async fn grpc() -> Backend {
    Backend::start(|request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/grpc\r\n"), "{head}");
        assert!(head.contains("te: trailers"), "{head}");
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n\
             {:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    })
    .await
}

#[tokio::test]
async fn a_call_of_grpc_web_becomes_grpc_and_its_answer_text_again() {
    let backend = grpc().await;
    let world = World::start(grpc_web(&[backend.address])).await;
    let call = |kind: &str, accept: &str, body: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let text = "application/grpc-web-text";
    let message = STANDARD.encode(b"\0\0\0\0\x02hi");
    let answer = world.call(&call(text, text, &message)).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/grpc-web-text+proto"))
    );
    assert_eq!(answer.body, message);

    let answer = world.call(&call(text, "*/*", "AA%%")).await;
    assert_eq!(
        (answer.status, answer.header("grpc-message")),
        (400, Some("Bad gRPC-web request, invalid base64 data."))
    );
}

#[tokio::test]
async fn who_speaks_no_grpc_is_explained_in_the_head() {
    let backend = Backend::start(|_| ok("hello").replace("200 OK", "404 Not Found")).await;
    let world = World::start(grpc_web(&[backend.address])).await;
    let call =
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web\r\ncontent-length: 0\r\n\r\n";
    let answer = world.call(call).await;
    assert_eq!(
        (
            answer.status,
            answer.header("grpc-status"),
            answer.header("grpc-message"),
            answer.body.as_str()
        ),
        (404, Some("12"), Some("hello"), "")
    );
}
