//! Commands over SPDY.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::super::spdy::{Decoder, Encoder, Frame};
use super::{BIG, Server, node, server};

/// What kubectl 1.29 is to us.
struct Client {
    connection: TcpStream,
    inbox: BytesMut,
    decoder: Decoder,
    encoder: Encoder,
    /// Streams by their type.
    streams: BTreeMap<&'static str, u32>,
}

impl Client {
    async fn connect(server: &Server, query: &str, versions: &str) -> (Self, String) {
        let mut connection = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "POST /exec?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: Upgrade\r\n\
             Upgrade: SPDY/3.1\r\n{versions}\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let (mut inbox, mut head) = (BytesMut::new(), String::new());
        while !head.contains("\r\n\r\n") {
            assert_ne!(connection.read_buf(&mut inbox).await.unwrap(), 0);
            head = String::from_utf8_lossy(&inbox).into_owned();
        }
        let client = Self {
            connection,
            inbox: inbox.split_off(head.find("\r\n\r\n").unwrap() + 4),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            streams: BTreeMap::new(),
        };
        (client, head)
    }

    /// A connection whose streams are open.
    async fn open(server: &Server, query: &str, types: &[&'static str]) -> Self {
        let versions = "X-Stream-Protocol-Version: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
        let (mut client, head) = Self::connect(server, query, versions).await;
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(
            head.contains("x-stream-protocol-version: v4.channel.k8s.io"),
            "{head}"
        );
        for (number, name) in types.iter().enumerate() {
            let stream = u32::try_from(2 * number + 1).unwrap();
            client.streams.insert(name, stream);
            let headers = vec![("streamtype".to_owned(), (*name).to_owned())];
            let fin = false;
            client.send(&Frame::SynStream { stream, fin, headers }).await;
            let reply = client.next().await;
            assert!(matches!(reply, Some(Frame::SynReply { stream: of, .. }) if of == stream));
        }
        client
    }

    async fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.write(frame, &mut bytes);
        self.connection.write_all(&bytes).await.unwrap();
    }

    async fn write(&mut self, name: &str, content: &'static [u8], fin: bool) {
        let (stream, bytes) = (self.streams[name], Bytes::from_static(content));
        self.send(&Frame::Data { stream, fin, bytes }).await;
    }

    /// `None` when the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.inbox).unwrap() {
                return Some(frame);
            }
            if self.connection.read_buf(&mut self.inbox).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// What came on each stream up to the server's farewell; every stream is finished by then.
    async fn finish(mut self) -> (BTreeMap<u32, Vec<u8>>, Value) {
        let (mut contents, mut open) = (BTreeMap::<u32, Vec<u8>>::new(), self.streams.clone());
        loop {
            match self.next().await.expect("there is no farewell") {
                Frame::Data { stream, fin, bytes } => {
                    contents.entry(stream).or_default().extend(bytes);
                    if fin {
                        open.retain(|_, id| *id != stream);
                    }
                }
                Frame::GoAway { .. } => break,
                _ => {}
            }
        }
        assert!(open.is_empty(), "not finished: {open:?}");
        let status = serde_json::from_slice(&contents[&self.streams["error"]]).unwrap();
        (contents, status)
    }
}

#[tokio::test]
async fn a_command_writes_on_its_streams_and_succeeds() {
    let server = server().await;
    let query = "command=echo&command=hello&stdout=true&stderr=true";
    let client = Client::open(&server, query, &["error", "stdout", "stderr"]).await;
    let (contents, status) = client.finish().await;
    assert_eq!(
        (&contents[&3][..], &contents[&5][..]),
        (&b"hello"[..], &b"complaint"[..])
    );
    assert_eq!(status["status"], "Success");
}

#[tokio::test]
async fn an_exit_code_arrives_on_the_error_stream() {
    let server = server().await;
    let client = Client::open(&server, "command=exit&command=3&stdout=1", &["error", "stdout"]).await;
    let (_, status) = client.finish().await;
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}

