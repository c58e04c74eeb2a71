//! Opaque streams, protocol detection, and what is passed through.

use daemon::{Tasks, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{Backend, PATIENCE, World, all_to};

/// Greets, then echoes until the client has ended, then says goodbye.
async fn greeter() -> (std::net::SocketAddr, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    tasks.spawn("greeter", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"hello\n").await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
            stream.write_all(b"bye\n").await.unwrap();
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn bytes_pass_and_each_direction_ends_for_itself() {
    let (address, _server) = greeter().await;
    let world = World::start(all_to(&[address])).await;
    world.going_to("10.96.0.1:5432");
    let mut client = world.connect().await;
    assert_eq!(client.exactly(6).await, "hello\n");
    client.send("abc").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(clock::timeout(PATIENCE, client.rest()).await.unwrap(), "abcbye\n");
    let labels = ["request_protocol=\"tcp\"", "destination_service_name=\"a\""];
    for (name, value) in [
        ("istio_tcp_connections_opened_total", 1.0),
        ("istio_tcp_connections_closed_total", 1.0),
        ("istio_tcp_received_bytes_total", 3.0),
        ("istio_tcp_sent_bytes_total", 13.0),
    ] {
        assert_eq!(world.metric(name, &labels).await, Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_not_stalled_by_detection() {
    let (address, _server) = greeter().await;
    let world = World::start(all_to(&[address])).await;
    world.going_to("10.96.0.1:7000");
    assert_eq!(world.connect().await.exactly(6).await, "hello\n");
}

#[tokio::test]
async fn http_is_detected_where_the_port_does_not_say() {
    let backend = Backend::saying("hi").await;
    let world = World::start(all_to(&[backend.address])).await;
    world.going_to("10.96.0.1:7000");
    let answer = world.call("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(
        (answer.body.as_str(), answer.header("server")),
        ("hi", Some("envoy"))
    );
}

#[tokio::test]
async fn what_the_mesh_does_not_know_passes_through_to_where_it_was_going() {
    let backend = Backend::saying("outside").await;
    let world = World::start(all_to(&[])).await;
    world.going_to(&backend.address.to_string());
    let answer = world.call("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((answer.body.as_str(), answer.header("server")), ("outside", None));
}

#[tokio::test]
async fn a_connection_to_our_own_listener_is_refused() {
    let world = World::start(all_to(&[])).await;
    let kernel = crate::OriginalDestination::Kernel;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    assert_eq!(
        kernel.of(snapshot::Direction::Outbound, &stream, peer),
        None,
        "nobody redirected it"
    );
    drop(world);
}
