//! Limits on connections and requests: what waits, what is shed, and what connections live through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use daemon::{Tasks, clock};
use http::Request;
use snapshot::cluster::UpstreamHttp;
use snapshot::route::DirectResponse;
use snapshot::{Action, CircuitBreaker, Http2Options, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::world::{Answer, Backend, PATIENCE, World, all_to, cluster, host, nobody, ok};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Everything goes to the cluster `a` with these endpoints and limits.
fn limited(addresses: &[SocketAddr], circuit_breaker: CircuitBreaker) -> Snapshot {
    let mut snapshot = all_to(addresses);
    snapshot.clusters.insert(snapshot::Cluster {
        circuit_breaker,
        ..cluster("a")
    });
    snapshot
}

/// A server that answers when it is told to.
struct Held {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
    _tasks: Tasks,
}

impl Held {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let held = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            answers: Arc::new(Semaphore::new(0)),
            _tasks: Tasks::new(),
        };
        let (owner, asked, answers) = (held._tasks.clone(), held.asked.clone(), held.answers.clone());
        held._tasks.spawn("held", async move {
            while let Ok((stream, _)) = listener.accept().await {
                owner.spawn("held connection", serve(stream, asked.clone(), answers.clone()));
            }
        });
        held
    }

    /// Waits until so many requests have come, ever.
    async fn asked(&self, count: usize) {
        let all = async {
            while self.asked.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        clock::timeout(PATIENCE, all).await.expect("requests in time");
    }

    fn answer(&self, count: usize) {
        self.answers.add_permits(count);
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<AtomicUsize>, answers: Arc<Semaphore>) {
    let mut read = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut read).await {
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        read.clear();
        asked.fetch_add(1, Ordering::SeqCst);
        answers.acquire().await.unwrap().forget();
        if stream.write_all(ok("held").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn assert_shed(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.header("x-envoy-overloaded")),
        (503, Some("true"))
    );
    assert_eq!(
        answer.body,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow"
    );
}

#[tokio::test]
async fn connections_from_before_a_limit_are_not_used_beyond_it() {
    let backend = Held::start().await;
    let world = World::start(limited(&[backend.address], CircuitBreaker::default())).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = world.connect().await;
        client.send(GET).await;
        clients.push(client);
    }
    backend.asked(3).await;
    backend.answer(3);
    for client in &mut clients {
        assert_eq!(client.answer(false).await.status, 200);
    }
    let breaker = CircuitBreaker {
        max_connections: Some(1),
        max_pending_requests: Some(1),
        ..CircuitBreaker::default()
    };
    let mut next = limited(&[backend.address], breaker);
    let mut table = next.routes.get("80").unwrap().as_ref().clone();
    let direct = DirectResponse {
        status: 200,
        body: "in force".into(),
    };
    table.hosts.push(host("new", Action::Respond(direct)));
    next.routes.insert(table);
    world.snapshots.send_replace(Some(Arc::new(next)));
    let in_force = async {
        let asks = "GET / HTTP/1.1\r\nhost: new\r\nconnection: close\r\n\r\n";
        while world.call(asks).await.body != "in force" {}
    };
    backend.answer(1000);
    clock::timeout(PATIENCE, in_force).await.unwrap();
    backend.answers.forget_permits(usize::MAX);
    let asked = backend.asked.load(Ordering::SeqCst);
    let [first, second, third] = clients.as_mut_slice() else {
        unreachable!("there are three");
    };
    first.send(GET).await;
    backend.asked(asked + 1).await;
    second.send(GET).await;
    // One of both waits for the only connection, and the other is shed at once.
    third.send(GET).await;
    let answer = tokio::select! {
        answer = second.answer(false) => answer,
        answer = third.answer(false) => answer,
    };
    assert_shed(&answer);
}

#[tokio::test]
async fn a_request_waits_for_the_only_connection_and_one_too_many_is_shed() {
    let backend = Held::start().await;
    let breaker = CircuitBreaker {
        max_connections: Some(1),
        max_pending_requests: Some(1),
        ..CircuitBreaker::default()
    };
    let world = World::start(limited(&[backend.address], breaker)).await;
    let (mut first, mut second, mut third) = (
        world.connect().await,
        world.connect().await,
        world.connect().await,
    );
    first.send(GET).await;
    backend.asked(1).await;
    second.send(GET).await;
    // One of both waits, and the other is shed at once.
    third.send(GET).await;
    let answer = tokio::select! {
        answer = second.answer(false) => answer,
        answer = third.answer(false) => answer,
    };
    assert_shed(&answer);
    backend.answer(2);
    assert_eq!(first.answer(false).await.body, "held");
    backend.asked(2).await;
}

#[tokio::test]
async fn the_time_that_a_request_waits_for_a_connection_is_part_of_its_timeout() {
    let backend = Held::start().await;
    let breaker = CircuitBreaker {
        max_connections: Some(1),
        ..CircuitBreaker::default()
    };
    let mut snapshot = limited(&[backend.address], breaker);
    let mut table = snapshot.routes.get("80").unwrap().as_ref().clone();
    if let Action::Forward(forward) = &mut table.hosts[0].routes[0].action {
        forward.timeout = Some(Duration::from_secs(1));
    }
    snapshot.routes.insert(table);
    let world = World::start(snapshot).await;
    let (mut first, mut second) = (world.connect().await, world.connect().await);
    first.send(GET).await;
    backend.asked(1).await;
    second.send(GET).await;
    let answers = async {
        clock::sleep(Duration::from_millis(700)).await;
        backend.answer(1);
        // Too late for the second, unless its time began when it got the connection.
        clock::sleep(Duration::from_millis(800)).await;
        backend.answer(1);
    };
    let ((), answer) = tokio::join!(answers, second.answer(false));
    assert_eq!(first.answer(false).await.status, 200);
    assert_eq!(answer.status, 504);
}

