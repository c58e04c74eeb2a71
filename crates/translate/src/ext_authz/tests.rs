//! Providers as filters.

use resources::yaml;
use serde_json::{Value, json};
use snapshot::authorization::{Condition, Policy, RuleAction, Rules};

use super::*;
use crate::{Mesh, MeshSettings};

const WORLD: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: ext-authz, namespace: foo}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 8000}, {name: grpc, port: 9000}]}
"#;
const HOST: &str = "ext-authz.foo.svc.cluster.local";

fn providers(list: &Value) -> Providers {
    let settings = json!({ "extensionProviders": list });
    let settings = MeshSettings::read(settings.as_object().unwrap()).unwrap();
    let mesh = Mesh::of(yaml::read(WORLD).resources);
    Providers::of(&mesh.services, &settings.extension_providers)
}

fn asking(names: &[&str]) -> Vec<Custom> {
    let everything = Policy {
        permissions: vec![Condition::Any],
        principals: vec![Condition::Any],
    };
    let rules = |provider: &str| Rules {
        action: RuleAction::Deny,
        policies: [(
            format!("istio-ext-authz-{provider}-ns[foo]-policy[x]-rule[0]"),
            everything.clone(),
        )]
        .into(),
    };
    let custom = |name: &&str| Custom {
        provider: (*name).to_owned(),
        rules: rules(name),
    };
    names.iter().map(custom).collect()
}

fn both() -> Providers {
    providers(&json!([
        {"name": "over-http", "envoyExtAuthzHttp": {
            "service": HOST, "port": 8000, "timeout": "3s", "pathPrefix": "/check", "failOpen": true,
            "clearRouteCache": true, "statusOnError": "503",
            "includeRequestHeadersInCheck": ["X-Ext-*"], "includeHeadersInCheck": ["old"],
            "includeAdditionalHeadersInCheck": {"x-b": "2", "x-a": "1"},
            "includeRequestBodyInCheck": {"maxRequestBytes": 64, "allowPartialMessage": true},
            "headersToUpstreamOnAllow": ["a"], "headersToDownstreamOnDeny": ["*-b"],
            "headersToDownstreamOnAllow": ["c"],
        }},
        {"name": "over-grpc", "envoyExtAuthzGrpc": {"service": format!("foo/{HOST}"), "port": 9000}},
    ]))
}

/// The policies that deny, where nothing else happens.
fn denied(filters: &[HttpFilter]) -> Vec<&str> {
    let rules = filters.iter().map(|filter| match filter {
        HttpFilter::Authorization(filter) => filter.rules.as_ref().expect("rules in force"),
        other => panic!("{other:?} asks somebody"),
    });
    rules
        .flat_map(|rules| rules.policies.keys().map(String::as_str))
        .collect()
}

#[test]
fn a_provider_over_http_becomes_rules_and_a_question_with_every_field() {
    let filters = both().http_filters(asking(&["over-http"]));
    let [HttpFilter::Authorization(rules), HttpFilter::ExtAuthz(question)] = &filters[..] else {
        panic!("a pair: {filters:?}")
    };
    assert_eq!(rules.rules, None, "nothing is refused by rules");
    assert_eq!(rules.shadow_prefix, "istio_ext_authz_");
    let names: Vec<_> = rules.shadow.as_ref().unwrap().policies.keys().collect();
    assert_eq!(names, ["istio-ext-authz-over-http-ns[foo]-policy[x]-rule[0]"]);
    let when = question.when.as_ref().unwrap();
    assert_eq!(when.path, ["istio_ext_authz_shadow_effective_policy_id"]);
    assert_eq!(
        (when.filter.as_str(), when.prefix.as_str()),
        ("envoy.filters.http.rbac", "istio-ext-authz-over-http")
    );
    assert!(question.fail_open && question.routes_anew);
    assert_eq!(question.status_on_error, 503);
    assert_eq!(question.headers, Some(vec![NamePattern::Prefix("x-ext-".into())]));
    assert_eq!(
        question.body,
        Some(CheckedBody {
            most: 64,
            partial: true,
            as_bytes: false
        })
    );
    let AuthorizationService::Http(service) = &question.service else {
        panic!("over HTTP")
    };
    assert_eq!(service.cluster.as_str(), format!("outbound|8000||{HOST}"));
    assert_eq!(service.timeout, Some(Duration::from_secs(3)));
    assert_eq!(service.path, CheckedPath::Prefix("/check".into()));
    let added: Vec<_> = service.add.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(added, ["x-a", "x-b"]);
    assert_eq!(service.to_upstream, [NamePattern::Exact("a".into())]);
    assert_eq!(
        service.to_client_on_deny,
        Some(vec![NamePattern::Suffix("-b".into())])
    );
    assert_eq!(service.to_client_on_allow, [NamePattern::Exact("c".into())]);
}

