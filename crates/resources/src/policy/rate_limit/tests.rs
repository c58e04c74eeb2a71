//! What the validation of a RateLimit says, and where.

use crate::{Resource, yaml};

fn read(spec: &str) -> yaml::Read {
    yaml::read(&format!(
        "apiVersion: policy.amime.io/v1alpha1\nkind: RateLimit\nmetadata: {{name: a, namespace: shop}}\nspec: {spec}"
    ))
}

fn problems(spec: &str) -> Vec<String> {
    let read = read(spec);
    read.problems
        .iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

#[test]
fn every_field_is_known() {
    let spec = "{targetRef: {group: '', kind: Service, name: backend, sectionName: http},
        responseHeaders: [RateLimit, XRateLimit], response: {status: 503, body: busy},
        global: {failureMode: Closed, timeout: 50ms, server: {host: limits.infra, port: 8081}, domain: shop},
        limits: [
          {name: all, requests: 1000, unit: Minute, burst: 100, cost: 2, scope: Local, dryRun: true},
          {name: each, requests: 5, scope: Global,
           match: {path: {prefix: /api}, methods: [GET, POST], headers: {x-a: {exact: b}, x-b: {}}},
           keys: [{header: x-user}, {queryParameter: q}, {jwtClaim: sub}, {value: gold}, {attribute: Path},
                  {attribute: Method}, {attribute: Host}, {attribute: PeerIdentity}]}]}";
    assert_eq!(problems(spec), Vec::<String>::new());
    assert!(matches!(read(spec).resources[..], [Resource::RateLimit(_)]));
}

#[test]
fn a_limit_that_cannot_work_is_refused_with_its_field() {
    for (limit, expected) in [
        (
            "{name: A, requests: 1}",
            "spec.limits[0].name: invalid name \"A\"",
        ),
        (
            "{name: a, requests: 0}",
            "spec.limits[0].requests: requests must be in the range",
        ),
        (
            "{name: a, requests: 9, burst: 0}",
            "spec.limits[0].burst: burst must be",
        ),
        (
            "{name: a, requests: 1, unit: Day, burst: 300000}",
            "spec.limits[0].burst: burst must be in the range 1..53375: more would take longer than a century",
        ),
        (
            "{name: a, requests: 1, unit: Day, burst: 53376}",
            "spec.limits[0].burst: burst must be in the range 1..53375:",
        ),
        (
            "{name: a, requests: 5, cost: 6}",
            "spec.limits[0].cost: cost must be in the range 1..5",
        ),
        (
            "{name: a, requests: 5, keys: [{}]}",
            "spec.limits[0].keys[0]: exactly one of",
        ),
        (
            "{name: a, requests: 5, keys: [{header: a, value: b}]}",
            "spec.limits[0].keys[0]: exactly one of",
        ),
        (
            "{name: a, requests: 5, keys: [{header: 'a b'}]}",
            "spec.limits[0].keys[0].header: header name",
        ),
        (
            "{name: a, requests: 5, match: {path: {regex: '('}}}",
            "spec.limits[0].match.path.regex: invalid regex",
        ),
        (
            "{name: a, requests: 5, match: {methods: [get]}}",
            "spec.limits[0].match.methods[0]: \"get\" is no method",
        ),
    ] {
        let found = problems(&format!("{{limits: [{limit}]}}"));
        assert_eq!(found.len(), 1, "{limit}: {found:?}");
        assert!(found[0].starts_with(expected), "{limit}: {found:?}");
    }
}

#[test]
fn headers_that_no_limit_ever_sees_are_told() {
    let said = "the limit is for no request: proxies take the header";
    for (limit, expected) in [
        (
            "{name: a, requests: 5, keys: [{header: Keep-Alive}]}",
            format!("spec.limits[0].keys[0].header: {said} Keep-Alive out"),
        ),
        (
            "{name: a, requests: 5, match: {headers: {transfer-encoding: {}}}}",
            format!("spec.limits[0].match.headers[transfer-encoding]: {said} transfer-encoding out"),
        ),
    ] {
        let found = problems(&format!("{{limits: [{limit}]}}"));
        assert_eq!(found.len(), 1, "{limit}: {found:?}");
        assert!(found[0].starts_with(&expected), "{limit}: {found:?}");
    }
    let seen = "{limits: [{name: a, requests: 5, keys: [{header: Host}, {header: te}, {header: upgrade}]}]}";
    assert_eq!(problems(seen), Vec::<String>::new());
}

#[test]
fn a_burst_may_be_as_large_as_can_come_back() {
    for limit in [
        "{name: a, requests: 1, unit: Day, burst: 53375}",
        "{name: a, requests: 20000, unit: Day, burst: 1000000000}",
        "{name: a, requests: 1, burst: 1000000000}",
    ] {
        assert_eq!(
            problems(&format!("{{limits: [{limit}]}}")),
            Vec::<String>::new(),
            "{limit}"
        );
    }
}

#[test]
fn an_object_without_sense_is_refused() {
    let one = "limits: [{name: a, requests: 1}]";
    for (spec, expected) in [
        ("{limits: []}".to_owned(), "spec.limits: there must be"),
        (
            "{limits: [{name: a, requests: 1}, {name: a, requests: 2}]}".to_owned(),
            "spec.limits[1].name: duplicate name: a",
        ),
        (
            format!("{{{one}, targetRef: {{kind: Service, name: b}}, selector: {{}}}}"),
            "spec: only one of targetRef and selector",
        ),
        (
            format!("{{{one}, targetRef: {{group: apps, kind: Deployment, name: b}}}}"),
            "spec.targetRef: a RateLimit can be attached to a Service",
        ),
        (
            format!("{{{one}, response: {{status: 200}}}}"),
            "spec.response.status: status 200 is not",
        ),
        (
            format!("{{{one}, response: {{status: 418}}}}"),
            "spec.response.status: status 418 is not",
        ),
        (
            format!("{{{one}, global: {{}}}}"),
            "spec.global: no limit is of scope Global",
        ),
        (
            format!("{{{one}, responseHeaders: [Retry]}}"),
            "spec.responseHeaders[0]: unknown variant",
        ),
    ] {
        let found = problems(&spec);
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert!(found[0].starts_with(expected), "{spec}: {found:?}");
    }
}
