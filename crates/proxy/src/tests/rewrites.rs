//! What routes change in requests and responses, as the backend and the client see it.

use snapshot::route::{DirectResponse, PathRewrite, Redirect};
use snapshot::{Action, HeaderField, HeaderOperations, VirtualHost};

use super::world::{Backend, World, cluster, forward, host, ok, snapshot};

fn operations(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderOperations {
    let fields = |fields: &[(&str, &str)]| {
        let fields = fields
            .iter()
            .map(|(name, value)| HeaderField::new(name, value).unwrap());
        fields.collect()
    };
    HeaderOperations {
        remove: remove.iter().map(ToString::to_string).collect(),
        set: fields(set),
        add: fields(add),
        ..HeaderOperations::default()
    }
}

async fn world(backend: &Backend, host: VirtualHost) -> World {
    World::start(snapshot(
        vec![host],
        vec![(cluster("all"), vec![backend.address])],
    ))
    .await
}

#[tokio::test]
async fn target_and_route_change_fields_authority_and_path_in_envoys_order() {
    let backend = Backend::start(|head| {
        let answer = ok(head);
        answer.replacen("\r\n", "\r\nx-answer: backend\r\nx-secret: 1\r\n", 1)
    })
    .await;
    let mut to = forward(&[("all", 1)]);
    to.path_rewrite = Some(PathRewrite::Matched("/new/".to_owned()));
    to.clusters[0].request_headers = operations(&[], &[("x-by", "target"), ("x-order", "target")], &[]);
    to.clusters[0].response_headers = operations(&[], &[], &[("x-answer", "target")]);
    to.clusters[0].authority_rewrite = Some("v1.example".to_owned());
    let mut host = host("x", Action::Forward(to));
    let more = [
        ("x-more", "%REQ(x-user?:authority)%"),
        ("x-none", "%REQ(x-absent)%"),
    ];
    host.routes[0].request_headers = operations(&["x-gone"], &[("x-order", "route")], &more);
    let from = [(
        "x-from",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_CLUSTER%",
    )];
    host.routes[0].response_headers = operations(&["x-secret"], &from, &[]);
    let world = world(&backend, host).await;

    let request = "GET /a?b=/ HTTP/1.1\r\nhost: x\r\nx-gone: 1\r\nx-user: u\r\nx-more: 0\r\n\r\n";
    let answer = world.call(request).await;
    let seen = answer.body.to_ascii_lowercase();
    assert!(seen.starts_with("get /new/a?b=/ http/1.1\r\n"), "{seen}");
    for line in [
        "host: v1.example",
        "x-by: target",
        "x-order: route",
        "x-more: 0",
        "x-more: u",
        "x-envoy-original-path: /a?b=/",
        "x-envoy-original-host: x",
    ] {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line}: {seen}");
    }
    assert!(!seen.contains("x-gone") && !seen.contains("x-none") && !seen.contains("x-order: target"));
    assert!(answer.head.contains("x-answer: backend") && answer.head.contains("x-answer: target"));
    assert_eq!(answer.header("x-from"), Some("127.0.0.1 all"));
    assert_eq!(answer.header("x-secret"), None);
}

#[tokio::test]
async fn answers_of_the_proxy_itself_get_the_fields_of_their_route() {
    let backend = Backend::saying("nobody asks").await;
    let redirect = Redirect {
        strip_query: false,
        status: 302,
        scheme: Some("https".to_owned()),
        host: None,
        port: None,
        path: None,
    };
    let mut elsewhere = host("x", Action::Redirect(redirect));
    elsewhere.routes[0].response_headers = operations(&[], &[("x-by", "route %REQ(:path)%")], &[]);
    let answer = world(&backend, elsewhere)
        .await
        .call("GET /p?q HTTP/1.1\r\nhost: x:80\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("https://x/p?q"))
    );
    assert_eq!(answer.header("x-by"), Some("route /p?q"));
    assert_eq!(answer.header("server"), Some("envoy"));

    let direct = DirectResponse {
        status: 418,
        body: "short".to_owned(),
    };
    let mut direct = host("x", Action::Respond(direct));
    direct.routes[0].response_headers = operations(&["content-type"], &[("x-by", "route")], &[]);
    let answer = world(&backend, direct)
        .await
        .call("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (418, "short"));
    assert_eq!(
        (answer.header("x-by"), answer.header("content-type")),
        (Some("route"), Some("text/plain")),
        "the type is stated after the route's changes, as Envoy does"
    );
    assert_eq!(backend.requests(), 0);
}
