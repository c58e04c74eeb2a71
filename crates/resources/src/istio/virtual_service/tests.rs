//! What the validation of a VirtualService says, and where.

use crate::yaml;

fn problems(spec: &str) -> Vec<String> {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, namespace: shop}}\nspec:\n{indented}"
    );
    let read = yaml::read(&text);
    read.problems
        .iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

/// A rule that goes to `b`, with more fields.
fn rule(more: &str) -> Vec<String> {
    problems(&format!(
        "hosts: [b]\nhttp:\n- route: [{{destination: {{host: b}}}}]\n{more}"
    ))
}

#[test]
fn every_field_of_the_reference_is_known() {
    let read = rule(concat!(
        "  name: first\n",
        "  match:\n",
        "  - {name: m, uri: {prefix: /}, scheme: {exact: http}, method: {exact: GET}, authority: {regex: 'b.*'},\n",
        "     headers: {x: {exact: ''}, w: {}}, port: 80, sourceLabels: {a: b}, gateways: [mesh],\n",
        "     queryParams: {q: {exact: v}}, ignoreUriCase: true, withoutHeaders: {z: {regex: '*'}},\n",
        "     sourceNamespace: shop, statPrefix: s}\n",
        "  rewrite: {uriRegexRewrite: {match: a, rewrite: b}}\n",
        "  timeout: 1.5s\n",
        "  retries: {attempts: 1, perTryTimeout: 1s, retryOn: '5xx,503', retryRemoteLocalities: true,\n",
        "     retryIgnorePreviousHosts: false, backoff: 10ms}\n",
        "  fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {grpcStatus: UNAVAILABLE}}\n",
        "  mirror: {host: c, subset: v1, port: {number: 80}}\n",
        "  mirrorPercentage: {value: 50}\n",
        "  corsPolicy: {allowOrigins: [{exact: 'https://a'}], allowMethods: [GET], maxAge: 24h,\n",
        "     allowCredentials: true, exposeHeaders: [x], allowHeaders: [w], unmatchedPreflights: IGNORE}\n",
        "  headers: {request: {set: {Host: c}, add: {x: v}, remove: [z]}, response: {remove: [w]}}\n",
    ));
    assert_eq!(read, Vec::<String>::new());
}

#[test]
fn an_unknown_field_is_named_with_its_path() {
    assert_eq!(
        rule("  timeot: 1s\n"),
        [r#"spec.http[0].timeot: unknown field "spec.http[0].timeot""#]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_path() {
    let found = problems("hosts: [b]\nhttp:\n- route: [{destination: {host: b}, weight: ten}]\n");
    assert!(
        found[0].starts_with("spec.http[0].route[0].weight: invalid type: string \"ten\""),
        "{found:?}"
    );
}

#[test]
fn weights_must_not_be_negative_nor_all_zero() {
    let with = |first: i32, second: i32| {
        problems(&format!(
            "hosts: [b]\nhttp:\n- route:\n  - {{destination: {{host: b}}, weight: {first}}}\n  - {{destination: {{host: c}}, weight: {second}}}\n"
        ))
    };
    assert_eq!(with(90, 10), Vec::<String>::new());
    assert_eq!(with(-1, 10), ["spec.http[0].route[0].weight: weight -1 < 0"]);
    assert_eq!(with(0, 0), ["spec.http[0].route: total destination weight = 0"]);
}

#[test]
fn a_rule_needs_exactly_one_action() {
    assert_eq!(
        problems("hosts: [b]\nhttp:\n- name: x\n"),
        ["spec.http[0]: HTTP route, redirect or direct_response is required"]
    );
    assert_eq!(
        rule("  redirect: {uri: /}\n"),
        ["spec.http[0]: HTTP route cannot contain more than one of route, redirect and direct_response"]
    );
}

#[test]
fn hosts_must_not_overlap_and_a_bare_star_is_for_gateways() {
    let rules = "\nhttp: [{route: [{destination: {host: b}}]}]\n";
    assert_eq!(
        problems(&format!("hosts: [b, b.shop.svc.cluster.local]{rules}")),
        [
            "spec.hosts[1]: duplicate hosts in virtual service: b.shop.svc.cluster.local and b.shop.svc.cluster.local"
        ]
    );
    assert_eq!(problems(&format!("hosts: ['*']{rules}")).len(), 1);
    assert_eq!(
        problems(&format!("hosts: ['*']\ngateways: [g]{rules}")),
        Vec::<String>::new()
    );
}

#[test]
fn bad_retries_conditions_and_durations_are_named() {
    assert_eq!(
        rule("  retries: {attempts: 0, retryOn: often, perTryTimeout: 0s}\n"),
        [
            "spec.http[0].retries: http retry policy configured when attempts are set to 0 (disabled)",
            "spec.http[0].retries.perTryTimeout: duration must be greater than 1ms, in whole milliseconds",
            "spec.http[0].retries.retryOn: \"often\" is not a valid retryOn policy",
        ]
    );
}

#[test]
fn rules_after_a_catch_all_are_reported_as_unreachable() {
    let found = rule("- route: [{destination: {host: c}}]\n");
    assert_eq!(
        found,
        ["spec.http[1]: rule is never reached: spec.http[0] has no match and takes every request"]
    );
}
