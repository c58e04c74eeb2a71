//! Snapshots that change under load, readiness, admin pages, drain, several workers.

use std::sync::Arc;
use std::time::Duration;

use daemon::clock;
use snapshot::{Action, Health};

use super::world::{Backend, PATIENCE, World, all_to, cluster, forward, host, snapshot};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_new_snapshot_takes_over_between_two_requests_and_drops_none() {
    let (zero, one) = (Backend::saying("0").await, Backend::saying("1").await);
    let to = |name: &str| {
        let hosts = vec![host("*", Action::Forward(forward(&[(name, 1)])))];
        let clusters = vec![
            (cluster("v0"), vec![zero.address]),
            (cluster("v1"), vec![one.address]),
        ];
        Some(Arc::new(snapshot(hosts, clusters)))
    };
    let world = World::start(snapshot(Vec::new(), Vec::new())).await;
    world.snapshots.send_replace(to("v0"));
    let load = async {
        let mut client = world.connect().await;
        let mut seen = [0, 0];
        while seen.iter().sum::<usize>() < 600 {
            match client.call(GET).await.body.as_str() {
                "0" => seen[0] += 1,
                "1" => seen[1] += 1,
                // The very first requests may come before the first route.
                other => assert_eq!((other, seen), ("", [0, 0])),
            }
        }
        seen
    };
    let flip = async {
        for round in 0.. {
            world
                .snapshots
                .send_replace(to(if round % 2 == 0 { "v1" } else { "v0" }));
            clock::sleep(Duration::from_millis(2)).await;
        }
    };
    let seen = tokio::select! {
        seen = load => seen,
        () = flip => unreachable!("flips for ever"),
    };
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    assert_eq!(
        (zero.connections(), one.connections()),
        (1, 1),
        "pools survive snapshots"
    );
}

#[tokio::test]
async fn connections_of_an_endpoint_that_left_are_given_up() {
    let (stays, leaves) = (Backend::saying("stays").await, Backend::saying("leaves").await);
    let world = World::start(all_to(&[leaves.address])).await;
    let mut client = world.connect().await;
    assert_eq!(client.call(GET).await.body, "leaves");
    world
        .snapshots
        .send_replace(Some(Arc::new(all_to(&[stays.address]))));
    let moved = async { while client.call(GET).await.body != "stays" {} };
    clock::timeout(PATIENCE, moved).await.unwrap();
}

#[tokio::test]
async fn ready_means_that_a_snapshot_is_in_force() {
    let world = World::start(all_to(&[])).await;
    let wait = async { while world.page("health", "/healthz/ready").await.status != 200 {} };
    clock::timeout(PATIENCE, wait).await.unwrap();
    assert_eq!(world.page("agent", "/healthz/ready").await.status, 200);
    assert_eq!(world.page("admin", "/ready").await.body, "LIVE\n");
    assert!(
        world
            .page("admin", "/config_dump")
            .await
            .body
            .contains("virtualOutbound")
    );
    assert!(
        world
            .page("admin", "/clusters")
            .await
            .body
            .contains("a::rq_total::0")
    );
    assert!(
        world
            .page("metrics", "/stats/prometheus")
            .await
            .body
            .contains("istio_build{")
    );
}

#[tokio::test]
async fn while_it_drains_inbound_connections_are_told_to_close_and_outbound_ones_stay() {
    let backend = Backend::saying("hi").await;
    let world = World::start(all_to(&[backend.address])).await;
    let (mut inbound, mut outbound) = (world.connect_inbound().await, world.connect().await);
    assert_eq!(inbound.call(GET).await.header("connection"), None);
    world.running.drain.begin();
    let wait = async { while world.page("admin", "/ready").await.status == 200 {} };
    clock::timeout(PATIENCE, wait).await.unwrap();
    let answer = inbound.call(GET).await;
    assert_eq!(
        (answer.body.as_str(), answer.header("connection")),
        ("hi", Some("close"))
    );
    assert_eq!(inbound.rest().await, "");
    for mut new in [world.connect_inbound().await, world.connect().await] {
        assert_eq!(new.call(GET).await.body, "hi", "connections work until the end");
    }
    for _ in 0..2 {
        let answer = outbound.call(GET).await;
        assert_eq!((answer.body.as_str(), answer.header("connection")), ("hi", None));
    }
    assert!(
        clock::timeout(PATIENCE, world.running.stop(Duration::ZERO))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn connections_of_a_listener_that_left_finish_their_request_and_close() {
    let backend = Backend::saying("hi").await;
    let with = all_to(&[backend.address]);
    let mut without = with.clone();
    without.listeners.remove("0.0.0.0_80");
    let world = World::start(with.clone()).await;
    let mut client = world.connect().await;
    // A snapshot with the same listener leaves its connections alone, also when it was made anew.
    let mut same = with.clone();
    let listener = with.listeners.get("0.0.0.0_80").unwrap().as_ref().clone();
    same.listeners.insert(listener);
    for snapshot in [with, same] {
        world.snapshots.send_replace(Some(Arc::new(snapshot)));
        assert_eq!(client.call(GET).await.header("connection"), None);
    }
    world.snapshots.send_replace(Some(Arc::new(without)));
    let told = async {
        loop {
            let answer = client.call(GET).await;
            assert_eq!(answer.body, "hi");
            if answer.header("connection") == Some("close") {
                return;
            }
        }
    };
    clock::timeout(PATIENCE, told).await.unwrap();
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn idle_connections_to_an_endpoint_that_drains_are_closed() {
    let backend = Backend::saying("hi").await;
    let world = World::start(all_to(&[backend.address])).await;
    assert_eq!(world.call(GET).await.body, "hi");
    let mut draining = all_to(&[backend.address]);
    let mut endpoints = draining.endpoints.get("a").unwrap().as_ref().clone();
    endpoints.localities[0].endpoints[0].health = Health::Draining;
    draining.endpoints.insert(endpoints);
    world.snapshots.send_replace(Some(Arc::new(draining)));
    clock::timeout(PATIENCE, backend.until_open(0)).await.unwrap();
    // It comes back: its connections are kept again.
    world
        .snapshots
        .send_replace(Some(Arc::new(all_to(&[backend.address]))));
    let served = async { while world.call(GET).await.status != 200 {} };
    clock::timeout(PATIENCE, served).await.unwrap();
    let before = backend.connections();
    world.call(GET).await;
    assert_eq!(backend.connections(), before);
}

#[tokio::test]
async fn several_workers_share_the_load_and_are_reported_as_one() {
    let backend = Backend::saying("hi").await;
    let world = World::with_workers(all_to(&[backend.address]), 3).await;
    for _ in 0..30 {
        assert_eq!(world.call(GET).await.body, "hi");
    }
    assert_eq!(
        world
            .metric("istio_requests_total", &["response_code=\"200\""])
            .await,
        Some(30.0)
    );
    assert!(backend.connections() <= 3, "one pool for each worker");
}

#[tokio::test]
async fn inbound_requests_are_counted_by_their_destination() {
    let backend = Backend::saying("hi").await;
    let world = World::start(all_to(&[backend.address])).await;
    assert_eq!(world.connect_inbound().await.call(GET).await.body, "hi");
    let labels = [
        "reporter=\"destination\"",
        "destination_workload=\"client\"",
        "source_workload=\"unknown\"",
    ];
    assert_eq!(world.metric("istio_requests_total", &labels).await, Some(1.0));
}
