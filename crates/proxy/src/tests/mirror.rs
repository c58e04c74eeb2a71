//! Copies of requests: what mirrors get, and that nobody notices what becomes of it.

use std::sync::{Arc, Mutex};

use daemon::clock;
use snapshot::{Action, Mirror, Share, Snapshot};
use tokio::net::TcpListener;

use super::world::{Backend, PATIENCE, World, cluster, forward, host, nobody, ok, snapshot};

fn mirrored(to: std::net::SocketAddr, copy: std::net::SocketAddr, mirror: Mirror) -> Snapshot {
    let mut action = forward(&[("a", 1)]);
    action.mirrors = vec![mirror];
    let clusters = vec![(cluster("a"), vec![to]), (cluster("copies"), vec![copy])];
    snapshot(vec![host("x", Action::Forward(action))], clusters)
}

fn all() -> Mirror {
    Mirror {
        cluster: "copies".into(),
        share: Share::ALL,
        shadow_suffix: false,
    }
}

/// A backend that remembers what it was sent.
async fn listening(seen: &Arc<Mutex<Vec<String>>>) -> Backend {
    let seen = seen.clone();
    Backend::start(move |request| {
        seen.lock().unwrap().push(request.to_owned());
        ok("copy")
    })
    .await
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    clock::timeout(PATIENCE, wait).await.unwrap();
}

const POST: &str = "POST /p HTTP/1.1\r\nhost: x:80\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_mirror_gets_head_and_body_and_its_answer_is_dropped() {
    let seen = Arc::default();
    let (backend, mirror) = (Backend::saying("hi").await, listening(&seen).await);
    let world = World::start(mirrored(backend.address, mirror.address, all())).await;
    assert_eq!(world.call(POST).await.body, "hi");
    until(|| mirror.requests() == 1).await;
    let copy = seen.lock().unwrap()[0].to_ascii_lowercase();
    assert!(
        copy.starts_with("post /p http/1.1\r\n") && copy.ends_with("\r\n\r\nhello"),
        "{copy}"
    );
    for line in ["host: x:80", "x-envoy-internal: true", "x-envoy-attempt-count: 1"] {
        assert!(copy.contains(&format!("\r\n{line}\r\n")), "{line}: {copy}");
    }
    let once = ["destination_service_name=\"a\""];
    assert_eq!(world.metric("istio_requests_total", &once).await, Some(1.0));
    assert_eq!(
        world
            .metric("istio_requests_total", &["destination_service_name=\"copies\""])
            .await,
        None
    );
}

#[tokio::test]
async fn a_host_may_end_with_shadow() {
    let seen = Arc::default();
    let (backend, mirror) = (Backend::saying("hi").await, listening(&seen).await);
    let shadow = Mirror {
        shadow_suffix: true,
        ..all()
    };
    let world = World::start(mirrored(backend.address, mirror.address, shadow)).await;
    world.call(POST).await;
    until(|| mirror.requests() == 1).await;
    let copy = seen.lock().unwrap()[0].to_ascii_lowercase();
    assert!(copy.contains("\r\nhost: x-shadow:80\r\n"), "{copy}");
}

#[tokio::test]
async fn a_mirror_that_is_dead_or_never_answers_disturbs_nobody() {
    let backend = Backend::start(|request| ok(request.rsplit("\r\n\r\n").next().unwrap())).await;
    let world = World::start(mirrored(backend.address, nobody().await, all())).await;
    assert_eq!(world.call(POST).await.body, "hello");

    // It accepts and never reads: its copy falls behind, and the client must not wait for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(mirrored(backend.address, silent.local_addr().unwrap(), all())).await;
    let body = "x".repeat(32 << 20);
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(world.call(&request).await.body.len(), body.len());
}

#[tokio::test]
async fn a_part_of_the_requests_is_mirrored_within_bounds() {
    let (backend, mirror) = (Backend::saying("hi").await, Backend::saying("copy").await);
    let quarter = Mirror {
        share: Share::from_percent(25.0),
        ..all()
    };
    let world = World::start(mirrored(backend.address, mirror.address, quarter)).await;
    let mut client = world.connect().await;
    for _ in 0..1000 {
        client.call("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }
    // 4.5 standard deviations of a binomial with n = 1000, p = 0.25; the last copies may still be under way.
    until(|| mirror.requests() >= 189).await;
    assert!(mirror.requests() <= 311, "{} of 1000", mirror.requests());
    assert_eq!(backend.requests(), 1000);
}
