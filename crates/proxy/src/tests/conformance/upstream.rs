//! The client side of HTTP/2 against a hostile upstream: the caller gets a 5xx, the next caller an answer of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::{Tasks, clock};
use snapshot::Snapshot;
use snapshot::cluster::UpstreamHttp;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::super::world::{PATIENCE, World, all_to, cluster};
use super::client::Peer;
use super::frame::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PUSH, SETTINGS, block, data, frame, headers, ping,
    reset, settings, window,
};

/// A server that says these bytes when the head of a request has come.
async fn server(says: Vec<u8>) -> (SocketAddr, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let (owner, says) = (tasks.clone(), Arc::new(says));
    tasks.spawn("hostile", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let says = says.clone();
            owner.spawn("hostile connection", async move {
                let mut preface = [0; 24];
                let _ = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut preface).await;
                let _ = stream.write_all(&settings(&[])).await;
                let mut peer = Peer::new(stream);
                while let Some(received) = peer.frame().await {
                    match (received.kind, received.flags) {
                        (SETTINGS, 0) => peer.send(&frame(SETTINGS, ACK, 0, &[])).await,
                        (HEADERS, _) => peer.send(&says).await,
                        _ => {}
                    }
                }
            });
        }
    });
    (address, tasks)
}

fn over_http2(address: SocketAddr) -> Snapshot {
    let mut snapshot = all_to(&[address]);
    snapshot.clusters.insert(snapshot::Cluster {
        http: UpstreamHttp::Http2,
        ..cluster("a")
    });
    for host in snapshot.routes.get("80").unwrap().hosts.clone() {
        let mut host = host;
        for route in &mut host.routes {
            if let snapshot::Action::Forward(forward) = &mut route.action {
                forward.retry = None;
            }
        }
        snapshot.routes.insert(snapshot::RouteTable {
            name: "80".into(),
            hosts: vec![host],
            ..snapshot.routes.get("80").unwrap().as_ref().clone()
        });
    }
    snapshot
}

fn status(text: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    [block(&[(":status", text)]), block(fields)].concat()
}

/// What it is, what the upstream sends, and the statuses that the client may see.
type Answer = (&'static str, Vec<u8>, &'static [u16]);

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn answers_that_break_the_protocol_reach_nobody() {
    let good = headers(1, 0, &status("200", &[]));
    let table: Vec<Answer> = vec![
        (
            "no status",
            headers(1, END_STREAM, &block(&[("x-a", "b")])),
            &[502, 503],
        ),
        (
            "a status that is no number",
            headers(1, END_STREAM, &status("abc", &[])),
            &[502, 503],
        ),
        // The library drops it: nobody sees it.
        (
            "a pseudo header of requests",
            headers(
                1,
                END_STREAM,
                &[status("200", &[]), block(&[(":path", "/")])].concat(),
            ),
            &[200],
        ),
        ("101", headers(1, END_STREAM, &status("101", &[])), &[502, 503]),
        (
            "the field connection",
            headers(1, END_STREAM, &status("200", &[("connection", "close")])),
            &[502, 503],
        ),
        (
            "transfer-encoding",
            headers(1, END_STREAM, &status("200", &[("transfer-encoding", "chunked")])),
            &[502, 503],
        ),
        (
            "a name in capitals",
            headers(1, END_STREAM, &status("200", &[("X-A", "b")])),
            &[502, 503],
        ),
        (
            "a line end in a value",
            headers(1, END_STREAM, &status("200", &[("x-a", "b\r\nset-cookie: c")])),
            &[502, 503],
        ),
        (
            "two lengths",
            headers(
                1,
                0,
                &status("200", &[("content-length", "4"), ("content-length", "5")]),
            ),
            &[502, 503],
        ),
        (
            "a length with a sign",
            headers(1, 0, &status("200", &[("content-length", "+4")])),
            &[502, 503],
        ),
        ("data before a head", data(1, END_STREAM, b"hello"), &[502, 503]),
        ("a reset", reset(1, 2), &[502, 503]),
        (
            "a frame of another stream",
            headers(7, END_STREAM, &status("200", &[])),
            &[502, 503],
        ),
        (
            "a push",
            frame(
                PUSH,
                END_HEADERS,
                1,
                &[&2_u32.to_be_bytes()[..], &block(&[(":method", "GET")])].concat(),
            ),
            &[502, 503],
        ),
        (
            "a block that cannot be decoded",
            headers(1, END_STREAM, &[0x40]),
            &[502, 503],
        ),
        (
            "HTTP/1.1",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
            &[502, 503],
        ),
        (
            "an acknowledgement with content",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            &[502, 503],
        ),
        (
            "a window above the largest",
            [window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)].concat(),
            &[502, 503],
        ),
        (
            "a hundred and one fields",
            headers(1, END_STREAM, &many_fields()),
            &[502, 503],
        ),
        (
            "a head that never ends",
            [frame(HEADERS, 0, 1, &status("200", &[])), continuations(100)].concat(),
            &[502, 503],
        ),
        (
            "a flood of informational heads",
            headers(1, 0, &status("103", &[])).repeat(1000),
            &[502, 503],
        ),
        (
            "pings, then an answer",
            [
                ping([0; 8]).repeat(1000),
                headers(1, END_STREAM, &status("200", &[])),
            ]
            .concat(),
            &[200],
        ),
        (
            "settings, then an answer",
            [
                settings(&[]).repeat(1000),
                headers(1, END_STREAM, &status("200", &[])),
            ]
            .concat(),
            &[200],
        ),
        (
            "a proper answer",
            [good, data(1, END_STREAM, b"hello")].concat(),
            &[200],
        ),
    ];
    for (name, says, expected) in table {
        let (address, _server) = server(says).await;
        let world = World::start(over_http2(address)).await;
        let mut client = world.connect().await;
        let call = async {
            client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
            loop {
                let answer = client.answer(false).await;
                if answer.status >= 200 {
                    return answer;
                }
            }
        };
        let answer = clock::timeout(PATIENCE, call)
            .await
            .unwrap_or_else(|_| panic!("{name}: no answer"));
        assert!(expected.contains(&answer.status), "{name}: {answer:?}");
    }
}

fn many_fields() -> Vec<u8> {
    let names: Vec<String> = (0..101).map(|number| format!("x-{number}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
    status("200", &fields)
}

fn continuations(count: usize) -> Vec<u8> {
    let padding = block(&[("x-a", &"y".repeat(10_000))]);
    frame(CONTINUATION, 0, 1, &padding).repeat(count)
}

#[tokio::test]
async fn a_body_that_breaks_its_length_is_not_taken_for_the_whole() {
    let head = headers(1, 0, &status("200", &[("content-length", "10")]));
    for (name, says) in [
        (
            "too short",
            [head.clone(), data(1, END_STREAM, b"hello")].concat(),
        ),
        (
            "too long",
            [head.clone(), data(1, END_STREAM, b"hello, hello, hello")].concat(),
        ),
        ("reset", [head, data(1, 0, b"hello"), reset(1, 2)].concat()),
    ] {
        let (address, _server) = server(says).await;
        let world = World::start(over_http2(address)).await;
        let mut client = world.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        let all = clock::timeout(PATIENCE, client.rest())
            .await
            .expect("the connection ends");
        let (head, body) = all.split_once("\r\n\r\n").expect("a head");
        let failed = head.starts_with("HTTP/1.1 50");
        assert!(failed || body.len() < 10, "{name}: {all}");
    }
}
