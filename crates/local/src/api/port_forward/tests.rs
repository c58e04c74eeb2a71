//! Port-forwarding through real sockets, in all three ways, to a pod that is a listener on loopback.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use daemon::{Tasks, clock};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::super::node_link::NodeRequest;
use super::super::spdy::{Decoder, Encoder, Frame};
use super::*;

/// What "ports" of the pod do; others refuse.
const ECHO: &str = "8080";
const GREET: &str = "8081";
const SILENT: &str = "8082";

async fn pod_port(port: u16, tasks: &Tasks) -> Result<TcpStream, Status> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    tasks.spawn("program", async move {
        match port {
            8080 => {
                let (mut reader, mut writer) = accepted.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            }
            // Says its word before it hears the end of the client's.
            8081 => {
                accepted.write_all(b"hello").await.unwrap();
                accepted.shutdown().await.unwrap();
                let mut heard = Vec::new();
                let _ = accepted.read_to_end(&mut heard).await;
            }
            _ => drop(accepted.read_to_end(&mut Vec::new()).await),
        }
    });
    match port {
        8080..=8082 => Ok(connection),
        _ => Err(Status::internal(format!(
            "error forwarding port {port}: connection refused"
        ))),
    }
}

async fn server() -> (SocketAddr, Tasks) {
    let tasks = Tasks::new();
    let (link, mut requests) = NodeLink::new();
    let owner = tasks.clone();
    tasks.spawn("node", async move {
        while let Some(NodeRequest::Dial {
            namespace,
            pod,
            port,
            reply,
        }) = requests.recv().await
        {
            assert_eq!((&*namespace, &*pod), ("n", "p"));
            let _ = reply.send(pod_port(port, &owner).await);
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let owner = tasks.clone();
    tasks.spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (link, tasks) = (link.clone(), owner.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (link, tasks) = (link.clone(), tasks.clone());
                async move {
                    let query = request.uri().query().unwrap_or_default().to_owned();
                    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                    let parameters: Vec<_> = pairs
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect();
                    let pod =
                        json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "local"}});
                    let answer = forward(&pod, &parameters, request, &link, &tasks);
                    Ok::<_, Infallible>(answer.unwrap_or_else(|status| {
                        let mut response = Response::new(Full::from(status.message).boxed_unsync());
                        *response.status_mut() = http::StatusCode::from_u16(status.code).unwrap();
                        response
                    }))
                }
            });
            owner.spawn("connection", async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                let _ = connection.await;
            });
        }
    });
    (address, tasks)
}

async fn websocket(address: SocketAddr, query: &str, protocols: &str) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{address}/portforward?{query}")
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocols.parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

/// What carries frames.
enum Wire {
    Plain(TcpStream),
    Messages(Box<WebSocketStream<TcpStream>>),
}

/// What kubectl is to us.
struct Client {
    wire: Wire,
    inbox: BytesMut,
    decoder: Decoder,
    encoder: Encoder,
    next_stream: u32,
    /// What came on each stream so far, and whether it has ended.
    came: BTreeMap<u32, (Vec<u8>, bool)>,
    resets: Vec<(u32, u32)>,
}

impl Client {
    fn of(wire: Wire) -> Self {
        Self {
            wire,
            inbox: BytesMut::new(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            next_stream: 1,
            came: BTreeMap::new(),
            resets: Vec::new(),
        }
    }

    /// `kubectl` since 1.31.
    async fn tunnelled(address: SocketAddr) -> Self {
        let socket = websocket(address, "", "SPDY/3.1+portforward.k8s.io").await;
        Self::of(Wire::Messages(Box::new(socket)))
    }

    /// `kubectl` before that.
    async fn plain(address: SocketAddr) -> Self {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = "POST /portforward HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: Upgrade\r\n\
             Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        Self::of(Wire::Plain(connection))
    }

    async fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.write(frame, &mut bytes);
        match &mut self.wire {
            Wire::Plain(connection) => connection.write_all(&bytes).await.unwrap(),
            Wire::Messages(socket) => socket.send(Message::Binary(bytes.freeze())).await.unwrap(),
        }
    }

