//! A service over HTTP.

use std::sync::{Arc, Mutex};

use snapshot::ext_authz::{
    CheckedBody, CheckedPath, HttpService, MetadataCondition, NamePattern, RouteExtAuthz,
};
use snapshot::route::DirectResponse;
use snapshot::{Action, ExtAuthz, HeaderField, HttpFilter, RouteTable};

use super::super::world::{Backend, World, host, nobody, ok};
use super::{GET, ask_http, guarded, over_http, tried_out, with_filters};

fn names(patterns: &[&str]) -> Vec<NamePattern> {
    patterns
        .iter()
        .map(|text| NamePattern::from_wildcard(text))
        .collect()
}

/// A service that answers so, and what it was asked.
async fn service(answer: &'static str) -> (Backend, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let service = Backend::start(move |request| {
        seen.lock().unwrap().push(request.to_owned());
        answer.to_owned()
    });
    (service.await, asked)
}

const ALLOWED: &str = "HTTP/1.1 200 OK\r\nx-user: me\r\nx-secret: 1\r\nset-cookie: a=b\r\n\
    x-envoy-auth-headers-to-remove: x-token, x-gone\r\ncontent-length: 0\r\n\r\n";
const DENIED: &str = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\nx-why: because\r\n\
    content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn what_is_allowed_goes_on_with_the_fields_that_were_chosen() {
    let backend = Backend::start(ok).await;
    let (service, asked) = service(ALLOWED).await;
    let filter = ask_http(HttpService {
        path: CheckedPath::Prefix("/check".into()),
        add: vec![HeaderField::new("x-mesh", "%REQ(:METHOD)%").unwrap()],
        to_upstream: names(&["x-user"]),
        to_client_on_allow: names(&["set-*"]),
        ..over_http()
    });
    let filter = ExtAuthz {
        headers: Some(names(&["x-told-*"])),
        ..filter
    };
    let world = World::start(guarded(&backend, service.address, filter)).await;
    let request = "GET /a?b=c HTTP/1.1\r\nhost: x\r\nauthorization: me\r\nx-told-1: 1\r\nx-told-1: 2\r\n\
        x-token: t\r\nx-user: forged\r\n\r\n";
    let answer = world.call(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("set-cookie"), Some("a=b"));
    assert_eq!(answer.header("x-secret"), None);
    assert!(answer.body.contains("\r\nx-user: me\r\n") && !answer.body.contains("forged"));
    assert!(!answer.body.contains("x-token") && !answer.body.contains("x-secret"));

    let asked = asked.lock().unwrap();
    let [question] = &asked[..] else {
        panic!("one question: {asked:?}")
    };
    assert!(
        question.starts_with("GET /check/a?b=c HTTP/1.1\r\nhost: x\r\n"),
        "{question}"
    );
    for part in [
        "authorization: me",
        "x-told-1: 1,2",
        "x-mesh: GET",
        "content-length: 0",
        "x-envoy-internal: true",
        "x-envoy-expected-rq-timeout-ms: 5000",
    ] {
        assert!(
            question.contains(&format!("\r\n{part}\r\n")),
            "{part}: {question}"
        );
    }
    for part in ["x-token", "x-user", "x-request-id"] {
        assert!(!question.contains(part), "{part}: {question}");
    }
}

#[tokio::test]
async fn what_is_denied_is_answered_with_status_body_and_fields_of_the_service() {
    let backend = Backend::saying("hi").await;
    let (service, _) = service(DENIED).await;
    let world = World::start(guarded(&backend, service.address, ask_http(over_http()))).await;
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (401, "{}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-why"), Some("because"));
    assert_eq!(backend.requests(), 0);
    let counted = ["response_code=\"401\"", "response_flags=\"UAEX\""];
    assert_eq!(world.metric("istio_requests_total", &counted).await, Some(1.0));

    let chosen = ask_http(HttpService {
        to_client_on_deny: Some(names(&["x-nothing"])),
        ..over_http()
    });
    let world = World::start(guarded(&backend, service.address, chosen)).await;
    let answer = world.call(GET).await;
    assert_eq!(answer.header("www-authenticate"), Some("Basic"), "always told");
    assert_eq!(answer.header("x-why"), None);
    assert_eq!(answer.header("content-type"), Some("text/plain"));

    let grpc = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let answer = world.call(grpc).await;
    let told = (
        answer.status,
        answer.header("grpc-status"),
        answer.header("grpc-message"),
    );
    assert_eq!(told, (200, Some("16"), Some("{}")));
}

