//! A service over gRPC, about requests and about connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption, QueryParameter, address};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{BoolValue, Struct, Value};
use envoy_types::pb::google::rpc::Status;
use snapshot::authorization::{
    Authorization, Condition, MetadataMatch, Pattern, Policy, RuleAction, Rules, Target, TextMatch,
    ValueMatch,
};
use snapshot::ext_authz::{CheckedBody, ExtAuthz, RouteExtAuthz, TcpExtAuthz};
use snapshot::{
    AccessLog, Format, Handler, HeaderField, HttpFilter, LogFormat, NetworkFilter, Snapshot, TcpHandler,
};

use super::super::mesh;
use super::super::world::{Backend, World, all_to, ok};
use super::server::{Does, Service};
use super::{GET, add_service, ask_grpc, guarded, over_grpc, with_filters};

#[allow(deprecated, reason = "services say it in this field")]
fn field(name: &str, value: &str, append: Option<bool>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.into(),
            value: value.into(),
            ..Default::default()
        }),
        append: append.map(|value| BoolValue { value }),
        ..Default::default()
    }
}

fn response_field(name: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        append_action: action.into(),
        ..field(name, value, None)
    }
}

fn answer(code: i32, response: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(Status {
            code,
            ..Default::default()
        }),
        http_response: Some(response),
        ..Default::default()
    }
}

fn allowed(ok: OkHttpResponse) -> Does {
    Does::Answers(Box::new(answer(0, HttpResponse::OkResponse(ok))))
}

fn denial(status: i32, body: &str) -> DeniedHttpResponse {
    DeniedHttpResponse {
        status: Some(HttpStatus { code: status }),
        headers: vec![
            field("x-why", "because", None),
            field("content-length", "99", None),
        ],
        body: body.into(),
    }
}

/// A service that answers so, and what it was asked.
async fn service(
    does: impl Fn() -> Does + Send + Sync + 'static,
) -> (Service, Arc<Mutex<Vec<CheckRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let service = Service::start(move |question| {
        seen.lock().unwrap().push(question);
        does()
    });
    (service.await, asked)
}

