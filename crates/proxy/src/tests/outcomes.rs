//! What a client and the metrics see when things go wrong: Envoy's statuses, bodies and flags.

use std::time::Duration;

use snapshot::route::DirectResponse;
use snapshot::{Action, CircuitBreaker, Health};

use super::world::{Backend, World, all_to, cluster, forward, host, nobody, ok, snapshot};

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

#[tokio::test]
async fn no_answer_has_the_status_body_and_flag_that_envoy_gives_it() {
    let dead = nobody().await;
    let direct = DirectResponse {
        status: 502,
        body: String::new(),
    };
    let hosts = vec![
        host("direct", Action::Respond(direct)),
        host("nowhere", Action::Forward(forward(&[("missing", 1)]))),
        host("empty", Action::Forward(forward(&[("empty", 1)]))),
        host("dead", Action::Forward(forward(&[("dead", 1)]))),
    ];
    let clusters = vec![(cluster("empty"), vec![]), (cluster("dead"), vec![dead])];
    let world = World::start(snapshot(hosts, clusters)).await;
    let refused = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
        remote connection failure";
    for (host, status, body, flags) in [
        ("direct", 502, "", "-"),
        ("unknown", 404, "", "NR"),
        ("nowhere", 503, "", "NC"),
        ("empty", 503, "no healthy upstream", "UH"),
        ("dead:80", 503, refused, "URX,UF"),
    ] {
        let answer = world.call(&get(host)).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{host}");
        assert_eq!(answer.header("server"), Some("envoy"));
        let labels = [
            format!("response_code=\"{status}\""),
            format!("response_flags=\"{flags}\""),
        ];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        assert_eq!(
            world.metric("istio_requests_total", &labels).await,
            Some(1.0),
            "{host}"
        );
    }
    let retries = world
        .metric("envoy_cluster_upstream_rq_retry", &["cluster_name=\"dead\""])
        .await;
    assert_eq!(retries, Some(2.0));
}

#[tokio::test]
async fn an_answer_of_the_proxy_ends_the_connection_only_with_an_unfinished_request() {
    let dead = nobody().await;
    let direct = DirectResponse {
        status: 201,
        body: String::new(),
    };
    let hosts = vec![
        host("direct", Action::Respond(direct)),
        host("dead", Action::Forward(forward(&[("dead", 1)]))),
    ];
    let world = World::start(snapshot(hosts, vec![(cluster("dead"), vec![dead])])).await;
    let post = |host: &str| format!("POST /a?b HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\nhi");
    let answer = world.call(&post("dead")).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (503, None),
        "read for the tries"
    );
    let answer = world.call(&post("direct")).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (201, Some("close")),
        "not read"
    );
    assert_eq!(answer.header("location"), Some("http://direct/a?b"));
    let upgrade = "GET / HTTP/1.1\r\nhost: direct\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(
        world.call(upgrade).await.header("connection"),
        Some("close"),
        "of no end"
    );
    let connect = world.call("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n").await;
    assert_eq!(
        (connect.status, connect.header("connection")),
        (404, Some("close"))
    );
}

#[tokio::test]
async fn a_connection_that_fails_is_tried_elsewhere() {
    let (alive, dead) = (Backend::saying("alive").await, nobody().await);
    let world = World::start(all_to(&[dead, alive.address])).await;
    for _ in 0..20 {
        assert_eq!(world.call(&get("x")).await.body, "alive");
    }
}

#[tokio::test]
async fn draining_endpoints_get_no_new_requests() {
    let (stays, goes) = (Backend::saying("stays").await, Backend::saying("goes").await);
    let mut snapshot = all_to(&[stays.address, goes.address]);
    let mut endpoints = snapshot.endpoints.get("a").unwrap().as_ref().clone();
    endpoints.localities[0].endpoints[1].health = Health::Draining;
    snapshot.endpoints.insert(endpoints);
    let world = World::start(snapshot).await;
    for _ in 0..20 {
        assert_eq!(world.call(&get("x")).await.body, "stays");
    }
}

#[tokio::test]
async fn a_route_that_takes_too_long_is_504() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut snapshot = all_to(&[listener.local_addr().unwrap()]);
    let mut table = snapshot.routes.get("80").unwrap().as_ref().clone();
    if let Action::Forward(forward) = &mut table.hosts[0].routes[0].action {
        forward.timeout = Some(Duration::from_millis(50));
    }
    snapshot.routes.insert(table);
    let world = World::start(snapshot).await;
    let answer = world.call(&get("x")).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (504, "upstream request timeout")
    );
    assert_eq!(
        world
            .metric("istio_requests_total", &["response_flags=\"UT\""])
            .await,
        Some(1.0)
    );
}

