//! What the access log says of requests and connections, field by field as Envoy writes it. Expected lines are those
//! that Envoy 1.40 wrote for the same requests, with addresses and times taken out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use snapshot::route::DirectResponse;
use snapshot::{AccessLog, Action, Fault, Format, Handler, LogFormat, Share, Snapshot, Template, fault};

use super::world::{Backend, World, all_to, cluster, forward, host, nobody, ok, snapshot};

/// Istio's format without what differs from run to run: times, ports, request ids.
const LINE: &str = "\"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% \
    %BYTES_SENT% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT):5%\" \"%REQ(:AUTHORITY)%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQUESTED_SERVER_NAME% %ROUTE_NAME% %GRPC_STATUS%\n";

fn log_to(path: &Path, format: LogFormat) -> Arc<AccessLog> {
    Arc::new(AccessLog {
        path: path.to_str().unwrap().to_owned(),
        format,
        only_flags: Vec::new(),
    })
}

/// Every chain writes there.
fn logging(mut snapshot: Snapshot, log: &Arc<AccessLog>) -> Snapshot {
    let listeners: Vec<_> = snapshot.listeners.iter().cloned().collect();
    for listener in listeners {
        let mut listener = listener.as_ref().clone();
        let chains = listener.chains.iter_mut().chain(&mut listener.default_chain);
        for chain in chains {
            match &mut chain.handler {
                Handler::Http(handler) => handler.access_log = vec![log.clone()],
                Handler::Tcp(handler) => handler.access_log = vec![log.clone()],
            }
        }
        listener.access_log = vec![log.clone()];
        snapshot.listeners.insert(listener);
    }
    snapshot
}

