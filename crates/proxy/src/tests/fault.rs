//! Faults made on purpose, as clients and metrics see them.

use std::time::Duration;

use daemon::clock;
use snapshot::fault::{Abort, AbortStatus, Delay, Fault};
use snapshot::{Action, Share, Snapshot};

use super::world::{Backend, World, cluster, forward, host, snapshot};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const GRPC: &str =
    "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";

fn faulty(backend: &Backend, fault: Fault) -> Snapshot {
    let mut host = host("x", Action::Forward(forward(&[("a", 1)])));
    host.routes[0].fault = Some(fault);
    snapshot(vec![host], vec![(cluster("a"), vec![backend.address])])
}

fn abort(status: AbortStatus, share: Share) -> Fault {
    Fault {
        abort: Some(Abort { status, share }),
        delay: None,
    }
}

#[tokio::test]
async fn an_abort_is_answered_by_the_proxy_and_nobody_else_hears_of_the_request() {
    let backend = Backend::saying("hi").await;
    let world = World::start(faulty(&backend, abort(AbortStatus::Http(418), Share::ALL))).await;
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (418, "fault filter abort"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("server"), Some("envoy"));
    let counted = ["response_code=\"418\"", "response_flags=\"FI\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn grpc_callers_get_a_grpc_status_and_others_get_200_for_one() {
    let backend = Backend::saying("hi").await;
    let world = World::start(faulty(&backend, abort(AbortStatus::Grpc(5), Share::ALL))).await;
    let answer = world.call(GRPC).await;
    let status = (
        answer.status,
        answer.header("grpc-status"),
        answer.header("grpc-message"),
    );
    assert_eq!(status, (200, Some("5"), Some("fault filter abort")));
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "fault filter abort"));

    let world = World::start(faulty(&backend, abort(AbortStatus::Http(503), Share::ALL))).await;
    assert_eq!(world.call(GRPC).await.header("grpc-status"), Some("14"));
}

#[tokio::test]
async fn a_part_of_the_requests_is_aborted_within_bounds() {
    let backend = Backend::saying("hi").await;
    let share = Share::from_percent(25.0);
    let world = World::start(faulty(&backend, abort(AbortStatus::Http(500), share))).await;
    let mut client = world.connect().await;
    for _ in 0..1000 {
        client.call(GET).await;
    }
    // 4.5 standard deviations of a binomial with n = 1000, p = 0.75.
    assert!(
        (689..=811).contains(&backend.requests()),
        "{} of 1000",
        backend.requests()
    );
}

#[tokio::test]
async fn a_delay_comes_before_the_timeout_of_the_route_and_is_no_part_of_it() {
    let backend = Backend::saying("hi").await;
    let wait = Duration::from_millis(150);
    let delay = Delay {
        duration: wait,
        share: Share::ALL,
    };
    let mut to = forward(&[("a", 1)]);
    to.timeout = Some(Duration::from_millis(100));
    let mut host = host("x", Action::Forward(to));
    host.routes[0].fault = Some(Fault {
        delay: Some(delay),
        abort: None,
    });
    let world = World::start(snapshot(vec![host], vec![(cluster("a"), vec![backend.address])])).await;
    let begun = clock::now();
    assert_eq!(world.call(GET).await.body, "hi");
    assert!(clock::now() - begun >= wait);
    let counted = ["response_code=\"200\"", "response_flags=\"DI\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));
}

#[tokio::test]
async fn a_client_that_leaves_during_a_delay_is_not_forwarded() {
    let backend = Backend::saying("hi").await;
    let delay = Delay {
        duration: Duration::from_secs(3600),
        share: Share::ALL,
    };
    let fault = Fault {
        delay: Some(delay),
        abort: None,
    };
    let world = World::start(faulty(&backend, fault)).await;
    let mut client = world.connect().await;
    client.send(GET).await;
    drop(client);
    let gone = ["response_code=\"0\"", "response_flags=\"DI,DC\""];
    let wait = async { while world.metric("istio_requests_total", &gone).await.is_none() {} };
    clock::timeout(super::world::PATIENCE, wait).await.unwrap();
    assert_eq!(backend.requests(), 0);
}
