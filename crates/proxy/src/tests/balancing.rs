//! Keys and failing endpoints, from the request to the endpoint and back.

use std::time::Duration;

use snapshot::load_balancing::HashCookie;
use snapshot::route::Forward;
use snapshot::{Action, Cluster, HashKey, HashPolicy, LoadBalancing, OutlierDetection, Snapshot};

use super::world::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

fn to(facts: Cluster, hash: Vec<HashPolicy>, backends: &[&Backend]) -> Snapshot {
    let forward = Forward {
        hash,
        retry: None,
        ..forward(&[("a", 1)])
    };
    let addresses = backends.iter().map(|backend| backend.address).collect();
    snapshot(
        vec![host("*", Action::Forward(forward))],
        vec![(facts, addresses)],
    )
}

fn ring() -> Cluster {
    Cluster {
        load_balancing: LoadBalancing::RingHash {
            minimum_size: 1024,
            maximum_size: LoadBalancing::MAXIMUM_RING_SIZE,
        },
        ..cluster("a")
    }
}

fn by(key: HashKey) -> Vec<HashPolicy> {
    vec![HashPolicy { key, terminal: false }]
}

#[tokio::test]
async fn the_same_key_finds_the_same_endpoint_in_every_worker() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let snapshot = to(ring(), by(HashKey::Header("x-key".into())), &[&one, &two]);
    let world = World::with_workers(snapshot, 3).await;
    for key in 0..8 {
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx-key: {key}\r\n\r\n");
        let first = world.call(&request).await.body;
        for _ in 0..6 {
            assert_eq!(world.call(&request).await.body, first, "key {key}");
        }
    }
    assert!(one.requests() > 0 && two.requests() > 0, "keys differ");
}

#[tokio::test]
async fn a_client_without_the_cookie_gets_one_that_leads_back() {
    let (one, two) = (Backend::saying("one").await, Backend::saying("two").await);
    let cookie = HashCookie {
        name: "user".into(),
        ttl: Some(Duration::from_secs(30)),
        path: "/p".into(),
        attributes: vec![
            ("SameSite".into(), "Strict".into()),
            ("Secure".into(), String::new()),
        ],
    };
    let world = World::start(to(ring(), by(HashKey::Cookie(cookie)), &[&one, &two])).await;
    for _ in 0..4 {
        let answer = world.call(GET).await;
        let made = answer.header("set-cookie").expect("a cookie").to_owned();
        let (value, rest) = made.split_once("; ").unwrap();
        assert_eq!(rest, "Max-Age=30; Path=/p; SameSite=Strict; Secure; HttpOnly");
        let again = format!("GET / HTTP/1.1\r\nhost: x\r\ncookie: a=b; {value}\r\n\r\n");
        let next = world.call(&again).await;
        assert_eq!(next.body, answer.body, "{value}");
        assert_eq!(next.header("set-cookie"), None, "the client has it");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_is_set_aside_for_all_workers_and_seen_so() {
    let good = Backend::saying("good").await;
    let bad = Backend::start(|_| "HTTP/1.1 500 Bad\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let detecting = Cluster {
        outlier_detection: Some(OutlierDetection {
            max_ejection_percent: 50,
            ..OutlierDetection::default()
        }),
        ..cluster("a")
    };
    let world = World::with_workers(to(detecting, Vec::new(), &[&good, &bad]), 3).await;
    let name = "envoy_cluster_outlier_detection_ejections_active";
    for _ in 0..100 {
        world.call(GET).await;
        if world.metric(name, &["cluster_name=\"a\""]).await == Some(1.0) {
            break;
        }
    }
    let page = world.page("admin", "/clusters").await.body;
    let line = format!("a::{}::health_flags::/failed_outlier_check", bad.address);
    assert!(page.contains(&line), "{page}");
    let failed = bad.requests();
    for _ in 0..12 {
        assert_eq!(world.call(GET).await.status, 200);
    }
    assert_eq!(bad.requests(), failed, "nobody asks it any more");
}

#[tokio::test]
async fn with_all_endpoints_set_aside_nobody_answers() {
    let bad = Backend::start(|_| "HTTP/1.1 503 Bad\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let detecting = Cluster {
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: 1,
            max_ejection_percent: 100,
            ..OutlierDetection::default()
        }),
        ..cluster("a")
    };
    let world = World::start(to(detecting, Vec::new(), &[&bad])).await;
    let mut last = String::new();
    for _ in 0..100 {
        last = world.call(GET).await.body;
        if !last.is_empty() {
            break;
        }
    }
    assert_eq!(last, "no healthy upstream");
}
