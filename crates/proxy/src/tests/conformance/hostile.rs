//! Floods: each is answered with the end of its connection, or costs the sender as much as the proxy, and nobody else.

use std::time::Duration;

use daemon::{Tasks, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use snapshot::route::{Action, DirectResponse};

use super::super::world::{Backend, PATIENCE, World, all_to, host, ok, snapshot};
use super::client::Peer;
use super::frame::{
    CONTINUATION, END_STREAM, ENHANCE_YOUR_CALM, GO_AWAY, HEADERS, PROTOCOL_ERROR, RESET, block, data, frame,
    get, head, headers, ping, post, priority, reset, settings, window, with,
};
use crate::http::codec::h2::MAX_UNFINISHED;

struct Target {
    world: World,
    backend: Backend,
}

impl Target {
    async fn start() -> Self {
        let backend = Backend::start(|_| ok("hello")).await;
        let world = World::start(all_to(&[backend.address])).await;
        Self { world, backend }
    }

    async fn attack(&self) -> Peer {
        Peer::connect(&self.world, false).await
    }

    /// Before a server that takes everything and answers nothing.
    async fn silent() -> (World, Tasks) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::start(all_to(&[listener.local_addr().unwrap()])).await;
        let tasks = Tasks::new();
        let owner = tasks.clone();
        tasks.spawn("silent", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                owner.spawn("silent connection", async move {
                    let mut room = [0; 1024];
                    while matches!(stream.read(&mut room).await, Ok(read) if read > 0) {}
                });
            }
        });
        (world, tasks)
    }

    /// Another client, on the same worker, is served within a second.
    async fn others_are_served(&self) {
        let call = self
            .world
            .call("GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
        let answer = clock::timeout(Duration::from_secs(1), call)
            .await
            .expect("an answer within a second");
        assert_eq!(answer.body, "hello");
    }
}