#[tokio::test]
async fn standard_input_ends_with_its_stream_and_is_acknowledged() {
    let server = server().await;
    let query = "command=cat&stdin=1&stdout=1";
    let mut client = Client::open(&server, query, &["error", "stdin", "stdout"]).await;
    client.write("stdin", b"to and ", false).await;
    let update = Frame::WindowUpdate { stream: 3, more: 7 };
    let mut echoed = Vec::new();
    loop {
        match client.next().await.unwrap() {
            Frame::Data { bytes, .. } => echoed.extend(bytes),
            frame => {
                assert_eq!(frame, update);
                break;
            }
        }
    }
    client.write("stdin", b"fro", true).await;
    let (contents, status) = client.finish().await;
    echoed.extend(&contents[&5]);
    assert_eq!(
        (&echoed[..], &status["status"]),
        (&b"to and fro"[..], &Value::from("Success"))
    );
}

#[tokio::test]
async fn a_terminal_is_told_its_size_even_in_pieces() {
    let server = server().await;
    let query = "command=size&stdout=1&stderr=1&tty=1";
    let mut client = Client::open(&server, query, &["error", "stdout", "resize"]).await;
    client.write("resize", b"{\"Width\":132,", false).await;
    client.write("resize", b"\"Height\":43}\n", false).await;
    let (contents, _) = client.finish().await;
    assert_eq!(contents[&3], b"132x43");
}

#[tokio::test]
async fn five_megabytes_arrive_whole_at_a_client_without_windows() {
    let server = server().await;
    let client = Client::open(&server, "command=big&stdout=1", &["error", "stdout"]).await;
    let (contents, _) = client.finish().await;
    assert!(contents[&3] == node::big(), "{} bytes", contents[&3].len());
}

#[tokio::test]
async fn a_window_is_respected() {
    let server = server().await;
    let mut client = Client::open(&server, "command=big&stdout=1", &["error"]).await;
    // Before the last stream is open, so that nothing has been sent.
    let initial_window = Some(1000);
    client.send(&Frame::Settings { initial_window }).await;
    let headers = vec![("streamtype".to_owned(), "stdout".to_owned())];
    let (stream, fin) = (3, false);
    client.send(&Frame::SynStream { stream, fin, headers }).await;
    let (mut got, mut allowed) = (0, 1000);
    while got < BIG {
        match client.next().await.unwrap() {
            Frame::Data { bytes, .. } => got += bytes.len(),
            Frame::SynReply { .. } => {}
            other => panic!("{other:?}"),
        }
        assert!(got <= allowed);
        if got == allowed {
            // The answer to a ping comes after all that was allowed to come.
            client.send(&Frame::Ping(1)).await;
            assert_eq!(client.next().await, Some(Frame::Ping(1)));
            let more = 1_000_000;
            allowed += 1_000_000;
            client.send(&Frame::WindowUpdate { stream, more }).await;
        }
    }
}

#[tokio::test]
async fn a_vanishing_client_ends_the_command() {
    let mut server = server().await;
    let query = "command=forever&stdin=1&stdout=1";
    let mut client = Client::open(&server, query, &["error", "stdin", "stdout"]).await;
    assert!(matches!(client.next().await, Some(Frame::Data { bytes, .. }) if bytes == "started"));
    drop(client);
    assert_eq!(server.killed.recv().await.unwrap(), "forever");
}

#[tokio::test]
async fn nonsense_ends_the_command() {
    let mut server = server().await;
    let mut client = Client::open(&server, "command=forever&stdout=1", &["error", "stdout"]).await;
    client
        .connection
        .write_all(&[0x80, 2, 0, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    assert_eq!(server.killed.recv().await.unwrap(), "forever");
}

#[tokio::test]
async fn streams_that_nobody_asked_for_are_reset() {
    let server = server().await;
    let mut client = Client::open(&server, "command=forever&stdout=1", &["error"]).await;
    for (stream, name, why) in [
        (3, "stdin", 3),
        (5, "error", 3),
        (7, "x", 3),
        (2, "stdout", 1),
        (5, "stdout", 1),
    ] {
        let headers = vec![("streamtype".to_owned(), name.to_owned())];
        let fin = false;
        client.send(&Frame::SynStream { stream, fin, headers }).await;
        assert_eq!(client.next().await, Some(Frame::Reset { stream, why }), "{name}");
    }
}

#[tokio::test]
async fn a_client_of_other_versions_is_refused() {
    let server = server().await;
    let versions = "X-Stream-Protocol-Version: v1.channel.k8s.io\r\n";
    let (_, head) = Client::connect(&server, "command=echo&stdout=1", versions).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}
