//! Decisions that somebody else makes: every provider that the suite knows, and everything that it may say.
//!
//! `authorizer` is a program of ours that does what the request's header `x-authorize` asks of it, and tells what it was
//! asked in the body of refusals.

use serde_json::{Map, Value, json};

use crate::table::{Call, Case};

/// Names in the mesh's settings, beside what is out of the ordinary with each.
fn providers() -> Vec<(&'static str, Value)> {
    let service = json!({"service": "authorizer.shop.svc.cluster.local", "timeout": "2s"});
    let at = |port: u16, more: Value| {
        let mut provider = service.clone();
        let fields = provider.as_object_mut().expect("an object");
        fields.insert("port".to_owned(), port.into());
        fields.extend(more.as_object().cloned().unwrap_or_default());
        provider
    };
    let grpc = |more: Value| json!({"envoyExtAuthzGrpc": at(9000, more)});
    let http = |more: Value| json!({"envoyExtAuthzHttp": at(8000, more)});
    vec![
        ("grpc", grpc(json!({}))),
        (
            "grpc-body",
            grpc(json!({"includeRequestBodyInCheck": {"maxRequestBytes": 8, "allowPartialMessage": true}})),
        ),
        (
            "grpc-whole-body",
            grpc(json!({"includeRequestBodyInCheck": {"maxRequestBytes": 8}})),
        ),
        (
            "grpc-impatient",
            grpc(json!({"timeout": "0.2s", "statusOnError": "503"})),
        ),
        ("grpc-open", grpc(json!({"timeout": "0.2s", "failOpen": true}))),
        ("http", http(json!({}))),
        (
            "http-told",
            http(json!({
                "pathPrefix": "/check",
                "includeRequestHeadersInCheck": ["x-authorize", "x-team", "cookie"],
                "includeAdditionalHeadersInCheck": {"x-from": "mesh"},
                "headersToUpstreamOnAllow": ["x-user", "x-many"],
                "headersToDownstreamOnDeny": ["x-why", "content-type"],
                "headersToDownstreamOnAllow": ["x-note"],
            })),
        ),
        (
            "http-patterns",
            http(json!({
                "includeRequestHeadersInCheck": ["x-a*", "*-team"],
                "headersToUpstreamOnAllow": ["x-*"], "headersToDownstreamOnDeny": ["*"],
            })),
        ),
        (
            "http-open",
            http(
                json!({"timeout": "0.2s", "failOpen": true, "includeRequestHeadersInCheck": ["x-authorize"]}),
            ),
        ),
        (
            "nobody",
            json!({"envoyExtAuthzGrpc": {"service": "authorizer.shop.svc.cluster.local", "port": 9009}}),
        ),
        (
            "nobody-open",
            json!({"envoyExtAuthzHttp": {
            "service": "authorizer.shop.svc.cluster.local", "port": 8008, "failOpen": true}}),
        ),
    ]
}

/// What the mesh's settings say of them.
pub(crate) fn settings() -> Vec<Value> {
    let named = providers().into_iter().map(|(name, mut provider)| {
        provider["name"] = name.into();
        provider
    });
    named.collect()
}

/// What the authorizer is asked to do.
const WISHES: [&str; 16] = [
    "allow",
    "deny",
    "deny status=401 x-why=because",
    "deny status=418 body=teapot",
    "deny status=302 location=https://login.example/?next=1",
    "deny body=",
    "allow x-user=alice",
    "allow x-user=alice x-user=bob",
    "allow append:x-many=second",
    "allow remove:x-team",
    "allow answer:x-note=seen",
    "allow wait=500ms",
    "deny wait=500ms",
    "error",
    "reset",
    "tell",
];

/// Every wish at every provider.
pub(super) fn cases() -> Vec<Case> {
    let mut names: Vec<&str> = providers().iter().map(|(name, _)| *name).collect();
    names.push("unknown");
    names.into_iter().map(case).collect()
}

fn case(provider: &str) -> Case {
    let mut calls: Vec<Call> = WISHES.iter().map(|wish| call(wish)).collect();
    for body in ["", "short", "longer than what it is told of"] {
        calls.push(Call {
            get: None,
            post: Some("http://guarded:9090/checked/body".to_owned()),
            body: Some(body.to_owned()),
            ..call("tell")
        });
    }
    // Not asked about.
    calls.push(Call {
        get: Some("http://guarded:9090/free".to_owned()),
        ..call("deny")
    });
    calls.push(Call {
        http: Some(json!(2)),
        ..call("tell")
    });
    Case {
        name: format!("provider {provider}"),
        apply: vec![json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "custom"},
            "spec": {
                "selector": {"matchLabels": {"app": "guarded"}}, "action": "CUSTOM", "provider": {"name": provider},
                "rules": [{"to": [{"operation": {"paths": ["/checked", "/checked/*"]}}]}],
            },
        })],
        calls,
        ..Case::default()
    }
}

fn call(wish: &str) -> Call {
    let headers = [
        ("x-authorize", wish),
        ("x-team", "red"),
        ("x-many", "first"),
        ("cookie", "a=b"),
    ];
    Call {
        get: Some("http://guarded:9090/checked?x=1".to_owned()),
        headers: Map::from_iter(headers.map(|(name, value)| (name.to_owned(), Value::from(value)))),
        from: Some("outside".to_owned()),
        ..Call::default()
    }
}
