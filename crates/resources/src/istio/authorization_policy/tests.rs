//! What is admitted and what is refused, in Istio's words.

use serde_json::{Value, json};

use crate::{Level, Resource};

fn findings(annotations: Value, spec: Value) -> Vec<(Level, String, String)> {
    let mut object = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "a", "namespace": "shop"},
    });
    object["metadata"]["annotations"] = annotations;
    object["spec"] = spec;
    let decoded = Resource::from_object(&object).unwrap();
    assert_eq!(decoded.warnings, [], "{object}");
    let problems = decoded.resource.validate();
    let finding = |problem: crate::Problem| (problem.level(), problem.field, problem.message);
    problems.into_iter().map(finding).collect()
}

fn of(spec: Value) -> Vec<(Level, String, String)> {
    findings(json!({}), spec)
}

#[track_caller]
fn refused(spec: Value, field: &str, message: &str) {
    let shown = spec.to_string();
    let found = of(spec);
    let expected = (Level::Error, field.to_owned(), message.to_owned());
    assert!(found.contains(&expected), "{shown}: {found:#?}");
}

fn rule(rule: Value) -> Value {
    json!({"rules": Value::Array(vec![rule])})
}

#[test]
fn policies_of_the_documentation_are_admitted() {
    for spec in [
        json!({}),
        json!({"rules": [{}]}),
        json!({"action": "ALLOW", "selector": {"matchLabels": {"app": "web"}}, "rules": [{
            "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}, {"source": {"namespaces": ["test"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/info*"]}}, {"operation": {"methods": ["POST"], "ports": ["80"]}}],
            "when": [{"key": "request.auth.claims[iss]", "values": ["https://accounts.google.com"]}],
        }]}),
        json!({"targetRefs": [{"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "front"}]}),
        json!({"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [{"to": [{"operation": {"paths": ["/admin*"]}}]}]}),
        json!({"action": "AUDIT", "rules": [{"to": [{"operation": {"paths": ["/user/{*}/profile/{**}"]}}]}]}),
        json!({"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.0/8", "::1"], "serviceAccounts": ["web", "far/web"]}}]}]}),
        json!({"rules": [{"from": [{"source": {"trustDomains": ["*.example", "a*"], "remoteIpBlocks": ["10.1.2.3"]}}]}]}),
        json!({"rules": [{"when": [{"key": "experimental.envoy.filters.network.x[y]", "notValues": ["a"]}]}]}),
    ] {
        assert_eq!(of(spec.clone()), [], "{spec}");
    }
}

#[test]
fn actions_that_could_never_happen_are_refused() {
    let words = "action without `rules` is meaningless as it will never be triggered, add an empty rule `{}` if you want it \
                 be triggered for every request";
    refused(json!({"action": "DENY"}), "spec.rules", &format!("DENY {words}"));
    refused(
        json!({"action": "CUSTOM"}),
        "spec.rules",
        &format!("CUSTOM {words}"),
    );
    refused(
        json!({"action": "CUSTOM", "rules": [{}]}),
        "spec.provider",
        "`provider.name` must not be empty",
    );
    let message = "`provider` must not be with non CUSTOM action, found DENY";
    let with_provider = json!({"action": "DENY", "provider": {"name": "a"}, "rules": [{}]});
    refused(with_provider, "spec.provider", message);
}

#[test]
fn somebody_else_is_not_asked_about_identities() {
    for (source, name) in [
        ("namespaces", "From.Namespaces"),
        ("notRequestPrincipals", "From.NotRequestPrincipals"),
    ] {
        let spec = json!({"action": "CUSTOM", "provider": {"name": "a"}, "rules": [{"from": [{"source": {source: ["a"]}}]}]});
        let message = format!("{name} is currently not supported with CUSTOM action");
        refused(spec, "spec.rules[0]", &message);
    }
    for key in ["source.principal", "request.auth.claims[a]"] {
        let spec = json!({"action": "CUSTOM", "provider": {"name": "a"}, "rules": [{"when": [{"key": key, "values": ["a"]}]}]});
        let message = format!("{key} is currently not supported with CUSTOM action");
        refused(spec, "spec.rules[0]", &message);
    }
}

