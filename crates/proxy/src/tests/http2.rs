//! HTTP/2 on one side or both, gRPC with its trailers, and the size of what is kept per request.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use daemon::{Tasks, clock};
use http::{HeaderMap, Request, Response, StatusCode};
use snapshot::Snapshot;
use snapshot::cluster::UpstreamHttp;
use tokio::net::{TcpListener, TcpStream};

use super::retired;
use super::world::{Backend, PATIENCE, World, all_to, cluster, nobody, ok};

/// Answers every stream with its body, and a trailer that says how long it was. Counts connections.
async fn echo() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (owner, counter) = (tasks.clone(), connections.clone());
    tasks.spawn("echo", async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let streams = owner.clone();
            owner.spawn("echo connection", async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    streams.spawn("echo stream", answer(request, respond));
                }
            });
        }
    });
    (address, connections, tasks)
}

/// Answers each stream with whether its end came with the last of its body, in data that ends the stream as well.
async fn telling_ends() -> (SocketAddr, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    tasks.spawn("telling ends", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut body = request.into_body();
            // The connection moves only while it is asked for another stream.
            let told = async {
                let with_data = ends_with_data(&mut body).await;
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data(with_data.to_string().into(), true).unwrap();
            };
            tokio::select! {
                () = told => {}
                _ = std::future::poll_fn(|task| connection.poll_closed(task)) => return,
            }
        }
    });
    (address, tasks)
}

/// Reads a body: whether its last data ended it.
async fn ends_with_data(body: &mut h2::RecvStream) -> bool {
    let mut with_data = false;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        let _ = body.flow_control().release_capacity(data.len());
        with_data = !data.is_empty() && body.is_end_stream();
    }
    with_data
}