/// What is in the file once the proxy has stopped.
async fn lines_of(world: World, path: &Path) -> Vec<String> {
    world.running.stop(Duration::ZERO).await;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn get(host: &str, more: &str) -> String {
    format!("GET /a HTTP/1.1\r\nhost: {host}\r\n{more}\r\n")
}

#[tokio::test]
async fn each_outcome_has_the_line_that_envoy_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let backend = Backend::start(|request| match request {
        _ if request.starts_with("GET /close") => String::new(),
        _ if request.starts_with("GET /bad") => "what?\r\n\r\n".into(),
        _ => ok("hi"),
    })
    .await;
    let tea = DirectResponse {
        status: 418,
        body: "tea".into(),
    };
    let hosts = vec![
        host("direct", Action::Respond(tea)),
        host("nowhere", Action::Forward(forward(&[("missing", 1)]))),
        host("empty", Action::Forward(forward(&[("empty", 1)]))),
        host("dead", Action::Forward(forward(&[("dead", 1)]))),
        host("ok", Action::Forward(forward(&[("ok", 1)]))),
    ];
    let clusters = vec![
        (cluster("empty"), vec![]),
        (cluster("dead"), vec![nobody().await]),
        (cluster("ok"), vec![backend.address]),
    ];
    let log = log_to(&path, LogFormat::Text(Format::parse(LINE).unwrap()));
    let world = World::start(logging(snapshot(hosts, clusters), &log)).await;
    let requests = [
        get("ok", "user-agent: curl/7.88.1\r\nx-forwarded-for: 8.8.8.8\r\n"),
        "POST /a HTTP/1.1\r\nhost: ok\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        get("direct", ""),
        get("unknown", ""),
        get("nowhere", ""),
        get("empty", ""),
        get("dead", ""),
        "HEAD /a HTTP/1.1\r\nhost: dead\r\n\r\n".to_owned(),
        get("ok", "").replace("/a", "/close"),
        get("ok", "").replace("/a", "/bad"),
        get("dead", "content-type: application/grpc\r\n"),
        "GET / HTTP/1.0\r\nhost: ok\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nhost: ok\r\n\r\n".to_owned(),
    ];
    for request in &requests {
        world.call(request).await;
    }
    let refused = "upstream_reset_before_response_started{remote_connection_failure|\
        delayed_connect_error:_Connection_refused} - \"delayed_connect_error:_Connection_refused\"";
    let reset = |reason: &str| format!("upstream_reset_before_response_started{{{reason}}} - \"-\"");
    let expected = [
        r#""GET /a HTTP/1.1" 200 - via_upstream - "-" 0 2 "8.8.8.8" "curl/" "ok" ok 1 - default -"#
            .to_owned(),
        r#""POST /a HTTP/1.1" 200 - via_upstream - "-" 3 2 "-" "-" "ok" ok 1 - default -"#.to_owned(),
        r#""GET /a HTTP/1.1" 418 - direct_response - "-" 0 3 "-" "-" "direct" - 0 - default -"#.to_owned(),
        r#""GET /a HTTP/1.1" 404 NR route_not_found - "-" 0 0 "-" "-" "unknown" - 0 - - -"#.to_owned(),
        r#""GET /a HTTP/1.1" 503 NC cluster_not_found - "-" 0 0 "-" "-" "nowhere" - 0 - default -"#
            .to_owned(),
        r#""GET /a HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 "-" "-" "empty" empty 1 - default -"#
            .to_owned(),
        format!(r#""GET /a HTTP/1.1" 503 URX,UF {refused} 0 121 "-" "-" "dead" dead 3 - default -"#),
        format!(r#""HEAD /a HTTP/1.1" 503 URX,UF {refused} 0 0 "-" "-" "dead" dead 3 - default -"#),
        format!(
            r#""GET /close HTTP/1.1" 503 UC {} 0 95 "-" "-" "ok" ok 1 - default -"#,
            reset("connection_termination")
        ),
        format!(
            r#""GET /bad HTTP/1.1" 502 UPE {} 0 87 "-" "-" "ok" ok 1 - default -"#,
            reset("protocol_error")
        ),
        format!(r#""GET /a HTTP/1.1" 200 URX,UF {refused} 0 0 "-" "-" "dead" dead 3 - default Unavailable"#),
        r#""- - HTTP/1.1" 426 DPE low_version - "-" 0 16 "-" "-" "-" - 0 - - -"#.to_owned(),
        r#""OPTIONS * HTTP/1.1" 404 - absolute_path_rejected - "-" 0 0 "-" "-" "ok" - 0 - - -"#.to_owned(),
    ];
    let lines = lines_of(world, &path).await;
    for (line, expected) in lines.iter().zip(&expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.len(), expected.len());
}

#[tokio::test]
async fn answers_of_filters_and_refused_upgrades_name_route_and_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut aborted = host("aborted", Action::Forward(forward(&[("ok", 1)])));
    aborted.routes[0].fault = Some(Fault {
        abort: Some(fault::Abort {
            status: fault::AbortStatus::Http(503),
            share: Share::ALL,
        }),
        delay: None,
    });
    let hosts = vec![aborted, host("ok", Action::Forward(forward(&[("ok", 1)])))];
    let log = log_to(&path, LogFormat::Text(Format::parse(LINE).unwrap()));
    let clusters = vec![(cluster("ok"), vec![nobody().await])];
    let world = World::start(logging(snapshot(hosts, clusters), &log)).await;
    for request in [
        get("aborted", ""),
        get("aborted", "content-type: application/grpc\r\n"),
        get("ok", "connection: upgrade\r\nupgrade: other\r\n"),
    ] {
        world.call(&request).await;
    }
    let expected = [
        r#""GET /a HTTP/1.1" 503 FI fault_filter_abort - "-" 0 18 "-" "-" "aborted" ok 0 - default -"#,
        r#""GET /a HTTP/1.1" 200 FI fault_filter_abort - "-" 0 0 "-" "-" "aborted" ok 0 - default Unavailable"#,
        r#""GET /a HTTP/1.1" 403 - upgrade_failed - "-" 0 0 "-" "-" "ok" ok 0 - default -"#,
    ];
    assert_eq!(lines_of(world, &path).await, expected);
}

#[tokio::test]
async fn a_websocket_that_its_client_leaves_counts_what_passed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhi";
    let backend = Backend::start(move |_| switched.to_owned()).await;
    let log = log_to(&path, LogFormat::Text(Format::parse(LINE).unwrap()));
    let world = World::start(logging(all_to(&[backend.address]), &log)).await;
    let mut client = world.connect().await;
    client
        .send(&get("x", "connection: upgrade\r\nupgrade: websocket\r\n"))
        .await;
    assert!(client.until("\r\n\r\nhi").await.is_some());
    client.send("abc").await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .unwrap();
    client.rest().await;
    let expected =
        r#""GET /a HTTP/1.1" 101 DC downstream_remote_disconnect - "-" 3 2 "-" "-" "x" a 1 - default -"#;
    assert_eq!(lines_of(world, &path).await, [expected]);
}

#[tokio::test]
async fn json_keeps_numbers_and_says_null_for_what_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let backend = Backend::saying("hi").await;
    let text = |format: &str| Template::Text(Format::parse(format).unwrap());
    let nested = BTreeMap::from([("agent".to_owned(), text("%REQ(USER-AGENT)%"))]);
    let template = BTreeMap::from([
        ("code".to_owned(), text("%RESPONSE_CODE%")),
        ("flags".to_owned(), text("%RESPONSE_FLAGS%")),
        ("mixed".to_owned(), text("%RESPONSE_CODE% of %REQ(x-none)%")),
        ("nested".to_owned(), Template::Object(nested)),
        ("none".to_owned(), text("%REQ(x-none)%")),
        ("number".to_owned(), Template::Number(5.0)),
        (
            "list".to_owned(),
            Template::List(vec![Template::Boolean(true), Template::Null]),
        ),
    ]);
    let log = log_to(&path, LogFormat::Json(template));
    let world = World::start(logging(all_to(&[backend.address]), &log)).await;
    world.call(&get("x", "user-agent: \"q\"\r\n")).await;
    let expected = concat!(
        r#"{"code":200,"flags":"-","list":[true,null],"mixed":"200 of -","nested":{"agent":"\"q\""},"#,
        r#""none":null,"number":5}"#
    );
    assert_eq!(lines_of(world, &path).await, [expected]);
}