#[tokio::test]
async fn an_upstream_that_closes_or_talks_nonsense_is_reported_as_such() {
    let (silent, nonsense) = (
        Backend::start(|_| String::new()).await,
        Backend::start(|_| "what?\r\n\r\n".into()).await,
    );
    let hosts = vec![
        host("silent", Action::Forward(forward(&[("silent", 1)]))),
        host("nonsense", Action::Forward(forward(&[("nonsense", 1)]))),
    ];
    let clusters = vec![
        (cluster("silent"), vec![silent.address]),
        (cluster("nonsense"), vec![nonsense.address]),
    ];
    let world = World::start(snapshot(hosts, clusters)).await;
    let prefix = "upstream connect error or disconnect/reset before headers. reset reason: ";
    let answer = world.call(&get("silent")).await;
    assert_eq!(
        (answer.status, answer.body),
        (503, format!("{prefix}connection termination"))
    );
    let answer = world.call(&get("nonsense")).await;
    assert_eq!(
        (answer.status, answer.body),
        (502, format!("{prefix}protocol error"))
    );
}

#[tokio::test]
async fn a_full_circuit_breaker_sheds() {
    let backend = Backend::saying("hi").await;
    let mut snapshot = all_to(&[backend.address]);
    let breaker = CircuitBreaker {
        max_requests: Some(0),
        ..CircuitBreaker::default()
    };
    snapshot.clusters.insert(snapshot::Cluster {
        circuit_breaker: breaker,
        ..cluster("a")
    });
    let world = World::start(snapshot).await;
    let answer = world.call(&get("x")).await;
    assert_eq!(
        (answer.status, answer.header("x-envoy-overloaded")),
        (503, Some("true"))
    );
    assert!(answer.body.ends_with("reset reason: overflow"));
}

#[tokio::test]
async fn with_one_connection_requests_wait_for_each_other() {
    let backend = Backend::saying("hi").await;
    let mut snapshot = all_to(&[backend.address]);
    let breaker = CircuitBreaker {
        max_connections: Some(1),
        ..CircuitBreaker::default()
    };
    snapshot.clusters.insert(snapshot::Cluster {
        circuit_breaker: breaker,
        ..cluster("a")
    });
    let world = World::start(snapshot).await;
    let request = get("x");
    let calls = (0..20).map(|_| world.call(&request));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.body == "hi"));
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_body_is_sent_again_when_its_connection_fails() {
    let backend = Backend::start(|request| ok(request.rsplit("\r\n\r\n").next().unwrap())).await;
    let world = World::start(all_to(&[nobody().await, backend.address])).await;
    for _ in 0..4 {
        let answer = world
            .call("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nagain")
            .await;
        assert_eq!(answer.body, "again");
    }
}

#[tokio::test]
async fn weights_are_kept_within_bounds() {
    let (old, new) = (Backend::saying("0").await, Backend::saying("1").await);
    let hosts = vec![host(
        "*",
        Action::Forward(forward(&[("v0", 90), ("v1", 10), ("v2", 0)])),
    )];
    let clusters = vec![
        (cluster("v0"), vec![old.address]),
        (cluster("v1"), vec![new.address]),
        (cluster("v2"), vec![]),
    ];
    let world = World::start(snapshot(hosts, clusters)).await;
    let mut client = world.connect().await;
    for _ in 0..1000 {
        client.call(&get("x")).await;
    }
    // 4.5 standard deviations of a binomial with n = 1000, p = 0.1.
    assert!((57..=143).contains(&new.requests()), "{} of 1000", new.requests());
    assert_eq!(old.requests() + new.requests(), 1000);
}

#[tokio::test]
async fn an_upstream_hears_of_a_client_that_left() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(all_to(&[listener.local_addr().unwrap()])).await;
    let mut client = world.connect().await;
    client.send(&get("x")).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        upstream.read_buf(&mut read).await.unwrap();
    }
    drop(client);
    let ended = daemon::clock::timeout(super::world::PATIENCE, upstream.read(&mut [0])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    let gone = ["response_code=\"0\"", "response_flags=\"DC\""];
    assert_eq!(world.metric("istio_requests_total", &gone).await, Some(1.0));
}