#[tokio::test]
async fn without_an_answer_requests_are_refused_unless_their_owner_wants_otherwise() {
    let backend = Backend::start(ok).await;
    let failing = Backend::start(|_| "HTTP/1.1 503 Nope\r\ncontent-length: 2\r\n\r\nno".to_owned()).await;
    for service in [failing.address, nobody().await] {
        let closed = ask_http(over_http());
        let world = World::start(guarded(&backend, service, closed.clone())).await;
        let answer = world.call(GET).await;
        assert_eq!((answer.status, answer.body.as_str()), (403, ""));
        let other = ExtAuthz {
            status_on_error: 503,
            ..closed.clone()
        };
        let world = World::start(guarded(&backend, service, other)).await;
        assert_eq!(world.call(GET).await.status, 503);
        let open = ExtAuthz {
            fail_open: true,
            marks_failures: true,
            ..closed
        };
        let world = World::start(guarded(&backend, service, open)).await;
        let answer = world.call(GET).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("x-envoy-auth-failure-mode-allowed: true"));
    }
    let mut nowhere = guarded(&backend, nobody().await, ask_http(over_http()));
    nowhere.clusters.remove("authz");
    assert_eq!(World::start(nowhere).await.call(GET).await.status, 403);
}

#[tokio::test]
async fn a_connection_to_the_service_serves_many_questions() {
    let backend = Backend::saying("hi").await;
    let (service, asked) = service("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let world = World::start(guarded(&backend, service.address, ask_http(over_http()))).await;
    let mut client = world.connect().await;
    for _ in 0..20 {
        assert_eq!(client.call(GET).await.status, 200);
    }
    assert_eq!((service.connections(), asked.lock().unwrap().len()), (1, 20));
}

#[tokio::test]
async fn only_requests_that_rules_hold_for_are_asked_about() {
    let backend = Backend::saying("hi").await;
    let (service, asked) = service(DENIED).await;
    let filter = ExtAuthz {
        when: Some(MetadataCondition {
            filter: "envoy.filters.http.rbac".into(),
            path: vec!["istio_ext_authz_shadow_effective_policy_id".into()],
            prefix: "istio-ext-authz-mine".into(),
        }),
        ..ask_http(over_http())
    };
    for (policy, status) in [
        ("istio-ext-authz-mine-ns[a]", 401),
        ("istio-ext-authz-other-ns[a]", 200),
    ] {
        let filters = vec![
            tried_out("/guarded", policy),
            HttpFilter::ExtAuthz(Box::new(filter.clone())),
        ];
        let world = World::start(with_filters(&backend, service.address, &filters)).await;
        assert_eq!(
            world.call("GET /free HTTP/1.1\r\nhost: x\r\n\r\n").await.status,
            200
        );
        assert_eq!(
            world
                .call("GET /guarded HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .status,
            status
        );
        // What is refused is counted by the rule that wanted somebody asked.
        let labels = [
            "kind=\"custom\"",
            &format!("policy=\"{policy}\""),
            "dry_run=\"false\"",
        ];
        let counted = world.metric("amime_authorization_denials_total", &labels).await;
        assert_eq!(counted, (status == 401).then_some(1.0));
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
    let unasked = ExtAuthz {
        deny_unasked: true,
        ..filter
    };
    let world = World::start(guarded(&backend, service.address, unasked)).await;
    assert_eq!(world.call(GET).await.status, 403);
}

#[tokio::test]
async fn the_service_sees_bodies_up_to_a_bound_and_the_workload_all_of_them() {
    let backend = Backend::start(|request| ok(&request[request.find("\r\n\r\n").unwrap() + 4..])).await;
    let (service, asked) = service("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let with = |partial| ExtAuthz {
        body: Some(CheckedBody {
            most: 8,
            partial,
            as_bytes: false,
        }),
        ..ask_http(over_http())
    };
    let post = |body: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let world = World::start(guarded(&backend, service.address, with(false))).await;
    assert_eq!(world.call(&post("12345678")).await.body, "12345678");
    let answer = world.call(&post("123456789")).await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "Payload Too Large"));
    let chunked =
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(world.call(chunked).await.body, "abcde");
    assert_eq!(world.call(GET).await.status, 200);

    let world = World::start(guarded(&backend, service.address, with(true))).await;
    assert_eq!(world.call(&post("123456789")).await.body, "123456789");
    let asked = asked.lock().unwrap();
    let ends = ["12345678", "abcde", "\r\n\r\n", "12345678"];
    let partial = [Some("false"), Some("false"), None, Some("true")];
    for ((question, end), partial) in asked.iter().zip(ends).zip(partial) {
        assert!(question.ends_with(end), "{question}");
        let said = question
            .lines()
            .find_map(|line| line.strip_prefix("x-envoy-auth-partial-body: "));
        assert_eq!(said, partial, "{question}");
    }
    assert_eq!(asked.len(), 4, "nobody is asked about what is too long");
}

#[tokio::test]
async fn a_part_of_a_body_is_called_one_also_where_it_comes_in_too_many_pieces() {
    const PIECES: usize = 70_000;
    let backend = Backend::saying("hi").await;
    let (service, asked) = service("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let filter = ExtAuthz {
        body: Some(CheckedBody {
            most: 1 << 20,
            partial: true,
            as_bytes: false,
        }),
        ..ask_http(over_http())
    };
    let world = World::start(guarded(&backend, service.address, filter)).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let request = format!("{head}{}0\r\n\r\n", "1\r\nx\r\n".repeat(PIECES));
    assert_eq!(world.call(&request).await.status, 200);
    let asked = asked.lock().unwrap();
    let (question, body) = asked[0].split_once("\r\n\r\n").unwrap();
    let is_whole = body.len() == PIECES;
    assert!(
        question.contains(&format!("x-envoy-auth-partial-body: {}", !is_whole)),
        "{} bytes: {question}",
        body.len()
    );
}

#[tokio::test]
async fn routes_say_whether_their_requests_are_asked_about() {
    let backend = Backend::saying("hi").await;
    let (service, asked) = service(DENIED).await;
    let mut snapshot = guarded(&backend, service.address, ask_http(over_http()));
    let mut table = snapshot.routes.get("80").unwrap().as_ref().clone();
    table.hosts[0].routes[0].ext_authz = Some(Box::new(RouteExtAuthz {
        disabled: true,
        ..RouteExtAuthz::default()
    }));
    snapshot.routes.insert(table);
    let world = World::start(snapshot).await;
    assert_eq!(world.call(GET).await.status, 200);
    assert_eq!(asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_request_that_was_changed_finds_its_route_anew_where_that_is_wanted() {
    let backend = Backend::saying("by the old route").await;
    let (service, _) = service("HTTP/1.1 200 OK\r\nx-user: me\r\ncontent-length: 0\r\n\r\n").await;
    for (routes_anew, body) in [(false, "by the old route"), (true, "by the new route")] {
        let filter = ExtAuthz {
            routes_anew,
            ..ask_http(HttpService {
                to_upstream: names(&["x-user"]),
                ..over_http()
            })
        };
        let mut snapshot = guarded(&backend, service.address, filter);
        let mut table: RouteTable = snapshot.routes.get("80").unwrap().as_ref().clone();
        let direct = DirectResponse {
            status: 200,
            body: "by the new route".into(),
        };
        let mut first = host("x", Action::Respond(direct)).routes.remove(0);
        first.matches.headers.push(snapshot::route::HeaderMatch {
            name: "x-user".into(),
            value: None,
            invert: false,
        });
        table.hosts[0].routes.insert(0, first);
        snapshot.routes.insert(table);
        assert_eq!(World::start(snapshot).await.call(GET).await.body, body);
    }
}

#[tokio::test]
async fn a_body_of_grpc_web_is_shown_as_it_came_and_passed_on_as_what_it_means() {
    let (backend, seen) =
        service("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n").await;
    let (service, asked) = service("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let filter = ExtAuthz {
        body: Some(CheckedBody {
            most: 64,
            partial: false,
            as_bytes: false,
        }),
        ..ask_http(over_http())
    };
    let filters = vec![HttpFilter::GrpcWeb, HttpFilter::ExtAuthz(Box::new(filter))];
    let world = World::start(with_filters(&backend, service.address, &filters)).await;
    let text = "AAAAAAJoaQ==";
    let call = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web-text\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    assert_eq!(world.call(&call).await.status, 200);
    assert!(asked.lock().unwrap()[0].ends_with(text));
    let seen = seen.lock().unwrap();
    assert!(seen[0].ends_with("\0\0\0\0\u{2}hi"), "{:?}", seen[0]);
}
