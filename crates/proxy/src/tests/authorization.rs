//! Who may do what, as clients, logs and metrics see it. Expected answers are those of Envoy's RBAC filters.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use snapshot::authorization::{
    Authorization, Condition, HeaderCondition, Pattern, Permission, Policy, Principal, RuleAction, Rules,
    Source, Target, TextMatch,
};
use snapshot::{AccessLog, Chain, Format, Handler, HttpFilter, LogFormat, NetworkFilter, Snapshot};

use super::world::{Backend, World, all_to};

const GET: &str = "GET /a HTTP/1.1\r\nhost: x\r\n\r\n";

fn path(pattern: Pattern) -> Permission {
    Condition::Is(Target::Path(pattern.into()))
}

fn rules(action: RuleAction, name: &str, permission: Permission, principal: Principal) -> Rules {
    let policy = Policy {
        permissions: vec![permission],
        principals: vec![principal],
    };
    Rules {
        action,
        policies: [(name.to_owned(), policy)].into(),
    }
}

fn deny(name: &str, permission: Permission) -> Authorization {
    Authorization {
        rules: Some(rules(RuleAction::Deny, name, permission, Condition::Any)),
        ..Authorization::default()
    }
}

fn allow(name: &str, permission: Permission) -> Authorization {
    Authorization {
        rules: Some(rules(RuleAction::Allow, name, permission, Condition::Any)),
        ..Authorization::default()
    }
}

/// Every chain of every listener, changed.
fn each_chain(mut snapshot: Snapshot, change: impl Fn(&mut Chain)) -> Snapshot {
    let listeners: Vec<_> = snapshot.listeners.iter().cloned().collect();
    for listener in listeners {
        let mut listener = listener.as_ref().clone();
        listener.chains.iter_mut().for_each(&change);
        listener.default_chain.iter_mut().for_each(&change);
        snapshot.listeners.insert(listener);
    }
    snapshot
}

/// Every chain asks these filters.
fn guarded(backend: &Backend, filters: &[Authorization]) -> Snapshot {
    let filters: Vec<Arc<Authorization>> = filters.iter().cloned().map(Arc::new).collect();
    each_chain(all_to(&[backend.address]), |chain| match &mut chain.handler {
        Handler::Http(handler) => {
            let before = filters.iter().cloned().map(HttpFilter::Authorization);
            handler.filters.splice(0..0, before);
        }
        Handler::Tcp(_) => {
            chain.filters = filters
                .iter()
                .cloned()
                .map(NetworkFilter::Authorization)
                .collect();
        }
    })
}

fn logging(snapshot: Snapshot, file: &Path, line: &str) -> Snapshot {
    let log = Arc::new(AccessLog {
        path: file.to_str().unwrap().to_owned(),
        format: LogFormat::Text(Format::parse(line).unwrap()),
        only_flags: Vec::new(),
    });
    each_chain(snapshot, |chain| match &mut chain.handler {
        Handler::Http(handler) => handler.access_log = vec![log.clone()],
        Handler::Tcp(handler) => handler.access_log = vec![log.clone()],
    })
}

/// What was logged of the calls.
async fn logged(snapshot: Snapshot, line: &str, requests: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let world = World::start(logging(snapshot, &file, line)).await;
    for request in requests {
        world.call(request).await;
    }
    world.running.stop(Duration::ZERO).await;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_policy_denies_is_answered_403_and_counted_by_its_name() {
    let backend = Backend::saying("hi").await;
    let filters = [deny(
        "ns[shop]-policy[a]-rule[0]",
        path(Pattern::Prefix("/a".into())),
    )];
    let world = World::start(guarded(&backend, &filters)).await;
    let answer = world.call(GET).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (403, "RBAC: access denied")
    );
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("server"), Some("envoy"));
    assert_eq!(backend.requests(), 0);
    let flags = ["response_code=\"403\"", "response_flags=\"-\""];
    assert_eq!(world.metric("istio_requests_total", &flags).await, Some(1.0));
    let labels = [
        "kind=\"rule\"",
        "policy=\"ns[shop]-policy[a]-rule[0]\"",
        "dry_run=\"false\"",
    ];
    let denials = "amime_authorization_denials_total";
    assert_eq!(world.metric(denials, &labels).await, Some(1.0));
    assert_eq!(world.call("GET /b HTTP/1.1\r\nhost: x\r\n\r\n").await.body, "hi");
}

