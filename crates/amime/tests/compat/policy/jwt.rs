//! Every kind of token against every kind of RequestAuthentication.

use serde_json::{Value, json};

use crate::table::{Call, Case, Expect};
use crate::tokens::ISSUER;

/// A name, a recipe, and whether an ordinary rule takes it.
type Token = (&'static str, Value, Option<bool>);

/// One for each thing that can be right or wrong with a token.
fn tokens() -> Vec<Token> {
    let claims = |claims: Value| json!({ "claims": claims });
    let header = |header: Value| json!({ "header": header });
    let spoil = |how: &str| json!({ "spoil": how });
    let payload = |text: &str| json!({ "payload": text });
    let (good, bad, open) = (Some(true), Some(false), None);
    vec![
        ("es256", json!({}), good),
        ("rs256", json!({"key": "rs256"}), good),
        ("es384", json!({"key": "es384"}), good),
        ("eddsa", json!({"key": "eddsa"}), good),
        ("without key id", header(json!({"kid": null})), good),
        ("without type", header(json!({"typ": null})), good),
        ("expired", claims(json!({"exp": "now-3600"})), bad),
        (
            "expired within the leeway",
            claims(json!({"exp": "now-30"})),
            good,
        ),
        (
            "expired beyond the leeway",
            claims(json!({"exp": "now-120"})),
            bad,
        ),
        ("without expiry", claims(json!({"exp": null})), open),
        ("expiry as a text", claims(json!({"exp": "tomorrow"})), open),
        (
            "expiry as a fraction",
            claims(json!({"exp": 4_102_444_800.5})),
            open,
        ),
        (
            "expiry beyond all numbers",
            payload(&format!(r#"{{"iss":"{ISSUER}","sub":"alice","exp":1e400}}"#)),
            open,
        ),
        ("negative expiry", claims(json!({"exp": -1})), open),
        ("expiry zero", claims(json!({"exp": 0})), open),
        ("not yet valid", claims(json!({"nbf": "now+3600"})), bad),
        ("valid within the leeway", claims(json!({"nbf": "now+30"})), good),
        ("issued tomorrow", claims(json!({"iat": "now+86400"})), open),
        (
            "another issuer",
            claims(json!({"iss": "https://other.example"})),
            bad,
        ),
        (
            "issuer with a slash",
            claims(json!({"iss": "https://issuer.example/"})),
            bad,
        ),
        ("without issuer", claims(json!({"iss": null})), open),
        ("issuer as a number", claims(json!({"iss": 7})), open),
        ("without subject", claims(json!({"sub": null})), open),
        ("subject as a list", claims(json!({"sub": ["alice"]})), open),
        ("audience one", claims(json!({"aud": "one"})), good),
        ("audiences", claims(json!({"aud": ["zero", "one"]})), good),
        ("another audience", claims(json!({"aud": "other"})), good),
        (
            "audience as a URL",
            claims(json!({"aud": "https://two.example/"})),
            good,
        ),
        (
            "audience as a URL without slash",
            claims(json!({"aud": "http://two.example"})),
            good,
        ),
        ("no audience in a list", claims(json!({"aud": []})), open),
        ("audience as a number", claims(json!({"aud": 5})), open),
        ("forged signature", spoil("signature"), bad),
        (
            "forged signature of RSA",
            json!({"key": "rs256", "spoil": "signature"}),
            bad,
        ),
        (
            "forged signature of EdDSA",
            json!({"key": "eddsa", "spoil": "signature"}),
            bad,
        ),
        ("other claims than were signed", spoil("claims"), bad),
        (
            "signed by a stranger",
            json!({"key": "stranger", "header": {"kid": "es256"}}),
            bad,
        ),
        (
            "signed by a stranger under its own name",
            json!({"key": "stranger"}),
            bad,
        ),
        (
            "algorithm none",
            json!({"header": {"alg": "none"}, "spoil": "unsigned"}),
            bad,
        ),
        (
            "algorithm none with signature",
            header(json!({"alg": "none"})),
            bad,
        ),
        (
            "algorithm None",
            json!({"header": {"alg": "None"}, "spoil": "unsigned"}),
            bad,
        ),
        ("without algorithm", header(json!({"alg": null})), bad),
        ("algorithm as a number", header(json!({"alg": 1})), bad),
        ("unknown algorithm", header(json!({"alg": "ES257"})), bad),
        (
            "wrong curve",
            json!({"key": "es384", "header": {"alg": "ES256", "kid": "es256"}}),
            bad,
        ),
        (
            "curve of another key",
            json!({"key": "es256", "header": {"alg": "ES384", "kid": "es384"}}),
            bad,
        ),
        (
            "public key as a secret",
            json!({"key": "hs256", "header": {"kid": "rs256"}}),
            bad,
        ),
        (
            "RSA that says EdDSA",
            json!({"key": "rs256", "header": {"alg": "EdDSA", "kid": "eddsa"}}),
            bad,
        ),
        ("key id of another kind", header(json!({"kid": "rs256"})), bad),
        ("unknown key id", header(json!({"kid": "nobody"})), bad),
        ("key id as a number", header(json!({"kid": 7})), open),
        (
            "critical header",
            header(json!({"crit": ["b64"], "b64": false})),
            open,
        ),
        ("two parts", spoil("two parts"), bad),
        ("four parts", spoil("four parts"), bad),
        ("truncated signature", spoil("truncated"), bad),
        ("without signature", spoil("unsigned"), bad),
        ("padding", spoil("padding"), open),
        ("another alphabet", spoil("alphabet"), bad),
        ("no base64", spoil("no base64"), bad),
        ("header that is no JSON", spoil("header"), bad),
        ("payload that is no JSON", payload("{\"iss\":"), bad),
        ("payload that is a list", payload("[]"), bad),
        ("payload that is a text", payload("\"alice\""), bad),
        ("empty payload", payload(""), bad),
        ("issuer twice", payload(&twice()), open),
        ("nested deeply", payload(&nested(200)), open),
        ("nested very deeply", payload(&nested(3000)), open),
        (
            "long",
            claims(json!({"sub": "alice", "more": "x".repeat(16 << 10)})),
            good,
        ),
        (
            "not of ASCII",
            claims(json!({"sub": "älice", "name": "\u{1F512}"})),
            good,
        ),
    ]
}

fn twice() -> String {
    format!(r#"{{"iss":"https://other.example","iss":"{ISSUER}","sub":"alice","exp":4102444800}}"#)
}

fn nested(depth: usize) -> String {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"iss":"{ISSUER}","sub":"alice","exp":4102444800,"deep":{open}{close}}}"#)
}

/// A RequestAuthentication of the workload.
fn rules(rules: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "tokens"},
        "spec": {"selector": {"matchLabels": {"app": "guarded"}}, "jwtRules": rules},
    })
}