/// Writes until the proxy ends the connection. How many of the pieces it took; `None` when it took them all.
async fn until_ended(peer: &mut Peer, piece: impl Fn(u32) -> Vec<u8>, count: u32) -> Option<u32> {
    for number in 0..count {
        if peer.stream.write_all(&piece(number)).await.is_err() {
            return Some(number);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// The error of the GOAWAY that ends the connection; `None` if it just ends.
async fn end_of(peer: &mut Peer) -> Option<u32> {
    let end = async {
        let mut error = None;
        while let Some(frame) = peer.frame().await {
            if frame.kind == GO_AWAY {
                error = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        error
    };
    clock::timeout(PATIENCE, end).await.expect("the connection ends")
}

#[tokio::test]
async fn rapid_reset_in_one_write_ends_the_connection() {
    let target = Target::start().await;
    let mut peer = target.attack().await;
    let pairs: Vec<u8> = (0..2000)
        .flat_map(|number| [get(2 * number + 1), reset(2 * number + 1, 8)].concat())
        .collect();
    peer.send(&pairs).await;
    let error = end_of(&mut peer).await;
    assert!(matches!(error, None | Some(ENHANCE_YOUR_CALM)), "{error:?}");
    assert!(
        target.backend.requests() <= 50,
        "{} requests went through",
        target.backend.requests()
    );
    target.others_are_served().await;
}

#[tokio::test]
async fn rapid_reset_after_every_accepted_stream_ends_the_connection() {
    let (world, _silent) = Target::silent().await;
    let mut peer = Peer::connect(&world, false).await;
    let attack = async {
        let mut streams = 0;
        for number in 0..5000 {
            let stream = 2 * number + 1;
            peer.send(&[post(stream), ping(*b"accepted")].concat()).await;
            // The answer to the PING says that the stream was taken.
            loop {
                match peer.frame().await {
                    Some(frame) if frame.kind == GO_AWAY => return streams,
                    Some(frame) if frame.payload == b"accepted" => break,
                    Some(_) => {}
                    None => return streams,
                }
            }
            streams += 1;
            peer.send(&reset(stream, 8)).await;
        }
        streams
    };
    let streams = clock::timeout(PATIENCE, attack).await.expect("an end in time");
    assert!(
        (200..=520).contains(&streams),
        "{streams} streams were opened and reset"
    );
}

#[tokio::test]
async fn a_client_that_cancels_now_and_then_stays_connected() {
    let target = Target::start().await;
    let mut peer = target.attack().await;
    for number in 0..700_u32 {
        let stream = 2 * number + 1;
        if number % 3 == 0 {
            peer.send(&[get(stream), ping(*b"accepted"), reset(stream, 8)].concat())
                .await;
        } else {
            peer.send(&get(stream)).await;
        }
        let served = async {
            loop {
                let frame = peer.frame().await.expect("the connection stays");
                assert_ne!(frame.kind, GO_AWAY);
                if frame.payload == b"accepted"
                    || (frame.stream == stream && frame.flags & END_STREAM != 0 && frame.kind <= HEADERS)
                {
                    return;
                }
            }
        };
        clock::timeout(PATIENCE, served).await.expect("an answer");
    }
}

#[tokio::test]
async fn a_head_of_endless_continuations_ends_the_connection() {
    let target = Target::start().await;
    for piece in [block(&[("x-a", &"y".repeat(1000))]), Vec::new()] {
        let mut peer = target.attack().await;
        peer.send(&frame(HEADERS, END_STREAM, 1, &head("GET"))).await;
        let taken = until_ended(&mut peer, |_| frame(CONTINUATION, 0, 1, &piece), 100_000).await;
        assert!(taken.is_some_and(|taken| taken < 50_000), "{taken:?}");
    }
    assert_eq!(target.backend.requests(), 0);
    target.others_are_served().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_gets_431_and_the_connection_lives() {
    let target = Target::start().await;
    let mut peer = target.attack().await;
    let large = with("GET", &[("x-a", &"y".repeat(70_000))]);
    let (first, rest) = large.split_at(16_000);
    peer.send(&frame(HEADERS, END_STREAM, 1, first)).await;
    let mut pieces = rest.chunks(16_000).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { 4 } else { 0 };
        peer.send(&frame(CONTINUATION, flags, 1, piece)).await;
    }
    let answer = async {
        loop {
            let frame = peer.frame().await.expect("the connection stays");
            if frame.kind == HEADERS {
                return frame.payload;
            }
        }
    };
    let answer = clock::timeout(PATIENCE, answer).await.expect("an answer");
    // 431 as text or in Huffman's code.
    let says = |bytes: &[u8]| answer.windows(bytes.len()).any(|window| window == bytes);
    assert!(says(b"431") || says(&[0x69, 0x90, 0xff]), "{answer:x?}");
    assert_eq!(target.backend.requests(), 0);
}

/// Frames that the proxy must answer, from a peer that reads no answers: what is accepted of them is bounded.
async fn accepted_without_reading(piece: Vec<u8>) -> usize {
    let target = Target::start().await;
    let mut peer = target.attack().await;
    let mut accepted = 0;
    let batch = piece.repeat(1000);
    while accepted < 64 << 20 {
        match clock::timeout(Duration::from_millis(500), peer.stream.write(&batch)).await {
            Ok(Ok(written)) => accepted += written,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    target.others_are_served().await;
    accepted
}

#[tokio::test]
async fn pings_are_not_taken_faster_than_their_answers_are() {
    let accepted = accepted_without_reading(ping([0; 8])).await;
    assert!(accepted < 32 << 20, "{accepted} bytes of PING");
}

#[tokio::test]
async fn settings_are_not_taken_faster_than_their_answers_are() {
    let accepted = accepted_without_reading(settings(&[(3, 10), (4, 70_000)])).await;
    assert!(accepted < 48 << 20, "{accepted} bytes of SETTINGS");
}

#[tokio::test]
async fn frames_without_content_do_not_stop_others() {
    let target = Target::start().await;
    for piece in [
        data(1, 0, b""),
        window(1, 1),
        priority(3, 0),
        frame(0x42, 0, 0, b""),
    ] {
        let mut peer = target.attack().await;
        peer.send(&post(1)).await;
        let batch = piece.repeat(2000);
        let flood = until_ended(&mut peer, |_| batch.clone(), 20);
        let (_, ()) = tokio::join!(flood, target.others_are_served());
        target.others_are_served().await;
    }
}

#[tokio::test]
async fn a_body_of_single_bytes_that_nobody_takes_is_bounded() {
    // The backend reads nothing, so that all that the proxy takes it keeps.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(all_to(&[listener.local_addr().unwrap()])).await;
    let mut peer = Peer::connect(&world, false).await;
    peer.send(&post(1)).await;
    let batch = data(1, 0, b"x").repeat(1000);
    let mut frames = 0;
    while frames < 2_000_000 {
        match clock::timeout(Duration::from_millis(500), peer.stream.write_all(&batch)).await {
            Ok(Ok(())) => frames += 1000,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    // A stream's window is 256 KiB; its bytes, plus what both sockets hold on the way up.
    assert!(frames < 2_000_000, "{frames} frames of one byte were taken");
}

/// The library charges frames that come after the end of their stream for ever: by default some 1,000 or 2,000 of them
/// broke a connection off, with all that was under way on it (found by the soak churn).
#[tokio::test]
async fn requests_that_are_answered_before_their_end_wear_a_connection_out_gently() {
    let answer = DirectResponse {
        status: 200,
        body: String::new(),
    };
    let hosts = vec![host("shop", Action::Respond(answer))];
    let world = World::start(snapshot(hosts, vec![])).await;
    let mut peer = Peer::connect(&world, false).await;
    let (mut farewells, mut streams) = (Vec::new(), 0);
    while farewells.is_empty() {
        assert!(streams <= MAX_UNFINISHED, "the connection goes on for ever");
        let stream = 2 * streams + 1;
        peer.send(&post(stream)).await;
        loop {
            let frame = clock::timeout(PATIENCE, peer.frame()).await.expect("an answer");
            let frame = frame.expect("the connection stays open");
            match frame.kind {
                GO_AWAY => farewells.push(frame.payload),
                RESET if frame.stream == stream => break,
                _ => {}
            }
        }
        peer.send(&data(stream, 0, b"small").repeat(3)).await;
        streams += 1;
    }
    assert_eq!(streams, MAX_UNFINISHED + 1);
    assert_eq!(farewells[0][4..8], [0; 4], "it says goodbye, and no more");
}

#[tokio::test]
async fn a_client_that_opens_no_window_holds_one_stream_and_not_the_worker() {
    let target = Target::start().await;
    let mut peer = target.attack().await;
    peer.send(&settings(&[(4, 0)])).await;
    for number in 0..200 {
        peer.send(&get(2 * number + 1)).await;
    }
    target.others_are_served().await;
    let mut other = target.attack().await;
    other.send(&get(1)).await;
    let answer = async { while other.frame().await.expect("open").kind != HEADERS {} };
    clock::timeout(Duration::from_secs(1), answer)
        .await
        .expect("an answer within a second");
}

#[tokio::test]
async fn an_error_of_one_connection_is_told_by_its_name() {
    let target = Target::start().await;
    let mut peer = target.attack().await;
    peer.send(&headers(2, END_STREAM, &head("GET"))).await;
    assert_eq!(end_of(&mut peer).await, Some(PROTOCOL_ERROR));
}