#[tokio::test]
async fn what_no_policy_allows_is_denied_and_the_connection_stays() {
    let backend = Backend::saying("hi").await;
    let world = World::start(guarded(
        &backend,
        &[allow("only", path(Pattern::Exact("/b".into())))],
    ))
    .await;
    let mut client = world.connect().await;
    assert_eq!(client.call(GET).await.status, 403);
    assert_eq!(
        client.call("GET /b?a=/a HTTP/1.1\r\nhost: x\r\n\r\n").await.body,
        "hi"
    );
    assert_eq!(
        client
            .call("GET /%62/../b HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .body,
        "hi"
    );
    assert_eq!(
        client.call("GET /b/ HTTP/1.1\r\nhost: x\r\n\r\n").await.status,
        403
    );
}

#[tokio::test]
async fn filters_are_asked_in_order_and_the_first_that_refuses_answers() {
    let backend = Backend::saying("hi").await;
    let filters = [
        allow("first", path(Pattern::Prefix("/".into()))),
        deny("second", path(Pattern::Exact("/a".into()))),
        allow("third", path(Pattern::Exact("/b".into()))),
    ];
    let snapshot = guarded(&backend, &filters);
    let requests = [
        GET,
        "GET /b HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /c HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    let lines = logged(
        snapshot,
        "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
        &requests,
    )
    .await;
    assert_eq!(
        lines,
        [
            "403 - rbac_access_denied_matched_policy[second]",
            "200 - via_upstream",
            "403 - rbac_access_denied_matched_policy[none]",
        ]
    );
}

#[tokio::test]
async fn grpc_callers_are_told_permission_denied() {
    let backend = Backend::saying("hi").await;
    let world = World::start(guarded(&backend, &[deny("all", Condition::Any)])).await;
    let call = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let answer = world.call(call).await;
    let told = (
        answer.status,
        answer.header("grpc-status"),
        answer.header("grpc-message"),
    );
    assert_eq!(told, (200, Some("7"), Some("RBAC: access denied")));
}

#[tokio::test]
async fn requests_that_no_route_takes_are_judged_too() {
    let backend = Backend::saying("hi").await;
    let nowhere = |filter| {
        let mut snapshot = guarded(&backend, &[filter]);
        let mut table = (**snapshot.routes.get("80").unwrap()).clone();
        table.hosts.clear();
        snapshot.routes.insert(table);
        snapshot
    };
    let options = "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n";
    let world = World::start(nowhere(deny("all", Condition::Any))).await;
    assert_eq!(world.call(GET).await.status, 403);
    assert_eq!(
        world.call(options).await.status,
        404,
        "what is no path is nobody's"
    );
    let world = World::start(nowhere(allow("all", Condition::Any))).await;
    assert_eq!(world.call(GET).await.status, 404);
}

#[tokio::test]
async fn headers_methods_hosts_and_ports_are_conditions() {
    let backend = Backend::saying("hi").await;
    let header =
        |name: &str, text: TextMatch| Condition::Is(Target::Header(HeaderCondition::text(name, text)));
    let host = TextMatch {
        pattern: Pattern::Suffix(".X".into()),
        ignore_case: true,
    };
    let all = Condition::All(vec![
        header(":method", TextMatch::exact("GET")),
        header(":authority", host),
        header("x-role", TextMatch::exact("admin")),
        Condition::Is(Target::Port(80)),
    ]);
    let world = World::start(guarded(&backend, &[allow("all", all)])).await;
    world.going_to("10.96.0.1:80");
    let status = async |request: &str| world.call(request).await.status;
    assert_eq!(
        status("GET / HTTP/1.1\r\nhost: A.x\r\nx-role: admin\r\n\r\n").await,
        200
    );
    // One of several values has to do, and each is looked at for itself.
    assert_eq!(
        status("GET / HTTP/1.1\r\nhost: a.x\r\nx-role: a\r\nx-role: admin\r\n\r\n").await,
        200
    );
    assert_eq!(
        status("GET / HTTP/1.1\r\nhost: a.x\r\nx-role: a,admin\r\n\r\n").await,
        403
    );
    assert_eq!(
        status("GET / HTTP/1.1\r\nhost: a.x:80\r\nx-role: admin\r\n\r\n").await,
        403
    );
    assert_eq!(
        status("HEAD / HTTP/1.1\r\nhost: a.x\r\nx-role: admin\r\n\r\n").await,
        403
    );
}

#[tokio::test]
async fn the_peer_is_who_connected_and_the_client_is_who_proxies_say() {
    let backend = Backend::saying("hi").await;
    let from = |source: Source| Authorization {
        rules: Some(rules(
            RuleAction::Allow,
            "from",
            Condition::Any,
            Condition::Is(source),
        )),
        ..Authorization::default()
    };
    let direct = World::start(guarded(
        &backend,
        &[from(Source::DirectAddress("127.0.0.0/8".parse().unwrap()))],
    ))
    .await;
    let client = World::start(guarded(
        &backend,
        &[from(Source::Address("10.0.0.0/8".parse().unwrap()))],
    ))
    .await;
    let forwarded = |list: &str| format!("GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {list}\r\n\r\n");
    assert_eq!(direct.call(GET).await.status, 200);
    assert_eq!(direct.call(&forwarded("10.1.1.1")).await.status, 200);
    assert_eq!(client.call(GET).await.status, 403);
    assert_eq!(client.call(&forwarded("192.0.2.1, 10.1.1.1")).await.status, 200);
    assert_eq!(client.call(&forwarded("10.1.1.1, 192.0.2.1")).await.status, 403);
    assert_eq!(client.call(&forwarded("10.1.1.1, nobody")).await.status, 403);
    // Whoever adds a line of its own gains nothing by it.
    let lines = forwarded("10.1.1.1\r\nx-forwarded-for: 192.0.2.1");
    assert_eq!(client.call(&lines).await.status, 403);
}

#[tokio::test]
async fn nobody_has_an_identity_in_plain_text() {
    let backend = Backend::saying("hi").await;
    let anybody = Source::Authenticated(Some(Pattern::Regex(".*".into()).into()));
    let filter = Authorization {
        rules: Some(rules(
            RuleAction::Allow,
            "known",
            Condition::Any,
            Condition::Is(anybody),
        )),
        ..Authorization::default()
    };
    let world = World::start(guarded(&backend, &[filter])).await;
    assert_eq!(world.call(GET).await.status, 403);
}

#[tokio::test]
async fn a_dry_run_tells_what_would_have_been_and_changes_nothing() {
    let backend = Backend::saying("hi").await;
    let tried = path(Pattern::Exact("/a".into()));
    let filter = Authorization {
        shadow: Some(rules(RuleAction::Deny, "tried", tried, Condition::Any)),
        shadow_prefix: "istio_dry_run_deny_".into(),
        ..Authorization::default()
    };
    let line = "%RESPONSE_CODE% %DYNAMIC_METADATA(envoy.filters.http.rbac:istio_dry_run_deny_shadow_engine_result)% \
                %DYNAMIC_METADATA(envoy.filters.http.rbac:istio_dry_run_deny_shadow_effective_policy_id)%\n";
    let requests = [GET, "GET /b HTTP/1.1\r\nhost: x\r\n\r\n"];
    let lines = logged(guarded(&backend, std::slice::from_ref(&filter)), line, &requests).await;
    assert_eq!(lines, ["200 denied tried", "200 allowed -"]);
    let world = World::start(guarded(&backend, &[filter])).await;
    assert_eq!(world.call(GET).await.status, 200);
    let labels = ["policy=\"tried\"", "dry_run=\"true\""];
    let denials = "amime_authorization_denials_total";
    assert_eq!(world.metric(denials, &labels).await, Some(1.0));
}

#[tokio::test]
async fn an_audit_lets_everything_through_and_tells_the_log() {
    let backend = Backend::saying("hi").await;
    let audited = path(Pattern::Exact("/a".into()));
    let filter = Authorization {
        rules: Some(rules(RuleAction::Log, "audited", audited, Condition::Any)),
        ..Authorization::default()
    };
    let line = "%RESPONSE_CODE% %DYNAMIC_METADATA(envoy.common:access_log_hint)%\n";
    let requests = [GET, "GET /b HTTP/1.1\r\nhost: x\r\n\r\n"];
    let lines = logged(guarded(&backend, &[filter]), line, &requests).await;
    assert_eq!(lines, ["200 true", "200 false"]);
}

#[tokio::test]
async fn a_connection_that_is_refused_is_closed_before_anybody_hears_of_it() {
    let backend = Backend::saying("hi").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let closed = deny("ns[shop]-policy[a b]-rule[0]", Condition::Is(Target::Port(5432)));
    let snapshot = logging(
        guarded(&backend, &[closed]),
        &file,
        "%CONNECTION_TERMINATION_DETAILS%\n",
    );
    let world = World::start(snapshot).await;
    world.going_to("10.96.0.1:5432");
    assert_eq!(world.connect().await.rest().await, "");
    world.running.stop(Duration::ZERO).await;
    assert_eq!(backend.connections(), 0);
    let text = std::fs::read_to_string(&file).unwrap();
    let expected = "rbac_access_denied_matched_policy[ns[shop]-policy[a_b]-rule[0]]";
    assert_eq!(text.lines().collect::<Vec<_>>(), [expected]);
}

#[tokio::test]
async fn conditions_on_requests_never_hold_for_connections() {
    let backend = Backend::saying("hi").await;
    let world = World::start(guarded(
        &backend,
        &[deny("path", path(Pattern::Prefix("/".into())))],
    ))
    .await;
    world.going_to("10.96.0.1:5432");
    let mut client = world.connect().await;
    assert_eq!(client.call(GET).await.body, "hi");
}

#[tokio::test]
async fn a_new_policy_holds_for_new_requests() {
    let backend = Backend::saying("hi").await;
    let world = World::start(guarded(&backend, &[])).await;
    assert_eq!(world.call(GET).await.status, 200);
    let closed = guarded(&backend, &[deny("all", Condition::Any)]);
    world.snapshots.send_replace(Some(Arc::new(closed)));
    let refused = async { while world.call(GET).await.status != 403 {} };
    daemon::clock::timeout(super::world::PATIENCE, refused)
        .await
        .unwrap();
}