fn policy(rules: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "principals"},
        "spec": {"selector": {"matchLabels": {"app": "guarded"}}, "rules": rules},
    })
}

const ALL_KEYS: &str = "$JWKS(es256 rs256 es384 eddsa)";

/// Every token at every rule.
pub(super) fn cases() -> Vec<Case> {
    let ordinary = json!({"issuer": ISSUER, "jwks": ALL_KEYS});
    let with = |fields: Value| {
        let mut rule = ordinary.clone();
        let more = fields.as_object().cloned().unwrap_or_default();
        rule.as_object_mut().expect("an object").extend(more);
        rule
    };
    let kept = json!({"forwardOriginalToken": true, "outputPayloadToHeader": "x-payload",
        "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}, {"header": "x-aud", "claim": "aud"},
            {"header": "x-exp", "claim": "exp"}]});
    let everybody = policy(&json!([{"from": [{"source": {"requestPrincipals": ["*"]}}]}]));
    let alice = policy(&json!([{"when": [{"key": "request.auth.claims[sub]", "values": ["alice"]}]}]));
    vec![
        case("an ordinary rule", vec![rules(&json!([ordinary]))], true),
        case(
            "with audiences",
            vec![rules(&json!([with(
                json!({"audiences": ["one", "https://two.example"]})
            )]))],
            false,
        ),
        case("claims go on", vec![rules(&json!([with(kept)]))], false),
        case(
            "a token is demanded",
            vec![rules(&json!([ordinary])), everybody],
            false,
        ),
        case(
            "keys without names",
            vec![rules(&json!([with(json!({"jwks": "$JWKS(-es256: -rs256:)"}))]))],
            false,
        ),
        case(
            "keys of other algorithms",
            vec![rules(&json!([with(
                json!({"jwks": "$JWKS(es256:ES384 rs256:RS512 eddsa:ES256 hs256)"})
            )]))],
            false,
        ),
        case(
            "two issuers",
            vec![
                rules(
                    &json!([ordinary, {"issuer": "https://other.example", "jwks": "$JWKS(stranger es256)"}]),
                ),
                alice,
            ],
            false,
        ),
    ]
}

fn case(name: &str, apply: Vec<Value>, ordinary: bool) -> Case {
    let calls = tokens().into_iter().map(|(_, recipe, taken)| {
        let status = taken
            .filter(|_| ordinary)
            .map(|taken| if taken { 200 } else { 401 });
        with_header("authorization", &format!("Bearer $TOKEN({recipe})"), status)
    });
    Case {
        name: format!("tokens, {name}"),
        apply,
        calls: calls.chain(without_token()).collect(),
        ..Case::default()
    }
}

/// What stands where a token should be.
fn without_token() -> impl Iterator<Item = Call> {
    [
        "Bearer",
        "Bearer ",
        "bearer $TOKEN({})",
        "Basic YWxpY2U6c2VjcmV0",
        "Bearer  $TOKEN({})",
        "Bearer $TOKEN({}) ",
        "Bearer a.b.c",
        "Bearer ..",
        "$TOKEN({})",
    ]
    .into_iter()
    .map(|value| with_header("authorization", value, None))
}

fn with_header(name: &str, value: &str, status: Option<u16>) -> Call {
    Call {
        get: Some("http://guarded:9090/path?query=1".to_owned()),
        headers: serde_json::Map::from_iter([(name.to_owned(), value.into())]),
        from: Some("outside".to_owned()),
        expect: Expect {
            status,
            ..Expect::default()
        },
        ..Call::default()
    }
}
