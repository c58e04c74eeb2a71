//! The server over loopback: pages, bounds and the graceful end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::drain::{Trigger, channel};

struct Started {
    address: SocketAddr,
    tasks: Tasks,
    trigger: Trigger,
}

async fn start(server: Server) -> Started {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let (trigger, drain) = channel();
    server.start("test", listener, &tasks, drain);
    Started {
        address,
        tasks,
        trigger,
    }
}

fn routes() -> Routes {
    Routes::new()
        .get("/ready", |_| async { text(StatusCode::OK, "ok\n") })
        .get("/debug/*", |call| async move {
            text(StatusCode::OK, call.request.uri().path().to_owned())
        })
        .get("/debug/deep/*", |_| async { text(StatusCode::OK, "deep") })
        .post("/echo", |call| async move {
            text(StatusCode::OK, call.request.into_body())
        })
        .get("/never", |_| std::future::pending())
}

/// Sends `request` on a connection of its own and reads until the server closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The server may close while unread bytes are still on their way, which is a reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

fn post(length: usize, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn pages_are_found_by_path_and_by_longest_prefix() {
    let started = start(Server::plain(routes())).await;
    for (path, expected) in [
        ("/ready", "ok\n"),
        ("/debug/x/y?z", "/debug/x/y"),
        ("/debug/deep/x", "deep"),
    ] {
        let answer = exchange(started.address, &get(path)).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(expected),
            "{path}: {answer}"
        );
    }
    assert!(
        exchange(started.address, &get("/nothing"))
            .await
            .starts_with("HTTP/1.1 404")
    );
    let wrong_method = exchange(started.address, &get("/echo")).await;
    assert!(
        wrong_method.starts_with("HTTP/1.1 405") && wrong_method.contains("allow: POST"),
        "{wrong_method}"
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut server = Server::plain(routes());
    server.limits.body = 4;
    let started = start(server).await;
    assert!(
        exchange(started.address, &post(4, "body"))
            .await
            .ends_with("body")
    );
    assert!(
        exchange(started.address, &post(5, "body!"))
            .await
            .starts_with("HTTP/1.1 413")
    );
}

#[tokio::test]
async fn who_is_too_slow_loses_the_connection() {
    let mut server = Server::plain(routes());
    server.limits.read = Duration::from_millis(50);
    server.limits.answer = Duration::from_millis(50);
    let started = start(server).await;
    assert!(
        !exchange(started.address, "GET /ready HTT").await.contains("200"),
        "half a head"
    );
    assert!(
        exchange(started.address, &post(10, "half"))
            .await
            .starts_with("HTTP/1.1 408"),
        "half a body"
    );
    assert!(
        exchange(started.address, &get("/never"))
            .await
            .starts_with("HTTP/1.1 504"),
        "no answer"
    );
}

#[tokio::test]
async fn connections_over_the_bound_wait_their_turn() {
    let mut server = Server::plain(routes());
    server.limits.connections = 1;
    let started = start(server).await;
    let first = TcpStream::connect(started.address).await.unwrap();
    let request = get("/ready");
    let mut second = std::pin::pin!(exchange(started.address, &request));
    let early = clock::timeout(Duration::from_millis(50), second.as_mut()).await;
    assert!(early.is_err(), "the second is not served beside the first");
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_that_has_its_share_of_connections_gets_no_other() {
    let mut server = Server::plain(routes());
    server.limits.connections_of_one = 1;
    let started = start(server).await;
    let first = TcpStream::connect(started.address).await.unwrap();
    assert_eq!(exchange(started.address, &get("/ready")).await, "");
    drop(first);
    while !exchange(started.address, &get("/ready"))
        .await
        .starts_with("HTTP/1.1 200")
    {}
}

#[tokio::test]
async fn draining_closes_idle_connections_and_stops_accepting() {
    let started = start(Server::plain(routes())).await;
    let mut idle = TcpStream::connect(started.address).await.unwrap();
    idle.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert!(started.trigger.finish(Duration::from_secs(5)).await);
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(TcpStream::connect(started.address).await.is_err());
    assert_eq!(started.tasks.count(), 0);
}

#[test]
fn readiness_is_a_page() {
    let ready = crate::ready::Ready::new(&["xds"]);
    let waiting = ready_page(&ready);
    assert_eq!(
        (waiting.status(), waiting.body().as_ref()),
        (StatusCode::SERVICE_UNAVAILABLE, &b"xds: not yet\n"[..])
    );
    ready.set("xds");
    assert_eq!(ready_page(&ready).status(), StatusCode::OK);
}
