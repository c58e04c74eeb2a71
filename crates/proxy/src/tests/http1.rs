//! HTTP/1.1 on both sides.

use daemon::clock;
use tokio::io::AsyncReadExt;

use super::world::{Backend, PATIENCE, World, all_to, ok};

const GET: &str = "GET /a?b HTTP/1.1\r\nHost: Shop\r\nX-Custom: 1\r\n\r\n";

#[tokio::test]
async fn a_request_is_forwarded_with_the_headers_of_a_sidecar() {
    let backend = Backend::start(|request| ok(&request.replace("\r\n", "\n"))).await;
    let world = World::start(all_to(&[backend.address])).await;
    let answer = world.call(GET).await;
    assert_eq!(answer.status, 200);
    let lines: Vec<_> = answer.body.lines().collect();
    assert_eq!(lines[..3], ["GET /a?b HTTP/1.1", "host: Shop", "x-custom: 1"]);
    for name in [
        "x-request-id: ",
        "x-forwarded-proto: http",
        "x-envoy-attempt-count: 1",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(name)),
            "{name} in {lines:?}"
        );
    }
    assert_eq!(answer.header("server"), Some("envoy"));
    assert!(answer.header("date").is_some_and(|date| date.ends_with("GMT")));
    assert!(answer.header("x-envoy-upstream-service-time").is_some());
    let labels = [
        "response_code=\"200\"",
        "destination_service_name=\"a\"",
        "destination_workload=\"a-0\"",
    ];
    assert_eq!(world.metric("istio_requests_total", &labels).await, Some(1.0));
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let backend = Backend::saying("hi").await;
    let world = World::start(all_to(&[backend.address])).await;
    let mut client = world.connect().await;
    for _ in 0..5 {
        assert_eq!(client.call(GET).await.body, "hi");
    }
    assert_eq!(
        client
            .call(&GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"))
            .await
            .header("connection"),
        Some("close")
    );
    assert_eq!(client.rest().await, "", "closed after the last response");
    assert_eq!((backend.connections(), backend.requests()), (1, 6));
}

#[tokio::test]
async fn cookies_pass_as_they_came_and_what_asks_for_retries_does_not() {
    let backend = Backend::start(|request| ok(&request.replace("\r\n", "\n"))).await;
    let world = World::start(all_to(&[backend.address])).await;
    let request = GET.replace(
        "X-Custom: 1",
        "cookie: a=1\r\ncookie: b=2\r\nx-envoy-upstream-rq-timeout-alt-response: 204",
    );
    let answer = world.call(&request).await;
    assert!(
        answer.body.contains("cookie: a=1\ncookie: b=2\n"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("alt-response"), "{}", answer.body);
}

#[tokio::test]
async fn a_client_whose_upgrade_was_not_taken_is_told_that_its_connection_ends() {
    let backend = Backend::saying("no").await;
    let world = World::start(all_to(&[backend.address])).await;
    let request = GET.replace("X-Custom: 1", "connection: upgrade\r\nupgrade: websocket");
    let answer = world.call(&request).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(|request| ok(request.lines().next().unwrap())).await;
    let world = World::start(all_to(&[backend.address])).await;
    let mut client = world.connect().await;
    client.send(&GET.replace("/a?b", "/1")).await;
    client
        .send(&format!(
            "{}{}",
            GET.replace("/a?b", "/2"),
            GET.replace("/a?b", "/3")
        ))
        .await;
    for number in 1..=3 {
        assert_eq!(client.answer(false).await.body, format!("GET /{number} HTTP/1.1"));
    }
}

#[tokio::test]
async fn chunks_pass_both_ways_and_their_trailers_do_not() {
    let backend = Backend::start(|request| {
        let body = request.rsplit("\r\n\r\n").next().unwrap();
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-sum: 7\r\n\r\n",
            body.len()
        )
    })
    .await;
    let world = World::start(all_to(&[backend.address])).await;
    let request = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\nx-end: 1\r\n\r\n";
    let answer = world.call(request).await;
    assert_eq!(answer.body, "onetwo");
}

