//! What the validation of a RequestAuthentication says, and where.

use crate::yaml;

fn problems(spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: a, namespace: shop}}\nspec: {spec}"
    );
    let read = yaml::read(&text);
    read.problems
        .iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

#[test]
fn every_field_of_the_reference_is_known() {
    let found = problems(
        "{selector: {matchLabels: {app: a}}, jwtRules: [
           {issuer: a, audiences: [b], jwksUri: 'https://a.example/keys', fromHeaders: [{name: x-token, prefix: 'T '}],
            fromParams: [t], fromCookies: [c], outputPayloadToHeader: x-payload, forwardOriginalToken: true,
            outputClaimToHeaders: [{header: x-sub, claim: sub}], timeout: 3s, spaceDelimitedClaims: [roles]},
           {issuer: b, jwks_uri: 'http://b.example:8080/keys'},
           {issuer: c, jwks: '{\"keys\": []}'}]}",
    );
    assert_eq!(found, Vec::<String>::new());
    let targets = "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}, {kind: Service, name: s}]}";
    assert_eq!(problems(targets), Vec::<String>::new());
    assert_eq!(problems("{}"), Vec::<String>::new());
}

#[test]
fn istios_own_words_for_what_it_refuses() {
    for (spec, expected) in [
        (
            "{jwtRules: [{audiences: ['']}]}",
            vec![
                "spec.jwtRules[0].audiences: audience must be non-empty string",
                "spec.jwtRules[0]: issuer or jwksUri must be non-empty string",
            ],
        ),
        (
            "{jwtRules: [{issuer: a, jwksUri: 'ftp://a.example'}]}",
            vec!["spec.jwtRules[0].jwksUri: URI scheme \"ftp\" is not supported"],
        ),
        (
            "{jwtRules: [{issuer: a, jwksUri: 'http://a', jwks: '{\"keys\":[]}'}]}",
            vec!["spec.jwtRules[0]: only one of jwks or jwksUri can be set"],
        ),
        (
            "{jwtRules: [{issuer: a, fromHeaders: [{name: ''}], fromParams: [''], fromCookies: ['']}]}",
            vec![
                "spec.jwtRules[0].fromHeaders[0].name: location header name must be non-empty string",
                "spec.jwtRules[0].fromParams: location query must be non-empty string",
                "spec.jwtRules[0].fromCookies: cookie name must be non-empty string",
            ],
        ),
        (
            "{jwtRules: [{issuer: a, outputClaimToHeaders: [{header: '', claim: b}, {header: 'x y', claim: b}]}]}",
            vec![
                "spec.jwtRules[0].outputClaimToHeaders[0]: outputClaimToHeaders header and claim value must be non-empty string",
                "spec.jwtRules[0].outputClaimToHeaders[1].header: header name \"x y\" is not a valid header name",
            ],
        ),
        (
            "{jwtRules: [{issuer: a, outputPayloadToHeader: Transfer-Encoding,
               outputClaimToHeaders: [{header: content-length, claim: b}, {header: Host, claim: b}, {header: x-te, claim: b}]}]}",
            vec![
                "spec.jwtRules[0].outputPayloadToHeader: header name \"Transfer-Encoding\" is reserved; the proxy frames messages itself",
                "spec.jwtRules[0].outputClaimToHeaders[0].header: header name \"content-length\" is reserved; the proxy frames messages itself",
                "spec.jwtRules[0].outputClaimToHeaders[1].header: header name \"Host\" is reserved; the proxy frames messages itself",
            ],
        ),
        (
            "{selector: {matchLabels: {a: 'b*'}}, targetRefs: [{kind: Service, name: s}]}",
            vec![
                "spec: only one of targetRefs or workloadSelector can be set",
                "spec.selector.matchLabels: wildcard is not supported in selector: \"a=b*\"",
            ],
        ),
        (
            "{targetRef: {kind: Pod, name: '', namespace: x}}",
            vec![
                "spec.targetRef.name: targetRef name must be set",
                "spec.targetRef.namespace: targetRef namespace must not be set; cross namespace referencing is not supported",
                "spec.targetRef: targetRef must be to one of [core/v1/Service networking.istio.io/v1/ServiceEntry \
                 gateway.networking.k8s.io/v1/Gateway gateway.networking.k8s.io/v1/GatewayClass] but was /Pod",
            ],
        ),
        (
            "{selector: {}}",
            vec!["spec.selector.matchLabels: workload selector specified without labels"],
        ),
    ] {
        assert_eq!(problems(spec), expected, "{spec}");
    }
}

#[test]
fn keys_that_are_no_keys_are_refused_and_private_ones_are_pointed_at() {
    let first = |keys: &str| {
        let found = problems(&format!("{{jwtRules: [{{issuer: a, jwks: '{keys}'}}]}}"));
        found.into_iter().next().unwrap_or_default()
    };
    assert!(first("nothing").starts_with("spec.jwtRules[0].jwks: jwks parse error: "));
    assert!(first("[]").contains("it is not an object"));
    assert!(first("{\"keys\": [{}]}").contains("key at index 0 has no kty"));
    let private = "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AA\"}]}";
    assert!(first(private).contains("contains private key material"));
    assert_eq!(first("{\"keys\": [{\"kty\": \"EC\"}]}"), "");
}

#[test]
fn a_fetch_that_may_take_long_is_pointed_at() {
    let found = |timeout: &str| problems(&format!("{{jwtRules: [{{issuer: a, timeout: {timeout}}}]}}"));
    assert_eq!(found("10s"), Vec::<String>::new());
    assert_eq!(
        found("1000h"),
        ["spec.jwtRules[0].timeout: keys are fetched within 10s, whatever is asked for"]
    );
}