#[test]
fn connections_are_for_providers_that_speak_grpc() {
    let providers = both();
    let filters = providers.network_filters(asking(&["over-grpc"]));
    let [
        NetworkFilter::Authorization(rules),
        NetworkFilter::ExtAuthz(question),
    ] = &filters[..]
    else {
        panic!("a pair: {filters:?}")
    };
    assert_eq!(
        (rules.stat_prefix.as_str(), question.stat_prefix.as_str()),
        ("tcp.", "tcp.")
    );
    assert_eq!(question.service.authority(), HOST);
    assert_eq!(question.service.timeout, Some(Duration::from_secs(600)));
    assert_eq!(providers.network_filters(asking(&["over-http"])), []);
    let only_requests = ["over-http", "over-grpc", "nobody"].map(|name| providers.knows_only_requests(name));
    assert_eq!(only_requests, [true, false, false]);
}

#[test]
fn a_limit_of_nothing_is_none_that_waits_for_ever() {
    let providers = providers(&json!([
        {"name": "over-http", "envoyExtAuthzHttp": {"service": HOST, "port": 8000, "timeout": "0s"}},
        {"name": "over-grpc", "envoyExtAuthzGrpc": {"service": HOST, "port": 9000, "timeout": "0s"}},
    ]));
    for name in ["over-http", "over-grpc"] {
        let filters = providers.http_filters(asking(&[name]));
        let [_, HttpFilter::ExtAuthz(question)] = &filters[..] else {
            panic!("a pair: {filters:?}")
        };
        let timeout = match &question.service {
            AuthorizationService::Http(service) => service.timeout,
            AuthorizationService::Grpc(service) => service.timeout,
        };
        assert_eq!(timeout, Some(TIMEOUT), "{name}");
    }
}

#[test]
fn without_a_provider_that_can_be_asked_everything_it_would_be_asked_about_is_refused() {
    let providers = providers(&json!([
        {"name": "nowhere", "envoyExtAuthzGrpc": {"service": "other.foo.svc.cluster.local", "port": 1}},
        {"name": "elsewhere", "envoyExtAuthzGrpc": {"service": format!("bar/{HOST}"), "port": 1}},
        {"name": "everything", "envoyExtAuthzHttp": {
            "service": HOST, "port": 1, "headersToUpstreamOnAllow": ["*"]}},
        {"name": "Capital", "envoyExtAuthzGrpc": {"service": HOST, "port": 1}},
        {"name": "metrics", "prometheus": {}},
    ]));
    for name in [
        "nowhere",
        "elsewhere",
        "everything",
        "Capital",
        "metrics",
        "undefined",
    ] {
        let filters = providers.http_filters(asking(&[name]));
        assert_eq!(
            denied(&filters),
            [format!(
                "istio-ext-authz-{name}-ns[foo]-policy[x]-rule[0]-deny-due-to-bad-CUSTOM-action"
            )]
        );
        assert!(providers.problem(name).is_some(), "{name}");
    }
    assert_eq!(
        providers.problem("undefined").unwrap(),
        "available providers are [Capital elsewhere everything metrics nowhere] but found \"undefined\""
    );
}

#[test]
fn several_providers_for_one_workload_are_asked_about_nothing_and_all_is_refused() {
    let filters = both().http_filters(asking(&["over-http", "over-grpc"]));
    assert_eq!(denied(&filters).len(), 2);
    assert_eq!(
        both().network_filters(asking(&["over-http", "over-grpc"])).len(),
        2
    );
}
