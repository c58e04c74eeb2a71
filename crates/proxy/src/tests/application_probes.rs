//! Kubelets ask the proxy how its application is, and it asks the application.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use daemon::{Tasks, clock};
use identity::Authority;
use identity::tls::server_config;
use identity::tls::tokio_rustls::TlsAcceptor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::transport::{HOUR, now};
use super::world::{Answer, Backend, World, all_to, nobody, ok};
use crate::settings::Probers;

const READY: &str = "/app-health/app/readyz";

/// A proxy that may make that one probe.
async fn probing(prober: Value) -> World {
    let probers = json!({ READY: prober }).to_string();
    World::probing(all_to(&[]), Probers::read(&probers).unwrap()).await
}

/// A proxy that may make a GET at that path of the application.
async fn getting(application: SocketAddr, path: &str) -> World {
    probing(json!({"httpGet": {"port": application.port(), "path": path}})).await
}

/// What a kubelet is answered.
async fn asked(world: &World) -> Answer {
    world.page("agent", READY).await
}

/// Speaks HTTP/2 without TLS, and answers a kubelet's health check with that frame.
async fn grpc_server(tasks: &Tasks, frame: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("grpc", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let known = request.uri().path() == "/grpc.health.v1.Health/Check"
                    && request.headers()["user-agent"] == "kube-probe/1.33";
                let response = http::Response::new(());
                let mut stream = respond.send_response(response, false).unwrap();
                let answer = if known { frame } else { b"" };
                stream.send_data(Bytes::from_static(answer), false).unwrap();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                stream.send_trailers(trailers).unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn a_get_is_made_with_the_kubelets_headers_from_the_inbound_address() {
    let backend = Backend::start(|request| {
        let lines = request.to_lowercase();
        format!("HTTP/1.1 418 x\r\ncontent-length: {}\r\n\r\n{lines}", lines.len())
    })
    .await;
    let world = getting(backend.address, "health?deep=1").await;
    let port = world.running.addresses["agent"].port();
    let mut kubelet = world.connect_page("agent").await;
    let answer = kubelet
        .call(&format!(
            "GET {READY} HTTP/1.1\r\nhost: 10.244.0.7:{port}\r\nuser-agent: kube-probe/1.33\r\nx-probe: yes\r\n\
             x-forwarded-client-cert: URI=spiffe://cluster.local/ns/a/sa/b\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, 418);
    assert!(
        answer.body.starts_with("get /health?deep=1 http/1.1\r\n"),
        "{}",
        answer.body
    );
    let host = format!("host: 10.244.0.7:{}\r\n", backend.address.port());
    for line in [&host, "user-agent: kube-probe/1.33\r\n", "x-probe: yes\r\n"] {
        assert!(answer.body.contains(line), "{line} in {}", answer.body);
    }
    assert!(!answer.body.contains("spiffe"), "nobody proved it");
    let named = format!("GET {READY} HTTP/1.1\r\nhost: example.com\r\n\r\n");
    let answer = kubelet.call(&named).await;
    assert!(answer.body.contains("host: example.com\r\n"), "{}", answer.body);
    assert_eq!(backend.connections(), 2, "a connection for each probe");
}

#[tokio::test]
async fn connections_to_the_application_leave_from_where_capture_lets_them_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = probing(json!({"tcpSocket": {"port": port}})).await;
    let (answer, accepted) = tokio::join!(asked(&world), listener.accept());
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(accepted.unwrap().1.ip(), Ipv4Addr::new(127, 0, 0, 6));
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_fails_all_kinds_of_probes() {
    let port = nobody().await.port();
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        let world = probing(json!({kind: {"port": port}})).await;
        assert_eq!(asked(&world).await.status, 500, "{kind}");
    }
}

#[tokio::test]
async fn redirects_are_followed_within_the_pod_and_good_beyond_it() {
    let backend = Backend::start(|request| match request.split(' ').nth(1) {
        Some("/here") => "HTTP/1.1 302 x\r\nlocation: /sick\r\ncontent-length: 0\r\n\r\n".to_owned(),
        Some("/there") => {
            "HTTP/1.1 302 x\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
        _ => "HTTP/1.1 503 x\r\ncontent-length: 4\r\n\r\nsick".to_owned(),
    })
    .await;
    let world = getting(backend.address, "/here").await;
    let answer = asked(&world).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "sick"));
    let world = getting(backend.address, "/there").await;
    assert_eq!(asked(&world).await.status, 200);
}

#[tokio::test]
async fn a_redirect_to_the_proxy_itself_goes_no_further() {
    let (told, own) = tokio::sync::watch::channel(0);
    let backend = Backend::start(move |_| {
        let own = *own.borrow();
        format!("HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:{own}{READY}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let world = getting(backend.address, "/").await;
    told.send_replace(world.running.addresses["agent"].port());
    assert_eq!(asked(&world).await.status, 500);
    assert_eq!(backend.requests(), 1);
}

/// Speaks TLS with a certificate that nobody knows, and that HTTP over it.
async fn https_server(tasks: &Tasks, protocol: &'static str) -> SocketAddr {
    let authority = Authority::generate("unknown", 10 * HOUR, now()).unwrap();
    let keypair = authority.issue_server(&["a.example"], HOUR, now()).unwrap();
    let config = server_config(&keypair, None, &[protocol.as_bytes()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("https", async move {
        let acceptor = TlsAcceptor::from(config);
        while let Ok((stream, _)) = listener.accept().await {
            let mut session = acceptor.accept(stream).await.unwrap();
            if protocol == "h2" {
                let mut connection = h2::server::handshake(session).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().authority().unwrap(), "example.com");
                    let response = http::Response::new(());
                    let mut stream = respond.send_response(response, false).unwrap();
                    stream.send_data(Bytes::from_static(b"secret"), true).unwrap();
                }
            } else {
                let _ = session.read(&mut [0; 4096]).await.unwrap();
                session.write_all(ok("secret").as_bytes()).await.unwrap();
                let _ = session.shutdown().await;
            }
        }
    });
    address
}

#[tokio::test]
async fn https_is_spoken_to_whatever_certificate_in_both_versions() {
    let tasks = Tasks::new();
    for protocol in ["http/1.1", "h2"] {
        let server = https_server(&tasks, protocol).await;
        let get = json!({"port": server.port(), "path": "/", "scheme": "HTTPS"});
        let world = probing(json!({ "httpGet": get })).await;
        let mut kubelet = world.connect_page("agent").await;
        let answer = kubelet
            .call(&format!("GET {READY} HTTP/1.1\r\nhost: example.com\r\n\r\n"))
            .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "secret"),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn a_service_of_grpc_is_healthy_when_it_says_so() {
    let tasks = Tasks::new();
    for (frame, status) in [
        (&b"\0\0\0\0\x02\x08\x01"[..], 200),
        (b"\0\0\0\0\x02\x08\x02", 500),
        (b"", 500),
    ] {
        let server = grpc_server(&tasks, frame).await;
        let world = probing(json!({"grpc": {"port": server.port(), "service": "shop"}})).await;
        let mut kubelet = world.connect_page("agent").await;
        let request = format!("GET {READY} HTTP/1.1\r\nhost: x\r\nuser-agent: kube-probe/1.33\r\n\r\n");
        assert_eq!(kubelet.call(&request).await.status, status, "{frame:?}");
    }
}

#[tokio::test]
async fn an_application_that_does_not_answer_has_its_time_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for kind in ["httpGet", "grpc"] {
        let world = probing(json!({kind: {"port": port}, "timeoutSeconds": 1})).await;
        let begun = clock::now();
        let answer = asked(&world).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (500, "no answer within 1s\n"),
            "{kind}"
        );
        assert!(clock::now() - begun >= Duration::from_secs(1), "{kind}");
    }
}

#[tokio::test]
async fn only_what_is_configured_is_asked_and_only_on_that_port() {
    let backend = Backend::saying("hi").await;
    let world = getting(backend.address, "/").await;
    for path in [
        "/app-health/app/livez",
        "/app-health/",
        "/app-lifecycle/app/prestopz",
    ] {
        assert_eq!(world.page("agent", path).await.status, 400, "{path}");
    }
    for server in ["admin", "health", "metrics"] {
        assert_eq!(world.page(server, READY).await.status, 404, "{server}");
    }
    assert_eq!(backend.connections(), 0);
    assert_eq!(asked(&world).await.body, "hi");
}