#[tokio::test]
async fn head_and_304_keep_the_length_that_a_body_would_have() {
    let backend = Backend::start(|request| match request.starts_with("HEAD") {
        true => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".into(),
        false => "HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\netag: \"x\"\r\n\r\n".into(),
    })
    .await;
    let world = World::start(all_to(&[backend.address])).await;
    let mut client = world.connect().await;
    for request in [
        GET.replace("GET", "HEAD"),
        GET.to_owned(),
        GET.replace("GET", "HEAD"),
    ] {
        assert_eq!(client.call(&request).await.header("content-length"), Some("10"));
    }
    assert_eq!(backend.connections(), 1, "both sides agree where responses end");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_from_the_upstream() {
    let backend =
        super::world::Backend::start(|request| ok(request.rsplit("\r\n\r\n").next().unwrap())).await;
    // The backend here answers after the body; the one that says 100 is written by hand below.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = daemon::Tasks::new();
    server.spawn("backend", async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut read).await.unwrap();
        }
        assert!(String::from_utf8_lossy(&read).contains("expect: 100-continue"));
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
            .await
            .unwrap();
        stream.write_all(&body).await.unwrap();
    });
    let world = World::start(all_to(&[address])).await;
    let mut client = world.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    assert_eq!(client.call(head).await.status, 100);
    assert_eq!(client.call("body").await.body, "body");
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let backend = Backend::start(|request| ok(request.rsplit("\r\n\r\n").next().unwrap())).await;
    let world = World::start(all_to(&[backend.address])).await;
    let body = "0123456789abcdef".repeat(200_000);
    let request = format!(
        "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = world.call(&request).await;
    assert_eq!(answer.body.len(), body.len());
    assert!(answer.body == body);
}

#[tokio::test]
async fn what_is_not_http_as_it_should_be_is_refused_and_the_connection_closed() {
    let backend = Backend::saying("never").await;
    let world = World::start(all_to(&[backend.address])).await;
    for (request, status) in [
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 426),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),
            501,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(70_000)),
            431,
        ),
    ] {
        let mut client = world.connect().await;
        let answer = client.call(&request).await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (status, Some("close")),
            "{:.60}",
            request
        );
        assert_eq!(client.rest().await, "");
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_while_idle_is_replaced() {
    // Answers one request, then closes without having announced it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = daemon::Tasks::new();
    server.spawn("backend", async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut read).await.unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
                .await
                .unwrap();
        }
    });
    let world = World::start(all_to(&[address])).await;
    let mut client = world.connect().await;
    for _ in 0..20 {
        assert_eq!(client.call(GET).await.body, "hi");
    }
}

#[tokio::test]
async fn an_upgraded_connection_carries_anything() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = daemon::Tasks::new();
    server.spawn("backend", async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut read).await.unwrap();
        }
        let text = String::from_utf8(read).unwrap();
        assert!(
            text.contains("connection: Upgrade\r\nupgrade: websocket\r\n"),
            "{text}"
        );
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst",
            )
            .await
            .unwrap();
        let mut echo = [0; 6];
        stream.read_exact(&mut echo).await.unwrap();
        stream.write_all(&echo).await.unwrap();
    });
    let world = World::start(all_to(&[address])).await;
    let mut client = world.connect().await;
    let request = "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let answer = client.call(request).await;
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(client.exactly(5).await, "first");
    client.send("\x01\x02echo").await;
    assert_eq!(client.exactly(6).await, "\x01\x02echo");
    assert_eq!(
        clock::timeout(PATIENCE, client.rest()).await.unwrap(),
        "",
        "the end of one is the end of both"
    );
}

#[tokio::test]
async fn a_truncated_response_never_looks_complete() {
    let backend =
        Backend::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhal".into())
            .await;
    let world = World::start(all_to(&[backend.address])).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    let text = clock::timeout(PATIENCE, client.rest()).await.unwrap();
    assert!(
        text.contains("content-length: 10") && text.ends_with("\r\n\r\nhal"),
        "{text}"
    );
    let flags = ["response_code=\"200\"", "response_flags=\"UPE\""];
    assert_eq!(world.metric("istio_requests_total", &flags).await, Some(1.0));
}