    async fn hear(&mut self) {
        let frame = loop {
            if let Some(frame) = self.decoder.next(&mut self.inbox).unwrap() {
                break frame;
            }
            match &mut self.wire {
                Wire::Plain(connection) => assert!(connection.read_buf(&mut self.inbox).await.unwrap() > 0),
                Wire::Messages(socket) => {
                    self.inbox
                        .extend_from_slice(&socket.next().await.unwrap().unwrap().into_data());
                }
            }
        };
        match frame {
            Frame::Data { stream, fin, bytes } => {
                let (content, ended) = self.came.entry(stream).or_default();
                assert!(!*ended, "stream {stream} goes on after its end");
                content.extend(bytes);
                *ended = fin;
            }
            Frame::Reset { stream, why } => self.resets.push((stream, why)),
            _ => {}
        }
    }

    /// Opens a connection to a port: its error and its data stream.
    async fn open(&mut self, port: &str) -> (u32, u32) {
        let (error, data) = (self.next_stream, self.next_stream + 2);
        self.next_stream += 4;
        for (stream, kind) in [(error, "error"), (data, "data")] {
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let id = error.to_string();
            let headers = vec![
                header("streamtype", kind),
                header("port", port),
                header("requestid", &id),
            ];
            // kubectl ends its side of the error stream at once.
            self.send(&Frame::SynStream {
                stream,
                fin: kind == "error",
                headers,
            })
            .await;
        }
        (error, data)
    }

    async fn write(&mut self, stream: u32, bytes: impl Into<Bytes>, fin: bool) {
        let bytes = bytes.into();
        self.send(&Frame::Data { stream, fin, bytes }).await;
    }

    /// All that comes on a stream.
    async fn all(&mut self, stream: u32) -> Vec<u8> {
        while !self.came.get(&stream).is_some_and(|(_, ended)| *ended) {
            self.hear().await;
        }
        self.came.remove(&stream).unwrap().0
    }
}

fn big(seed: u32) -> Vec<u8> {
    let numbers = (0..1_000_000u32).map(|number| number.wrapping_mul(2_654_435_761) ^ seed);
    numbers.flat_map(u32::to_be_bytes).collect()
}

#[tokio::test]
async fn bytes_come_back_and_both_streams_end_in_either_transport() {
    let (address, _tasks) = server().await;
    for mut client in [Client::tunnelled(address).await, Client::plain(address).await] {
        let (error, data) = client.open(ECHO).await;
        client.write(data, "to and ", false).await;
        client.write(data, "fro", true).await;
        assert_eq!(client.all(data).await, b"to and fro");
        assert_eq!(client.all(error).await, b"");
    }
}

#[tokio::test]
async fn megabytes_are_the_same_in_several_connections_at_once() {
    let (address, _tasks) = server().await;
    let mut client = Client::tunnelled(address).await;
    let (one, other) = (client.open(ECHO).await.1, client.open(ECHO).await.1);
    let (first, second) = (big(1), big(2));
    for (piece, other_piece) in first.chunks(30_000).zip(second.chunks(30_000)) {
        for (stream, piece) in [(one, piece), (other, other_piece)] {
            client.write(stream, piece.to_vec(), false).await;
            // Whoever writes without reading waits for himself at last.
            let sent = client.came.get(&stream).map_or(0, |(content, _)| content.len()) + 30_000;
            while client.came.get(&stream).map_or(0, |(content, _)| content.len()) + 200_000 < sent {
                client.hear().await;
            }
            if let Ok(()) = clock::timeout(Duration::from_micros(1), client.hear()).await {}
        }
    }
    client.write(one, "", true).await;
    client.write(other, "", true).await;
    assert!(client.all(one).await == first);
    assert!(client.all(other).await == second);
}