async fn answer(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let stated = request.headers().get("x-state-length").cloned();
    let content_type = request.headers().get("content-type").cloned();
    let mut body = request.into_body();
    let mut response = Response::new(());
    if let Some(value) = content_type {
        response.headers_mut().insert("content-type", value);
    }
    if let Some(length) = stated {
        response.headers_mut().insert("content-length", length);
    }
    let mut send = respond.send_response(response, false).unwrap();
    let mut length = 0;
    while let Some(Ok(data)) = body.data().await {
        length += data.len();
        let _ = body.flow_control().release_capacity(data.len());
        if send.send_data(data, false).is_err() {
            return;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("x-length", length.into());
    let _ = send.send_trailers(trailers);
}

fn over_http2(addresses: &[SocketAddr]) -> Snapshot {
    let mut snapshot = all_to(addresses);
    snapshot.clusters.insert(snapshot::Cluster {
        http: UpstreamHttp::Http2,
        ..cluster("a")
    });
    snapshot
}

struct Client {
    send: h2::client::SendRequest<Bytes>,
    _tasks: Tasks,
}

/// A response with all that followed.
#[derive(Debug)]
struct Answer {
    head: Response<()>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Client {
    async fn connect(world: &World) -> Self {
        Self::connect_to(world, "outbound").await
    }

    async fn connect_to(world: &World, listener: &str) -> Self {
        let stream = TcpStream::connect(world.running.addresses[listener])
            .await
            .unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let tasks = Tasks::new();
        tasks.spawn("client", async move {
            let _ = connection.await;
        });
        Self { send, _tasks: tasks }
    }

    async fn call(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
        body: Option<&[u8]>,
    ) -> Answer {
        clock::timeout(PATIENCE, self.exchange(path, headers, body))
            .await
            .expect("an answer in time")
    }

    async fn exchange(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://shop{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, mut stream) = send
            .send_request(request.body(()).unwrap(), body.is_none())
            .unwrap();
        if let Some(body) = body {
            stream.send_data(Bytes::copy_from_slice(body), true).unwrap();
        }
        let (parts, mut incoming) = response.await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(data) = incoming.data().await {
            let data = data.unwrap();
            let _ = incoming.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        let trailers = incoming.trailers().await.unwrap();
        Answer {
            head: Response::from_parts(parts, ()),
            body,
            trailers,
        }
    }
}

#[tokio::test]
async fn http2_comes_in_and_http1_goes_out() {
    let backend = Backend::start(|request| ok(&request.replace("\r\n", "\n"))).await;
    let world = World::start(all_to(&[backend.address])).await;
    let client = Client::connect(&world).await;
    let answer = client.call("/a", &[("x-custom", "1")], Some(b"body")).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.starts_with("POST /a HTTP/1.1\nhost: shop\nx-custom: 1\n"),
        "{text}"
    );
    assert!(text.ends_with("transfer-encoding: chunked\n\nbody"), "{text}");
    assert_eq!(answer.head.headers()["server"], "envoy");
    let answers = futures_util::future::join_all((0..50).map(|_| client.call("/", &[], None))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.head.status() == StatusCode::OK)
    );
}

#[tokio::test]
async fn trailers_follow_a_body_whose_length_was_stated() {
    let (address, _connections, _server) = echo().await;
    let world = World::start(over_http2(&[address])).await;
    let client = Client::connect(&world).await;
    let answer = client.call("/", &[("x-state-length", "4")], Some(b"four")).await;
    assert_eq!(answer.body, b"four");
    assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn http1_comes_in_and_http2_goes_out() {
    let (address, connections, _server) = echo().await;
    let world = World::start(over_http2(&[address])).await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        let answer = client
            .call("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
            .await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    }
    assert_eq!(
        connections.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "streams share a connection"
    );
}

#[tokio::test]
async fn the_end_of_a_stream_comes_with_the_last_of_its_data() {
    let (address, _server) = telling_ends().await;
    let world = World::start(over_http2(&[address])).await;
    let mut send = Client::connect(&world).await.send;
    for body in [b"small".to_vec(), vec![7; 100_000]] {
        let request = Request::post("http://shop/").body(()).unwrap();
        let (response, mut stream) = send.send_request(request, false).unwrap();
        stream.send_data(body.into(), true).unwrap();
        let (_, mut answer) = response.await.unwrap().into_parts();
        let told = answer.data().await.unwrap().unwrap();
        assert_eq!(told, "true", "the request");
        assert!(answer.is_end_stream(), "the response");
    }
    let mut client = world.connect().await;
    let answer = client
        .call("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    assert_eq!(answer.body, "true", "a request over HTTP/1.1");
}

#[tokio::test]
async fn grpc_passes_with_its_trailers_and_its_failures_are_grpc_too() {
    let (address, connections, _server) = echo().await;
    let world = World::start(over_http2(&[address])).await;
    let client = Client::connect(&world).await;
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let large = vec![7; 200_000];
    let calls = (0..10).map(|_| client.call("/Service/Method", &grpc, Some(&large)));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.body.len(), large.len());
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    let labels = ["request_protocol=\"grpc\"", "grpc_response_status=\"0\""];
    assert_eq!(world.metric("istio_requests_total", &labels).await, Some(10.0));

    world
        .snapshots
        .send_replace(Some(Arc::new(over_http2(&[nobody().await]))));
    let failed = async {
        loop {
            let answer = client.call("/Service/Method", &grpc, Some(b"x")).await;
            if answer.head.headers().contains_key("grpc-status") {
                return answer;
            }
        }
    };
    let answer = clock::timeout(PATIENCE, failed).await.unwrap();
    assert_eq!(
        (answer.head.status(), &answer.head.headers()["grpc-status"]),
        (StatusCode::OK, &"14".parse().unwrap())
    );
    // A head that is the trailers, too, promises no body: Envoy states no length in it.
    assert!(!answer.head.headers().contains_key("content-length"));
}

#[tokio::test]
async fn a_draining_proxy_says_goaway_and_finishes_what_it_has() {
    let backend = Backend::saying("hi").await;
    let world = World::start(all_to(&[backend.address])).await;
    let client = Client::connect_to(&world, "inbound").await;
    assert_eq!(client.call("/", &[], None).await.body, b"hi");
    world.running.drain.begin();
    let refused = async {
        while client.send.clone().ready().await.is_ok() {
            clock::sleep(std::time::Duration::from_millis(1)).await
        }
    };
    clock::timeout(PATIENCE, refused).await.expect("GOAWAY in time");
}

#[tokio::test]
async fn what_is_kept_for_one_connection_is_small() {
    let (_client, transport) = retired::pair().await;
    let future = crate::http::connection::serve(std::rc::Rc::new(retired::lone()), transport);
    let size = std::mem::size_of_val(&future);
    assert!(size <= 4 * 1024, "the future of a connection has {size} bytes");
}

#[tokio::test]
async fn a_client_is_told_how_many_streams_it_may_open() {
    let backend = Backend::saying("hi").await;
    let mut snapshot = all_to(&[backend.address]);
    let mut listener = (**snapshot.listeners.get("0.0.0.0_80").unwrap()).clone();
    let Some(snapshot::Handler::Http(http)) = listener.default_chain.as_mut().map(|chain| &mut chain.handler)
    else {
        panic!("the listener serves HTTP")
    };
    http.options.max_streams = Some(7);
    snapshot.listeners.insert(listener);
    let world = World::start(snapshot).await;
    let stream = TcpStream::connect(world.running.addresses["outbound"])
        .await
        .unwrap();
    let (mut send, mut connection) = h2::client::handshake(stream).await.unwrap();
    let request = http::Request::get("http://x/").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    tokio::select! {
        answer = response => assert_eq!(answer.unwrap().status(), 200),
        _ = &mut connection => panic!("the connection ended"),
    }
    assert_eq!(connection.max_concurrent_send_streams(), 7);
}