#[test]
fn what_is_there_must_say_something() {
    for (spec, field, message) in [
        (rule(json!({"from": []})), "from", "`from` must not be empty"),
        (
            rule(json!({"from": [{}]})),
            "from[0].source",
            "`from.source` must not be nil",
        ),
        (
            rule(json!({"from": [{"source": {}}]})),
            "from[0].source",
            "`from.source` must not be empty",
        ),
        (rule(json!({"to": []})), "to", "`to` must not be empty"),
        (
            rule(json!({"to": [{}]})),
            "to[0].operation",
            "`to.operation` must not be nil",
        ),
        (
            rule(json!({"to": [{"operation": {}}]})),
            "to[0].operation",
            "`to.operation` must not be empty",
        ),
        (
            rule(json!({"from": [{"source": {"serviceAccounts": ["a"], "namespaces": ["b"]}}]})),
            "from[0].source",
            "cannot set serviceAccounts with namespaces or principals",
        ),
    ] {
        refused(
            spec,
            &format!("spec.rules[0].{field}"),
            &format!("{message}, found at rule 0"),
        );
    }
    refused(
        rule(json!({"when": [{"key": ""}]})),
        "spec.rules[0].when[0]",
        "`key` must not be empty",
    );
    let message = "at least one of `values` or `notValues` must be set for key source.ip";
    refused(
        rule(json!({"when": [{"key": "source.ip"}]})),
        "spec.rules[0].when[0]",
        message,
    );
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (field, value, message) in [
        ("principals", "", "empty value not allowed, found in Principals"),
        ("ipBlocks", "10.0.0.256", "bad IP address (10.0.0.256)"),
        ("notIpBlocks", "10.0.0.0/33", "bad CIDR range (10.0.0.0/33)"),
        ("remoteIpBlocks", "10.0.0.0/08", "bad CIDR range (10.0.0.0/08)"),
        (
            "trustDomains",
            "a*b",
            "wildcard is only allowed at the start or end, found in TrustDomains: \"a*b\"",
        ),
        (
            "trustDomains",
            "*a*",
            "at most one wildcard is allowed, found in TrustDomains: \"*a*\"",
        ),
        (
            "notTrustDomains",
            "a/b",
            "trust domain must not contain '/', found in NotTrustDomains: \"a/b\"",
        ),
        (
            "serviceAccounts",
            "a*",
            "wildcard not allowed, found in ServiceAccounts",
        ),
        (
            "serviceAccounts",
            "a/b/c",
            "expected format 'serviceAccount' or 'namespace/serviceAccount', found \"a/b/c\" in ServiceAccounts",
        ),
        (
            "notServiceAccounts",
            "/b",
            "expected format 'serviceAccount' or 'namespace/serviceAccount', found empty namespace \"/b\" in NotServiceAccounts",
        ),
    ] {
        let spec = rule(json!({"from": [{"source": {field: [value]}}]}));
        refused(spec, &format!("spec.rules[0].from[0].source.{field}"), message);
    }
    for (field, value, message) in [
        ("ports", "65536", "bad port (65536)"),
        ("notPorts", "http", "bad port (http)"),
        ("methods", "", "empty value not allowed, found in Methods"),
        (
            "paths",
            "/{**}/{*}",
            "invalid or unsupported path {**}/{*}, found in Paths. {**} is not the last operator",
        ),
        (
            "notPaths",
            "/a{*}",
            "invalid or unsupported path a{*}, found in NotPaths. Contains '{' or '}' beyond a supported path template",
        ),
        (
            "paths",
            "/{*}/b*",
            "invalid or unsupported path {*}/b*, found in Paths. Contains segment b* with invalid string literal",
        ),
    ] {
        let spec = rule(json!({"to": [{"operation": {field: [value]}}]}));
        refused(spec, &format!("spec.rules[0].to[0].operation.{field}"), message);
    }
}

