//! Retries and timeouts of routes, as upstreams and clients see them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use snapshot::{Action, BackOff, CircuitBreaker, Retry, Snapshot};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::world::{Backend, World, cluster, forward, host, ok, snapshot};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

fn retrying(backend: std::net::SocketAddr, retry: Retry, timeout: Option<Duration>) -> Snapshot {
    let mut to = forward(&[("a", 1)]);
    to.retry = Some(retry);
    to.timeout = timeout;
    snapshot(
        vec![host("x", Action::Forward(to))],
        vec![(cluster("a"), vec![backend])],
    )
}

fn on(condition: &str, attempts: u32) -> Retry {
    Retry {
        attempts,
        on: vec![condition.into()],
        back_off: BackOff::from(Duration::from_millis(1)),
        ..Retry::default()
    }
}

/// Answers 503 so many times, then echoes.
async fn fails(times: usize) -> Backend {
    let seen = AtomicUsize::new(0);
    Backend::start(move |request| match seen.fetch_add(1, Ordering::SeqCst) < times {
        true => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy".to_owned(),
        false => ok(request),
    })
    .await
}

#[tokio::test]
async fn the_upstream_learns_which_try_it_gets_and_how_long_it_has() {
    let backend = fails(2).await;
    let retry = Retry {
        per_try_timeout: Some(Duration::from_secs(2)),
        ..on("5xx", 3)
    };
    let world = World::start(retrying(backend.address, retry, Some(Duration::from_secs(9)))).await;
    let seen = world.call(GET).await.body;
    assert!(seen.contains("\r\nx-envoy-attempt-count: 3\r\n"), "{seen}");
    assert!(
        seen.contains("\r\nx-envoy-expected-rq-timeout-ms: 2000\r\n"),
        "{seen}"
    );
    assert_eq!(backend.requests(), 3);
}

#[tokio::test]
async fn when_no_try_is_left_the_client_gets_the_last_response_and_the_log_says_so() {
    let backend = fails(9).await;
    let world = World::start(retrying(backend.address, on("gateway-error", 2), None)).await;
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "busy"));
    assert_eq!(backend.requests(), 3);
    let counted = ["response_code=\"503\"", "response_flags=\"URX\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));
}

#[tokio::test]
async fn when_the_circuit_breaker_allows_no_retry_the_client_gets_the_response() {
    let backend = fails(9).await;
    let mut snapshot = retrying(backend.address, on("5xx", 2), None);
    snapshot.clusters.insert(snapshot::Cluster {
        circuit_breaker: CircuitBreaker {
            max_retries: Some(0),
            ..CircuitBreaker::default()
        },
        ..cluster("a")
    });
    let world = World::start(snapshot).await;
    let answer = world.call(GET).await;
    assert_eq!(
        (answer.status, answer.body.as_str(), backend.requests()),
        (503, "busy", 1)
    );
    let counted = ["response_code=\"503\"", "response_flags=\"UO\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_repeated_and_the_last_one_is_504() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let retry = Retry {
        per_try_timeout: Some(Duration::from_millis(20)),
        ..on("reset", 1)
    };
    let world = World::start(retrying(silent.local_addr().unwrap(), retry, None)).await;
    let answer = world.call(GET).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (504, "upstream request timeout")
    );
    let counted = ["response_flags=\"URX,UT\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));
}

#[tokio::test]
async fn the_time_in_which_a_client_sends_its_body_does_not_count() {
    let backend = Backend::start(|request| ok(request.rsplit("\r\n\r\n").next().unwrap())).await;
    let limit = Duration::from_millis(100);
    let world = World::start(retrying(backend.address, on("5xx", 1), Some(limit))).await;
    let mut client = world.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
        .await;
    for letter in ["s", "l", "o", "w"] {
        daemon::clock::sleep(limit).await;
        client.stream.write_all(letter.as_bytes()).await.unwrap();
    }
    assert_eq!(client.answer(false).await.body, "slow");
}

#[tokio::test]
async fn a_body_of_a_megabyte_is_sent_again_and_a_larger_one_is_not() {
    for (size, status) in [(1 << 20, 200), ((1 << 20) + 1, 503)] {
        let backend = fails(1).await;
        let world = World::start(retrying(backend.address, on("5xx", 1), None)).await;
        let body = "x".repeat(size);
        let request = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n{body}");
        assert_eq!(world.call(&request).await.status, status, "{size}");
    }
}

#[tokio::test]
async fn another_locality_is_asked_from_the_second_retry_on() {
    let (near, far) = (fails(99).await, Backend::saying("far").await);
    let retry = Retry {
        remote_localities: true,
        avoid_previous_hosts: false,
        ..on("5xx", 2)
    };
    let mut snapshot = retrying(near.address, retry, None);
    let mut endpoints = snapshot.endpoints.get("a").unwrap().as_ref().clone();
    let mut farther = endpoints.localities[0].clone();
    farther.priority = 1;
    farther.endpoints[0].address = far.address;
    endpoints.localities.push(farther);
    snapshot.endpoints.insert(endpoints);
    let world = World::start(snapshot).await;
    assert_eq!(world.call(GET).await.body, "far");
    assert_eq!((near.requests(), far.requests()), (2, 1));
}