#[tokio::test]
async fn the_pod_may_end_first_and_the_client_later() {
    let (address, _tasks) = server().await;
    let mut client = Client::plain(address).await;
    let (error, data) = client.open(GREET).await;
    assert_eq!(client.all(data).await, b"hello");
    client.write(data, "still here", true).await;
    assert_eq!(client.all(error).await, b"");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_an_error_text_and_nothing_else_ends() {
    let (address, _tasks) = server().await;
    let mut client = Client::tunnelled(address).await;
    let (working, failing) = (client.open(ECHO).await, client.open("81").await);
    let why = String::from_utf8(client.all(failing.0).await).unwrap();
    assert!(why.contains("forwarding port 81"), "{why}");
    assert_eq!(client.all(failing.1).await, b"");
    client.write(working.1, "still", true).await;
    assert_eq!(client.all(working.1).await, b"still");
}

#[tokio::test]
async fn a_connection_that_nobody_reads_does_not_stop_the_others() {
    let (address, _tasks) = server().await;
    let mut client = Client::plain(address).await;
    // From now on we say how much may come.
    client
        .send(&Frame::Settings {
            initial_window: Some(1000),
        })
        .await;
    let (stuck, good) = (client.open(ECHO).await.1, client.open(ECHO).await.1);
    client.write(stuck, vec![7; 50_000], false).await;
    client.write(good, "hello", true).await;
    assert_eq!(client.all(good).await, b"hello");
    while client
        .came
        .get(&stuck)
        .is_none_or(|(content, _)| content.len() < 1000)
    {
        client.hear().await;
    }
    let more = 100_000;
    client.send(&Frame::WindowUpdate { stream: stuck, more }).await;
    client.write(stuck, "", true).await;
    assert_eq!(client.all(stuck).await.len(), 50_000);
}

#[tokio::test]
async fn streams_that_make_no_sense_are_reset() {
    let (address, _tasks) = server().await;
    let mut client = Client::plain(address).await;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let good = [
        header("streamtype", "data"),
        header("port", "80"),
        header("requestid", "x"),
    ];
    let cases = [
        (
            1,
            vec![
                header("streamtype", "data"),
                header("port", "0"),
                header("requestid", "0"),
            ],
            3,
        ),
        (3, vec![header("streamtype", "data"), header("port", "80")], 3),
        (
            5,
            vec![
                header("streamtype", "x"),
                header("port", "80"),
                header("requestid", "0"),
            ],
            3,
        ),
        (4, good.to_vec(), 1),
    ];
    for (stream, headers, why) in cases {
        client
            .send(&Frame::SynStream {
                stream,
                fin: false,
                headers,
            })
            .await;
        while client.resets.is_empty() {
            client.hear().await;
        }
        assert_eq!(client.resets.pop(), Some((stream, why)));
    }
    // The same stream twice for one connection.
    for stream in [7, 9] {
        let headers = good.to_vec();
        client
            .send(&Frame::SynStream {
                stream,
                fin: false,
                headers,
            })
            .await;
    }
    while client.resets.is_empty() {
        client.hear().await;
    }
    assert_eq!(client.resets, [(9, 3)]);
}

#[tokio::test]
async fn a_client_that_goes_ends_its_connections() {
    let (address, tasks) = server().await;
    let mut client = Client::plain(address).await;
    client.open(SILENT).await;
    client.open(ECHO).await;
    client.send(&Frame::Ping(1)).await;
    client.hear().await;
    drop(client);
    // What stays are the node and the server.
    let gone = async {
        while tasks.count() > 2 {
            clock::sleep(Duration::from_millis(5)).await;
        }
    };
    clock::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn channels_carry_one_connection_per_port() {
    let (address, _tasks) = server().await;
    let query = format!("ports={ECHO},81&ports={GREET}");
    let mut client = websocket(address, &query, "v5.channel.k8s.io, v4.channel.k8s.io").await;
    client
        .send(Message::Binary(Bytes::from_static(b"\x00ping")))
        .await
        .unwrap();
    let mut came: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    while came.get(&0).is_none_or(|data| data.len() < 6)
        || came.get(&4).is_none_or(|data| data.len() < 7)
        || came.get(&3).is_none_or(|data| data.len() < 3)
    {
        let bytes = client.next().await.unwrap().unwrap().into_data();
        came.entry(bytes[0]).or_default().extend(&bytes[1..]);
    }
    assert_eq!(
        (&came[&0][..], &came[&1][..]),
        (&b"\x90\x1fping"[..], &b"\x90\x1f"[..])
    );
    assert_eq!(&came[&4][..], b"\x91\x1fhello");
    assert!(came[&3].starts_with(b"Q\0error forwarding port 81"));
}

#[test]
fn ports_are_numbers_and_not_too_many() {
    let query = |value: &str| ports(&[("ports".to_owned(), value.to_owned())]);
    assert_eq!(query("80,443").unwrap(), [80, 443]);
    assert!(query("0").is_err() && query("http").is_err() && query("65536").is_err());
    assert!(query(&vec!["1"; 128].join(",")).is_err());
}