fn address_of(peer: Option<&Peer>) -> String {
    let address = peer.unwrap().address.as_ref().unwrap().address.as_ref().unwrap();
    match address {
        address::Address::SocketAddress(socket) => socket.address.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_service_learns_who_asks_for_what() {
    let backend = Backend::saying("hi").await;
    let (service, asked) = service(|| allowed(OkHttpResponse::default())).await;
    let mut filter = ask_grpc();
    filter.body = Some(CheckedBody {
        most: 3,
        partial: true,
        as_bytes: true,
    });
    if let snapshot::ext_authz::AuthorizationService::Grpc(service) = &mut filter.service {
        service.metadata = vec![HeaderField::new("x-from", "mesh").unwrap()];
    }
    let mut snapshot = guarded(&backend, service.address, filter);
    let mut table = snapshot.routes.get("80").unwrap().as_ref().clone();
    table.hosts[0].routes[0].ext_authz = Some(Box::new(RouteExtAuthz {
        context: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..RouteExtAuthz::default()
    }));
    snapshot.routes.insert(table);
    let world = World::start(snapshot).await;
    world.going_to("10.96.0.1:80");
    let request = "POST /a?b=c HTTP/1.1\r\nhost: x:80\r\nx-many: 1\r\nx-many: 2\r\nx-envoy-auth-partial-body: forged\r\n\
        content-length: 4\r\n\r\n1234";
    assert_eq!(world.call(request).await.body, "hi");
    let asked = asked.lock().unwrap();
    let attributes = asked[0].attributes.as_ref().unwrap();
    assert_eq!(address_of(attributes.source.as_ref()), "127.0.0.1");
    assert_eq!(address_of(attributes.destination.as_ref()), "10.96.0.1");
    assert_eq!(attributes.context_extensions["a"], "b");
    let request = attributes.request.as_ref().unwrap();
    assert!(request.time.as_ref().unwrap().seconds > 0);
    let http = request.http.as_ref().unwrap();
    let parts = [&http.method, &http.path, &http.host, &http.scheme, &http.protocol];
    assert_eq!(parts, ["POST", "/a?b=c", "x:80", "http", "HTTP/1.1"]);
    assert_eq!((http.raw_body.as_slice(), http.body.as_str()), (&b"123"[..], ""));
    for (name, value) in [
        (":authority", "x:80"),
        (":method", "POST"),
        (":path", "/a?b=c"),
        (":scheme", "http"),
        ("x-many", "1,2"),
        ("content-length", "4"),
        ("x-envoy-auth-partial-body", "true"),
    ] {
        assert_eq!(http.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[tokio::test]
async fn what_is_allowed_is_changed_as_the_service_says() {
    let backend = Backend::start(ok).await;
    let ok_response = || OkHttpResponse {
        headers: vec![
            field("x-set", "new", None),
            field("x-appended", "2", Some(true)),
            field("x-absent", "2", Some(true)),
            field("transfer-encoding", "chunked", None),
        ],
        headers_to_remove: vec!["x-gone".into(), "host".into()],
        response_headers_to_add: vec![
            response_field("x-told", "1", HeaderAppendAction::AppendIfExistsOrAdd),
            response_field("server", "mine", HeaderAppendAction::AddIfAbsent),
            response_field("x-none", "1", HeaderAppendAction::OverwriteIfExists),
        ],
        query_parameters_to_set: vec![QueryParameter {
            key: "q".into(),
            value: "1".into(),
        }],
        query_parameters_to_remove: vec!["b".into()],
        ..Default::default()
    };
    let (service, _) = service(move || allowed(ok_response())).await;
    let world = World::start(guarded(&backend, service.address, ask_grpc())).await;
    let request = "GET /a?b=c&d=e HTTP/1.1\r\nhost: x\r\nx-set: old\r\nx-appended: 1\r\nx-gone: 1\r\n\r\n";
    let answer = world.call(request).await;
    let seen = answer.body.as_str();
    assert!(
        seen.starts_with("GET /a?d=e&q=1 HTTP/1.1\r\nhost: x\r\n"),
        "{seen}"
    );
    assert!(
        seen.contains("\r\nx-set: new\r\n") && seen.contains("\r\nx-appended: 1,2\r\n"),
        "{seen}"
    );
    for absent in ["x-gone", "x-absent", "transfer-encoding"] {
        assert!(!seen.contains(absent), "{absent}: {seen}");
    }
    assert_eq!(answer.header("x-told"), Some("1"));
    assert_eq!(answer.header("x-none"), None);
}

#[tokio::test]
async fn what_is_denied_is_answered_and_written_down() {
    let backend = Backend::saying("hi").await;
    let (service, _) = service(|| {
        let mut answer = answer(7, HttpResponse::DeniedResponse(denial(418, "no tea")));
        let value = Value {
            kind: Some(Kind::StringValue("teapot".into())),
        };
        answer.dynamic_metadata = Some(Struct {
            fields: [("reason".to_owned(), value)].into(),
        });
        Does::Answers(Box::new(answer))
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let line = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
        %DYNAMIC_METADATA(envoy.filters.http.ext_authz:reason)%\n";
    let log = Arc::new(AccessLog {
        path: path.to_str().unwrap().to_owned(),
        format: LogFormat::Text(Format::parse(line).unwrap()),
        only_flags: Vec::new(),
    });
    let mut snapshot = guarded(&backend, service.address, ask_grpc());
    let mut listener = snapshot.listeners.get("0.0.0.0_80").unwrap().as_ref().clone();
    if let Handler::Http(handler) = &mut listener.default_chain.as_mut().unwrap().handler {
        handler.access_log = vec![log];
    }
    snapshot.listeners.insert(listener);
    let world = World::start(snapshot).await;
    let answer = world.call(GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (418, "no tea"));
    assert_eq!(answer.header("x-why"), Some("because"));
    assert_eq!(answer.header("content-length"), Some("6"));
    world.running.stop(Duration::ZERO).await;
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, "418 UAEX ext_authz_denied teapot\n");
}

#[tokio::test]
async fn a_service_that_cannot_tell_is_no_answer() {
    let backend = Backend::saying("hi").await;
    let (service, _) = service(|| {
        let failed = answer(13, HttpResponse::ErrorResponse(denial(502, "broken")));
        Does::Answers(Box::new(failed))
    })
    .await;
    let world = World::start(guarded(&backend, service.address, ask_grpc())).await;
    let told = world.call(GET).await;
    assert_eq!((told.status, told.body.as_str()), (502, "broken"));
    let open = ExtAuthz {
        fail_open: true,
        ..ask_grpc()
    };
    let world = World::start(guarded(&backend, service.address, open)).await;
    assert_eq!(world.call(GET).await.body, "hi");
}

#[tokio::test]
async fn many_questions_share_one_connection() {
    let backend = Backend::saying("hi").await;
    let (service, asked) = service(|| allowed(OkHttpResponse::default())).await;
    let world = World::start(guarded(&backend, service.address, ask_grpc())).await;
    let mut client = world.connect().await;
    for _ in 0..20 {
        assert_eq!(client.call(GET).await.body, "hi");
    }
    assert_eq!((service.connections(), asked.lock().unwrap().len()), (1, 20));
}

fn ask_about_connections(fail_open: bool) -> NetworkFilter {
    NetworkFilter::ExtAuthz(Box::new(TcpExtAuthz {
        service: over_grpc(),
        when: None,
        fail_open,
        stat_prefix: "tcp.".into(),
    }))
}

/// The opaque port, with a question before it.
fn guarded_port(backend: &Backend, service: std::net::SocketAddr, fail_open: bool) -> Snapshot {
    let mut snapshot = all_to(&[backend.address]);
    add_service(&mut snapshot, service);
    let mut listener = snapshot.listeners.get("0.0.0.0_5432").unwrap().as_ref().clone();
    listener.default_chain.as_mut().unwrap().filters = vec![ask_about_connections(fail_open)];
    snapshot.listeners.insert(listener);
    snapshot
}

#[tokio::test]
async fn connections_are_asked_about_before_a_byte_passes() {
    let backend = Backend::saying("hi").await;
    let (friend, asked) = service(|| allowed(OkHttpResponse::default())).await;
    let world = World::start(guarded_port(&backend, friend.address, false)).await;
    world.going_to("10.96.0.1:5432");
    assert_eq!(world.call(GET).await.body, "hi");
    let question = asked.lock().unwrap().remove(0);
    let attributes = question.attributes.unwrap();
    assert_eq!(address_of(attributes.destination.as_ref()), "10.96.0.1");
    assert!(attributes.request.is_none());

    for (does, fail_open, passes) in [
        (7, true, false),
        (0, false, true),
        (-1, false, false),
        (-1, true, true),
    ] {
        let (service, _) = service(move || match does {
            -1 => Does::Fails(14),
            code => Does::Answers(Box::new(CheckResponse {
                status: Some(Status {
                    code,
                    ..Default::default()
                }),
                ..Default::default()
            })),
        })
        .await;
        let world = World::start(guarded_port(&backend, service.address, fail_open)).await;
        world.going_to("10.96.0.1:5432");
        let mut client = world.connect().await;
        client.send(GET).await;
        let said = client.until("hi").await;
        assert_eq!(said.is_some(), passes, "status {does}, open {fail_open}");
        let labels = ["kind=\"custom\"", "policy=\"none\"", "dry_run=\"false\""];
        let counted = world.metric("amime_authorization_denials_total", &labels).await;
        assert_eq!(
            counted,
            (!passes).then_some(1.0),
            "status {does}, open {fail_open}"
        );
    }
    assert_eq!(backend.requests(), 3);
}

/// Rules about what the service has found out under `role`.
fn about_role(action: RuleAction, filter: &str) -> Arc<Authorization> {
    let role = Target::Metadata(MetadataMatch {
        filter: filter.to_owned(),
        path: vec!["role".to_owned()],
        value: ValueMatch::Text(TextMatch::from(Pattern::Exact("admin".to_owned()))),
        invert: false,
    });
    let policy = Policy {
        permissions: vec![Condition::Is(role)],
        principals: vec![Condition::Any],
    };
    Arc::new(Authorization {
        rules: Some(Rules {
            action,
            policies: [("role".to_owned(), policy)].into(),
        }),
        ..Authorization::default()
    })
}

/// A service that lets everything pass and says who it is.
async fn says_role(role: &'static str) -> Service {
    let (service, _) = service(move || {
        let mut answer = answer(0, HttpResponse::OkResponse(OkHttpResponse::default()));
        let value = Value {
            kind: Some(Kind::StringValue(role.into())),
        };
        answer.dynamic_metadata = Some(Struct {
            fields: [("role".to_owned(), value)].into(),
        });
        Does::Answers(Box::new(answer))
    })
    .await;
    service
}

#[tokio::test]
async fn rules_decide_by_what_the_service_found_out() {
    let backend = Backend::saying("hi").await;
    for (action, role, status) in [
        (RuleAction::Deny, "admin", 403),
        (RuleAction::Deny, "user", 200),
        (RuleAction::Allow, "admin", 200),
        (RuleAction::Allow, "user", 403),
    ] {
        let service = says_role(role).await;
        let filters = [
            HttpFilter::ExtAuthz(Box::new(ask_grpc())),
            HttpFilter::Authorization(about_role(action, "envoy.filters.http.ext_authz")),
        ];
        let world = World::start(with_filters(&backend, service.address, &filters)).await;
        assert_eq!(world.call(GET).await.status, status, "{action:?} {role}");

        let mut snapshot = guarded_port(&backend, service.address, false);
        let mut listener = snapshot.listeners.get("0.0.0.0_5432").unwrap().as_ref().clone();
        let rules = about_role(action, "envoy.filters.network.ext_authz");
        let filters = &mut listener.default_chain.as_mut().unwrap().filters;
        filters.push(NetworkFilter::Authorization(rules));
        snapshot.listeners.insert(listener);
        let world = World::start(snapshot).await;
        world.going_to("10.96.0.1:5432");
        let mut client = world.connect().await;
        client.send(GET).await;
        let passes = client.until("hi").await.is_some();
        assert_eq!(passes, status == 200, "a connection: {action:?} {role}");
    }
}

#[tokio::test]
async fn the_service_learns_who_is_at_both_ends_of_mutual_tls() {
    let root = mesh::authority("root");
    let backend = Backend::saying("hi").await;
    for http in [true, false] {
        let (service, asked) = service(|| allowed(OkHttpResponse::default())).await;
        let mut snapshot = mesh::inbound(backend.address);
        add_service(&mut snapshot, service.address);
        let mut listener = snapshot.listeners.get("virtualInbound").unwrap().as_ref().clone();
        let chain = listener.default_chain.as_mut().unwrap();
        match &mut chain.handler {
            Handler::Http(handler) if http => {
                handler.filters.push(HttpFilter::ExtAuthz(Box::new(ask_grpc())));
            }
            handler => {
                *handler = Handler::Tcp(TcpHandler::to("a".into()));
                chain.filters = vec![ask_about_connections(false)];
            }
        }
        snapshot.listeners.insert(listener);
        let server = World::of(mesh::somebody(&root, mesh::SERVER), snapshot).await;
        let members = [(server.running.addresses["inbound"], true)];
        let client = World::of(mesh::somebody(&root, mesh::CLIENT), mesh::outbound(&members)).await;
        assert_eq!(client.call(GET).await.body, "hi");
        let question = asked.lock().unwrap().remove(0);
        let attributes = question.attributes.unwrap();
        let principal = |peer: Option<Peer>| peer.unwrap().principal;
        assert_eq!(principal(attributes.source), mesh::CLIENT);
        assert_eq!(principal(attributes.destination), mesh::SERVER);
    }
}