#[test]
fn attributes_are_known_ones() {
    for (key, values, message) in [
        ("source.ip", "a", "bad IP address (a)"),
        ("destination.port", "x", "bad port (x)"),
        (
            "request.headers",
            "a",
            "bad key (request.headers): should have format a[b]",
        ),
        (
            "request.headers[]",
            "a",
            "bad key (request.headers[]): should have format a[b]",
        ),
        (
            "destination.labels[a]",
            "a",
            "attribute destination.labels[a] is replaced by the workload selector",
        ),
        (
            "destination.user",
            "a",
            "deprecated attribute destination.user: only supported in v1alpha1",
        ),
        (
            "destination.namespace",
            "a",
            "attribute destination.namespace is replaced by the metadata.namespace",
        ),
        ("source.labels[a]", "a", "unknown attribute: source.labels[a]"),
        (
            "source.principal",
            "",
            "empty value not allowed, found in source.principal",
        ),
    ] {
        let spec = rule(json!({"when": [{"key": key, "notValues": [values]}]}));
        let message = format!("invalid `notValue` for `key` {key}: {message}");
        refused(spec, "spec.rules[0].when[0].notValues", &message);
    }
}

#[test]
fn denying_requests_alone_is_warned_of_because_it_denies_every_connection() {
    let warned = |rule: Value| {
        let found = of(json!({"action": "DENY", "rules": [rule]}));
        assert!(
            found.iter().all(|(level, ..)| *level == Level::Warning),
            "{found:#?}"
        );
        found.len() == 1 && found[0].2.contains("deny all traffic to TCP ports")
    };
    assert!(warned(json!({"to": [{"operation": {"methods": ["GET"]}}]})));
    assert!(warned(
        json!({"from": [{"source": {"requestPrincipals": ["*"]}}]})
    ));
    assert!(!warned(
        json!({"to": [{"operation": {"methods": ["GET"], "ports": ["80"]}}]})
    ));
    assert!(!warned(json!({"from": [{"source": {"namespaces": ["a"]}}]})));
    assert!(!warned(json!({"from": [{"source": {"trustDomains": ["a"]}}]})));
    let when = |key: &str| json!({"key": key, "values": ["1"]});
    assert!(warned(json!({"when": [when("request.headers[x-bad]")]})));
    assert!(!warned(
        json!({"when": [when("request.headers[x-bad]"), when("destination.port")]})
    ));
    let anybody = json!([{"source": {"requestPrincipals": ["*"]}}]);
    assert!(!warned(
        json!({"from": anybody, "when": [when("destination.port")]})
    ));
    assert!(warned(json!({"from": [
        {"source": {"namespaces": ["a"]}}, {"source": {"requestPrincipals": ["*"]}}
    ]})));
    assert!(!warned(json!({})));
}

#[test]
fn dry_runs_are_for_decisions_of_the_proxy() {
    let warnings = |value: &str, action: &str| {
        let spec = json!({"action": action, "rules": [{"to": [{"operation": {"ports": ["80"]}}]}]});
        findings(json!({"istio.io/dry-run": value}), spec)
    };
    assert_eq!(warnings("true", "DENY"), []);
    assert_eq!(warnings("yes", "DENY").len(), 1);
    let audit = warnings("true", "AUDIT");
    assert_eq!(audit.len(), 1);
    assert!(
        audit[0].2.contains("found AUDIT: no line is asked for"),
        "{audit:?}"
    );
    let rule = json!({"to": [{"operation": {"ports": ["80"]}}]});
    let spec = json!({"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [rule]});
    let custom = findings(json!({"istio.io/dry-run": "true"}), spec);
    assert_eq!(custom.len(), 1);
    assert!(
        custom[0].2.contains("nobody is asked and nothing is refused"),
        "{custom:?}"
    );
}
