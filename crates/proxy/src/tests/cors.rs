//! Requests of scripts of other origins, as browsers send them.

use snapshot::route::{DirectResponse, StringMatch};
use snapshot::{Action, Cors, Fault, HeaderOperations, Share, fault};

use super::world::{Answer, Backend, World, cluster, forward, host, ok, snapshot};

fn cors() -> Cors {
    Cors {
        allow_origins: vec![StringMatch::Exact("https://shop.example".into())],
        allow_methods: "GET,POST".into(),
        allow_headers: "x-token".into(),
        expose_headers: "x-total".into(),
        max_age: "600".into(),
        allow_credentials: true,
        answer_unmatched_preflights: false,
    }
}

async fn world(backend: &Backend, cors: Cors) -> World {
    let mut forwarded = host("x", Action::Forward(forward(&[("a", 1)])));
    forwarded.routes[0].cors = Some(cors.clone());
    forwarded.routes[0].response_headers = by_route();
    let mut broken = host("broken", Action::Forward(forward(&[("missing", 1)])));
    broken.routes[0].cors = Some(cors.clone());
    let direct = DirectResponse {
        status: 200,
        body: "direct".into(),
    };
    let mut direct = host("direct", Action::Respond(direct));
    direct.routes[0].cors = Some(cors.clone());
    let mut aborted = host("aborted", Action::Forward(forward(&[("a", 1)])));
    aborted.routes[0].cors = Some(cors);
    aborted.routes[0].fault = Some(Fault {
        abort: Some(fault::Abort {
            status: fault::AbortStatus::Http(500),
            share: Share::ALL,
        }),
        delay: None,
    });
    let hosts = vec![forwarded, broken, direct, aborted];
    World::start(snapshot(hosts, vec![(cluster("a"), vec![backend.address])])).await
}

/// A field that the route adds to responses.
fn by_route() -> HeaderOperations {
    let operations = serde_json::json!({"set": [{"name": "x-route", "value": "1"}]});
    serde_json::from_value(operations).unwrap()
}

fn preflight(origin: &str) -> String {
    format!(
        "OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\r\n"
    )
}

fn get(host: &str, origin: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\n\r\n")
}

/// The fields of an answer that concern browsers, in order.
fn told(answer: &Answer) -> Vec<&str> {
    let fields = answer
        .head
        .lines()
        .filter_map(|line| line.strip_prefix("access-control-"));
    fields.collect()
}

const ALLOWED: &str = "https://shop.example";

#[tokio::test]
async fn a_preflight_of_an_allowed_origin_is_answered_by_the_proxy() {
    let backend = Backend::saying("hi").await;
    let world = world(&backend, cors()).await;
    let answer = world.call(&preflight(ALLOWED)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let expected = [
        "allow-origin: https://shop.example",
        "allow-credentials: true",
        "allow-methods: GET,POST",
        "allow-headers: x-token",
        "max-age: 600",
        "expose-headers: x-total",
    ];
    assert_eq!(told(&answer), expected);
    assert_eq!(answer.header("x-route"), None, "as Envoy: it is no local reply");
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_preflight_of_another_origin_is_forwarded_or_answered_without_permission() {
    let backend = Backend::saying("hi").await;
    let answer = world(&backend, cors())
        .await
        .call(&preflight("https://evil.example"))
        .await;
    assert_eq!((answer.body.as_str(), told(&answer).len()), ("hi", 0));
    let strict = Cors {
        answer_unmatched_preflights: true,
        ..cors()
    };
    let world = world(&backend, strict).await;
    let answer = world.call(&preflight("https://evil.example")).await;
    let permits = told(&answer).iter().any(|line| line.starts_with("allow-origin"));
    assert_eq!((answer.status, answer.body.as_str(), permits), (200, "", false));
    assert!(told(&answer).contains(&"allow-credentials: true"), "as Envoy");
    assert_eq!(backend.requests(), 1);
    // OPTIONS without the method that is asked for is no preflight.
    let plain = "OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: https://evil.example\r\n\r\n";
    assert_eq!(world.call(plain).await.body, "hi");
}

#[tokio::test]
async fn every_response_of_a_route_that_forwards_says_whom_it_is_for_whoever_gives_it() {
    let backend =
        Backend::start(|_| ok("hi").replacen("\r\n", "\r\naccess-control-allow-origin: *\r\n", 1)).await;
    let world = world(&backend, cors()).await;
    let expected = [
        "allow-origin: https://shop.example",
        "allow-credentials: true",
        "expose-headers: x-total",
    ];
    let direct = world.call(&get("direct", ALLOWED)).await;
    assert_eq!(
        (direct.body.as_str(), told(&direct).len()),
        ("direct", 0),
        "as Envoy"
    );
    for (host, status) in [("x", 200), ("broken", 503)] {
        let answer = world.call(&get(host, ALLOWED)).await;
        assert_eq!(
            (answer.status, told(&answer)),
            (status, expected.to_vec()),
            "{host}"
        );
    }
    let other = world.call(&get("x", "https://evil.example")).await;
    assert_eq!(told(&other), ["allow-origin: *"], "the backend's own word stays");
    let aborted = world.call(&get("aborted", ALLOWED)).await;
    assert_eq!(
        (aborted.status, told(&aborted).len()),
        (500, 0),
        "faults come first"
    );
}