#[tokio::test]
async fn connections_are_written_down_with_what_ended_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let backend = Backend::saying("hi").await;
    let log = log_to(&path, LogFormat::Text(Format::parse(LINE).unwrap()));
    let world = World::start(logging(all_to(&[backend.address]), &log)).await;
    world.going_to("10.96.0.1:5432");
    let mut client = world.connect().await;
    client
        .send(&get("x", "").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"))
        .await;
    assert!(client.until("hi").await.is_some());
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .unwrap();
    client.rest().await;

    let of_bytes = r#""- - -" 0 - - - "-" 47 40 "-" "-" "-" a 1 - - -"#;
    assert_eq!(lines_of(world, &path).await, [of_bytes]);

    std::fs::remove_file(&path).unwrap();
    let world = World::start(logging(all_to(&[nobody().await]), &log)).await;
    world.going_to("10.96.0.1:5432");
    world.connect().await.rest().await;
    let lines = lines_of(world, &path).await;
    let expected = r#""- - -" 0 UF,URX - - "delayed_connect_error:_Connection_refused" 0 0 "-" "-" "-" a"#;
    assert!(lines[0].starts_with(expected), "{lines:?}");
}

#[tokio::test]
async fn a_client_that_has_all_may_go_before_the_upstream_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (gone, left) = tokio::sync::oneshot::channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), daemon::Tasks::new());
    tasks.spawn("backend", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = http::Response::builder().header("content-length", "2");
        let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
        body.send_data(bytes::Bytes::from_static(b"hi"), false).unwrap();
        // The end of the stream never comes.
        tokio::select! {
            _ = connection.accept() => {}
            _ = std::future::poll_fn(|task| body.poll_reset(task)) => {}
        }
        let _ = gone.send(());
    });
    let mut http2 = all_to(&[address]);
    http2.clusters.insert(snapshot::Cluster {
        http: snapshot::cluster::UpstreamHttp::Http2,
        ..cluster("a")
    });
    let format = Format::parse("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n").unwrap();
    let log = log_to(&path, LogFormat::Text(format));
    let world = World::start(logging(http2, &log)).await;
    let mut client = world.connect().await;
    let answer = client.call(&get("x", "")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hi"));
    drop(client);
    let seen = daemon::clock::timeout(super::world::PATIENCE, left).await;
    seen.expect("the stream is given up").unwrap();
    assert_eq!(lines_of(world, &path).await, ["200 - via_upstream"]);
}