#[tokio::test]
async fn an_endpoint_without_connection_gets_its_first_beyond_the_limit() {
    let (one, other) = (Held::start().await, Held::start().await);
    let breaker = CircuitBreaker {
        max_connections: Some(1),
        ..CircuitBreaker::default()
    };
    let world = World::start(limited(&[one.address, other.address], breaker)).await;
    let (mut first, mut second) = (world.connect().await, world.connect().await);
    first.send(GET).await;
    second.send(GET).await;
    one.asked(1).await;
    other.asked(1).await;
    one.answer(1);
    other.answer(1);
    assert_eq!(first.answer(false).await.status, 200);
    assert_eq!(second.answer(false).await.status, 200);
}

#[tokio::test]
async fn a_limit_on_requests_holds_for_all_workers_together() {
    let backend = Held::start().await;
    let breaker = CircuitBreaker {
        max_requests: Some(1),
        ..CircuitBreaker::default()
    };
    let world = World::with_workers(limited(&[backend.address], breaker), 2).await;
    let mut first = world.connect().await;
    first.send(GET).await;
    backend.asked(1).await;
    for _ in 0..8 {
        assert_shed(&world.call(GET).await);
    }
    backend.answer(2);
    assert_eq!(first.answer(false).await.status, 200);
    assert_eq!(world.call(GET).await.status, 200);
}

#[tokio::test]
async fn connections_end_after_so_many_requests_and_so_much_time() {
    for (breaker, connections) in [
        (CircuitBreaker::default(), 1),
        (
            CircuitBreaker {
                max_requests_per_connection: Some(2),
                ..CircuitBreaker::default()
            },
            2,
        ),
        (
            CircuitBreaker {
                max_connection_duration: Some(Duration::from_nanos(1)),
                ..CircuitBreaker::default()
            },
            4,
        ),
        (
            CircuitBreaker {
                idle_timeout: Some(Duration::from_nanos(1)),
                ..CircuitBreaker::default()
            },
            4,
        ),
        (
            CircuitBreaker {
                idle_timeout: Some(Duration::ZERO),
                ..CircuitBreaker::default()
            },
            1,
        ),
    ] {
        let backend = Backend::saying("hi").await;
        let world = World::start(limited(&[backend.address], breaker.clone())).await;
        for _ in 0..4 {
            assert_eq!(world.call(GET).await.body, "hi");
        }
        assert_eq!(backend.connections(), connections, "{breaker:?}");
    }
}

/// Takes streams and counts connections; streams end when they are told to.
async fn streams() -> (SocketAddr, Arc<AtomicUsize>, Arc<Semaphore>, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let (connections, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (owner, count, semaphore) = (tasks.clone(), connections.clone(), ends.clone());
    tasks.spawn("streams", async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let (owner, semaphore) = (owner.clone(), semaphore.clone());
            owner.clone().spawn("connection", async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let semaphore = semaphore.clone();
                    owner.spawn("stream", async move {
                        semaphore.acquire().await.unwrap().forget();
                        let _ = respond.send_response(http::Response::new(()), true);
                    });
                }
            });
        }
    });
    (address, connections, ends, tasks)
}

#[tokio::test]
async fn streams_beyond_those_of_one_connection_open_another_or_wait() {
    for (max_connections, expected) in [(None, 3), (Some(1), 1)] {
        let (address, connections, ends, _tasks) = streams().await;
        let mut snapshot = all_to(&[address]);
        snapshot.clusters.insert(snapshot::Cluster {
            http: UpstreamHttp::Http2,
            http2: Http2Options {
                max_concurrent_streams: Some(1),
                keepalive: None,
            },
            circuit_breaker: CircuitBreaker {
                max_connections,
                ..CircuitBreaker::default()
            },
            ..cluster("a")
        });
        let world = World::start(snapshot).await;
        let stream = TcpStream::connect(world.running.addresses["outbound"])
            .await
            .unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let tasks = Tasks::new();
        tasks.spawn("client", async move {
            let _ = connection.await;
        });
        let call = || async {
            let request = Request::get("http://shop/").body(()).unwrap();
            let mut send = send.clone().ready().await.unwrap();
            let (response, _) = send.send_request(request, true).unwrap();
            response.await.unwrap().status().as_u16()
        };
        let calls = futures_util::future::join_all((0..3).map(|_| call()));
        let release = async {
            while connections.load(Ordering::SeqCst) < expected {
                tokio::task::yield_now().await;
            }
            ends.add_permits(3);
        };
        let both = futures_util::future::join(calls, release);
        let (statuses, ()) = clock::timeout(PATIENCE, both).await.expect("answers in time");
        assert_eq!(statuses, [200; 3]);
        assert_eq!(connections.load(Ordering::SeqCst), expected);
    }
}
#[tokio::test]
async fn retries_are_bounded_and_the_failure_is_what_the_client_sees() {
    let breaker = CircuitBreaker {
        max_retries: Some(0),
        ..CircuitBreaker::default()
    };
    let world = World::start(limited(&[nobody().await], breaker)).await;
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.header("x-envoy-overloaded")), (503, None));
    assert!(
        answer.body.contains("reset reason: remote connection failure"),
        "{answer:?}"
    );
    assert!(!answer.body.contains("retried"), "{answer:?}");
}
