//! Connections whose chain was retired, and has had its time.

use std::rc::Rc;
use std::sync::Arc;

use daemon::{Tasks, clock};
use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::world::{PATIENCE, all_to};
use crate::http::connection::{Connection, serve};
use crate::transport::{DRAIN, Transport};

/// A connection of a worker that runs nowhere, on an outbound chain; its requests are answered by the proxy itself.
pub(super) fn lone() -> Connection {
    let (suspicions, _) = tokio::sync::mpsc::channel(1);
    let settings = crate::worker::Settings {
        identity: crate::Workload::default(),
        suspicions,
        mark: None,
        address: None,
        workload: Arc::default(),
        probe: Arc::default(),
        surroundings: Arc::default(),
        token: None,
        lines: tokio::sync::mpsc::channel(1).0,
    };
    let (_trigger, drain) = daemon::drain::channel();
    let worker = crate::worker::Worker::new(settings, Tasks::new(), drain);
    let compiled = Arc::new(crate::active::Compiled::next(&Arc::new(all_to(&[])), None));
    worker.put_in_force(compiled.clone());
    let destination = "10.96.0.1:80".parse().unwrap();
    let listener = compiled
        .listener(snapshot::Direction::Outbound, destination)
        .unwrap();
    let arrival = snapshot::Arrival {
        destination,
        server_name: "",
        transport_protocol: snapshot::TransportProtocol::RawBuffer,
        application_protocols: &[],
    };
    let Some(crate::active::compile::Chain::Http(chain)) = listener.choose(&arrival) else {
        panic!("the listener serves HTTP")
    };
    let ends = crate::listen::accept::Ends {
        peer: destination,
        destination,
        direction: snapshot::Direction::Outbound,
        connection: 0,
        encrypted: false,
    };
    Connection {
        worker,
        chain: chain.clone(),
        ends,
        peer: None,
        label: std::cell::RefCell::default(),
        server_name: "".into(),
    }
}

/// Both ends of a connection on loopback: the client's, and the proxy's.
pub(super) async fn pair() -> (TcpStream, Transport) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (client, Transport::new(stream))
}

/// Serves a connection while `client` makes calls on the other end.
async fn with<F: Future<Output = ()>>(client: impl FnOnce(TcpStream, Rc<Connection>) -> F) {
    let work = async {
        let (stream, transport) = pair().await;
        let connection = Rc::new(lone());
        let served = tokio::task::spawn_local(serve(connection.clone(), transport));
        clock::timeout(PATIENCE, client(stream, connection))
            .await
            .expect("in time");
        served.abort();
    };
    LocalSet::new().run_until(work).await;
}

fn has_had_its_time(connection: &Connection) {
    connection.chain.retired.retire(clock::now() - DRAIN);
}

#[tokio::test]
async fn an_http1_connection_takes_no_request_any_more() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    with(async |mut stream, connection| {
        let mut first = [0; 5];
        stream.write_all(GET).await.unwrap();
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/");
        has_had_its_time(&connection);
        stream.write_all(GET).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(!rest.contains("HTTP/1.1 "), "the second is answered: {rest}");
    })
    .await;
}

#[tokio::test]
async fn an_http2_connection_refuses_a_stream_and_then_ends() {
    with(async |stream, connection| {
        let (mut send, moving) = h2::client::handshake(stream).await.unwrap();
        let moving = tokio::task::spawn_local(moving);
        let mut call = async || {
            let request = http::Request::get("http://a/").body(()).unwrap();
            send.clone().ready().await?;
            send.send_request(request, true)?.0.await
        };
        assert!(call().await.is_ok());
        has_had_its_time(&connection);
        assert_eq!(call().await.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
        assert!(call().await.is_err());
        moving.await.unwrap().ok();
    })
    .await;
}
