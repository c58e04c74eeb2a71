//! Tokens of requests: which are taken, what the workload gets, and what the client is told. Tokens and keys of
//! `jwt.json` are made by Python's `cryptography`; the private keys are gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use snapshot::{ClaimHeader, Handler, HttpFilter, Jwt, JwtProvider, JwtRequirement, Snapshot, TokenHeader};

use super::world::{Answer, Backend, World, all_to, ok};

const ISSUER: &str = "https://issuer.example";

fn made(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("jwt.json")).unwrap();
    all[name].clone()
}

fn token(name: &str) -> String {
    made("tokens")[name].as_str().unwrap().to_owned()
}

fn provider() -> JwtProvider {
    JwtProvider {
        issuer: ISSUER.into(),
        key_set: made("issuer_keys").as_str().unwrap().to_owned(),
        ..JwtProvider::default()
    }
}

fn other() -> JwtProvider {
    JwtProvider {
        issuer: "https://other.example".into(),
        key_set: made("other_keys").as_str().unwrap().to_owned(),
        ..JwtProvider::default()
    }
}

/// What Istio makes of one rule for each of these.
fn required(providers: &[JwtProvider]) -> Jwt {
    let names = || (0..providers.len()).map(|index| format!("origins-{index}"));
    let good = |name| JwtRequirement::Provider(name);
    let each: Vec<_> = names()
        .map(|name| JwtRequirement::Any {
            of: vec![good(name)],
            or_missing: true,
        })
        .collect();
    let requirement = match each.as_slice() {
        [only] => only.clone(),
        _ => JwtRequirement::Any {
            of: names().map(good).chain([JwtRequirement::All(each)]).collect(),
            or_missing: false,
        },
    };
    Jwt {
        providers: names().zip(providers.iter().cloned()).collect::<BTreeMap<_, _>>(),
        requirement,
        bypass_preflight: true,
    }
}

fn asking(mut snapshot: Snapshot, jwt: Jwt) -> Snapshot {
    let mut listener = (**snapshot.listeners.get("0.0.0.0_80").unwrap()).clone();
    if let Some(Handler::Http(handler)) = listener.default_chain.as_mut().map(|chain| &mut chain.handler) {
        handler.filters.insert(0, HttpFilter::Jwt(Arc::new(jwt)));
    }
    snapshot.listeners.insert(listener);
    snapshot
}

/// A proxy that asks for tokens, and a backend that remembers what it got.
struct Guarded {
    world: World,
    got: Arc<Mutex<Vec<String>>>,
    _backend: Backend,
}

impl Guarded {
    async fn by(providers: &[JwtProvider]) -> Self {
        let got: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = got.clone();
        let backend = Backend::start(move |request| {
            seen.lock().unwrap().push(request.to_owned());
            ok("hi")
        })
        .await;
        let world = World::start(asking(all_to(&[backend.address]), required(providers))).await;
        Self {
            world,
            got,
            _backend: backend,
        }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        self.world.call(&request).await
    }

    async fn with_token(&self, name: &str) -> Answer {
        self.get("/", &bearer(name)).await
    }

    /// The request that the backend got last.
    fn last(&self) -> String {
        self.got.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer {}\r\n", token(name))
}

#[tokio::test]
async fn a_good_token_passes_and_is_taken_away_and_none_passes_too() {
    let guarded = Guarded::by(&[provider()]).await;
    for _ in 0..3 {
        assert_eq!(guarded.with_token("good").await.body, "hi");
        assert!(!guarded.last().contains("authorization"), "{}", guarded.last());
    }
    assert_eq!(guarded.get("/", "").await.status, 200);
    assert_eq!(
        guarded.get("/", "authorization: Basic eDp5\r\n").await.status,
        200
    );
    assert!(
        guarded.last().contains("authorization: Basic eDp5"),
        "it is no token"
    );
}

#[tokio::test]
async fn a_refused_token_is_counted_by_the_provider_that_refused_it() {
    let guarded = Guarded::by(&[other(), provider()]).await;
    for (name, times) in [("expired", 2), ("other_expired", 1), ("good", 1)] {
        for _ in 0..times {
            let refused = guarded.with_token(name).await.status == 401;
            assert_eq!(refused, name != "good", "{name}");
        }
    }
    let counted = async |provider: &str| {
        let provider = format!("policy=\"{provider}\"");
        let labels = ["kind=\"token\"", &provider, "dry_run=\"false\""];
        guarded
            .world
            .metric("amime_authorization_denials_total", &labels)
            .await
    };
    assert_eq!(counted("origins-0").await, Some(1.0));
    assert_eq!(counted("origins-1").await, Some(2.0));
}

#[tokio::test]
async fn a_bad_token_is_refused_in_envoys_words() {
    let guarded = Guarded::by(&[JwtProvider {
        audiences: vec!["http://shop/".into()],
        ..provider()
    }])
    .await;
    for (name, status, body) in [
        ("expired", 401, "Jwt is expired"),
        ("future", 401, "Jwt not yet valid"),
        ("forged", 401, "Jwt verification fails"),
        (
            "unknown_key",
            401,
            "Jwks doesn't have key to match kid or alg from Jwt",
        ),
        ("stranger", 401, "Jwt issuer is not configured"),
        ("elsewhere", 403, "Audiences in Jwt are not allowed"),
        ("none", 401, "Jwt header [alg] is not supported"),
    ] {
        // Twice: a refusal is nothing that is remembered.
        for _ in 0..2 {
            let answer = guarded.get("/a?b=c", &bearer(name)).await;
            assert_eq!((answer.status, answer.body.as_str()), (status, body));
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer realm=\"http://x/a?b=c\", error=\"invalid_token\"")
            );
            assert_eq!(answer.header("content-type"), Some("text/plain"));
        }
    }
    for text in ["garbage", "a.b.c", "e30.e30.e30"] {
        let answer = guarded
            .get("/", &format!("authorization: Bearer {text}\r\n"))
            .await;
        assert_eq!(answer.status, 401, "{text}");
    }
    assert_eq!(guarded.last(), "", "nothing reached the workload");
    assert_eq!(guarded.with_token("good").await.status, 200);
}

#[tokio::test]
async fn grpc_callers_are_told_in_their_form() {
    let guarded = Guarded::by(&[provider()]).await;
    let headers = format!("{}content-type: application/grpc\r\n", bearer("expired"));
    let answer = guarded.get("/", &headers).await;
    assert_eq!(
        (
            answer.status,
            answer.header("grpc-status"),
            answer.header("grpc-message")
        ),
        (200, Some("16"), Some("Jwt is expired"))
    );
    assert!(answer.header("www-authenticate").is_some());
}

#[tokio::test]
async fn tokens_are_found_wherever_the_provider_says_and_nowhere_else() {
    let header = |name: &str, prefix: &str| TokenHeader {
        name: name.into(),
        prefix: prefix.into(),
    };
    let guarded = Guarded::by(&[JwtProvider {
        from_headers: vec![header("x-token", ""), header("x-other", "Token ")],
        from_parameters: vec!["t".into()],
        from_cookies: vec!["session".into()],
        forward: true,
        payload_header: "x-payload".into(),
        ..provider()
    }])
    .await;
    let good = token("good");
    for (path, headers) in [
        ("/".to_owned(), format!("x-token: {good}\r\n")),
        ("/".to_owned(), format!("x-other: Token {good}\r\n")),
        (format!("/?a=b&t={good}"), String::new()),
        (
            "/".to_owned(),
            format!("cookie: a=b; session=\"{good}\"; c=d\r\n"),
        ),
    ] {
        assert_eq!(guarded.get(&path, &headers).await.status, 200);
        let last = guarded.last();
        assert!(
            last.contains("x-payload: ") && last.contains(&good),
            "found and forwarded: {last}"
        );
    }
    guarded.get("/?access_token=x", &bearer("expired")).await;
    assert!(
        !guarded.last().contains("x-payload"),
        "the usual places are none here"
    );
    for (path, headers) in [
        ("/", "x-token: x\r\n".to_owned()),
        ("/?t=x", String::new()),
        ("/", "cookie: session=x\r\n".to_owned()),
        // One good token does not make up for a bad one.
        ("/?t=x", format!("x-token: {good}\r\n")),
    ] {
        assert_eq!(guarded.get(path, &headers).await.status, 401, "{path} {headers}");
    }
}

#[tokio::test]
async fn several_authorizations_are_one_as_in_envoy() {
    let guarded = Guarded::by(&[provider()]).await;
    let twice = format!("{0}{0}", bearer("good"));
    assert_eq!(guarded.get("/", &twice).await.status, 401);
    let behind_another = format!("authorization: Basic eDp5\r\n{}", bearer("good"));
    assert_eq!(guarded.get("/", &behind_another).await.status, 200);
    assert!(!guarded.last().contains("authorization"), "{}", guarded.last());
}

#[tokio::test]
async fn a_token_in_the_query_is_taken_away_and_the_rest_stays_as_it_was() {
    let guarded = Guarded::by(&[provider()]).await;
    let path = format!("/a%20b?z=%26&access_token={}&y", token("good"));
    assert_eq!(guarded.get(&path, "").await.status, 200);
    let last = guarded.last();
    assert!(last.starts_with("GET /a%20b?z=%26&y HTTP/1.1"), "{last}");
    let path = format!("/?access_token={}", token("expired"));
    let refused = guarded.get(&path, "").await;
    let realm = refused.header("www-authenticate").unwrap();
    assert!(
        realm.len() < 320,
        "of a long path only the beginning is repeated: {realm}"
    );
}

#[tokio::test]
async fn claims_become_headers_that_no_client_can_forge() {
    let output = |header: &str, claim: &str| ClaimHeader {
        header: header.into(),
        claim: claim.into(),
    };
    let guarded = Guarded::by(&[JwtProvider {
        payload_header: "x-payload".into(),
        claim_headers: vec![
            output("x-sub", "sub"),
            output("x-level", "realm.level"),
            output("x-vip", "vip"),
            output("x-ratio", "ratio"),
            output("x-roles", "realm.roles"),
            output("x-none", "missing"),
        ],
        ..provider()
    }])
    .await;
    let forged = "x-sub: admin\r\nX-Payload: e30\r\nx-none: me\r\n";
    let headers = format!("{forged}{}", bearer("good"));
    assert_eq!(guarded.get("/", &headers).await.status, 200);
    let last = guarded.last().to_ascii_lowercase();
    for line in [
        "x-sub: alice",
        "x-level: 7",
        "x-vip: true",
        "x-ratio: 1.500000",
        "x-roles: wyjhzg1pbiisinvzzxiixq==",
    ] {
        assert!(last.contains(&format!("\r\n{line}\r\n")), "{line}: {last}");
    }
    let payload = token("good").split('.').nth(1).unwrap().to_ascii_lowercase();
    assert!(last.contains(&format!("x-payload: {payload}\r\n")), "{last}");
    assert!(
        !last.contains("admin\r\n") && !last.contains("e30") && !last.contains("x-none"),
        "{last}"
    );
    // Without a token, and for a browser's preflight, the client's own go all the same.
    guarded.get("/", forged).await;
    let preflight = format!(
        "OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: y\r\naccess-control-request-method: GET\r\n{forged}\r\n"
    );
    assert!(!guarded.last().contains("x-sub"), "{}", guarded.last());
    guarded.world.call(&preflight).await;
    assert!(!guarded.last().contains("x-sub"), "{}", guarded.last());
    // A claim cannot end its header.
    guarded.with_token("splitting").await;
    let last = guarded.last();
    assert!(
        last.contains("x-level: 7") && !last.contains("set-cookie"),
        "{last}"
    );
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_another_options_request_does() {
    let guarded = Guarded::by(&[provider()]).await;
    let options = |more: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nhost: x\r\n{}origin: https://a.example\r\n{more}\r\n",
            bearer("expired")
        )
    };
    let preflight = options("access-control-request-method: GET\r\n");
    assert_eq!(guarded.world.call(&preflight).await.status, 200);
    assert_eq!(guarded.world.call(&options("")).await.status, 401);
}

#[tokio::test]
async fn of_two_issuers_either_will_do_where_they_share_a_place() {
    let guarded = Guarded::by(&[provider(), other()]).await;
    for name in ["good", "other"] {
        assert_eq!(guarded.with_token(name).await.status, 200, "{name}");
    }
    assert_eq!(guarded.get("/", "").await.status, 200);
    for (name, body) in [
        ("stranger", "Jwt issuer is not configured"),
        ("expired", "Jwt is expired"),
        ("other_expired", "Jwt is expired"),
        ("forged", "Jwt verification fails"),
    ] {
        let answer = guarded.with_token(name).await;
        assert_eq!((answer.status, answer.body.as_str()), (401, body), "{name}");
    }
}

#[tokio::test]
async fn of_two_issuers_each_may_have_its_token_in_a_place_that_they_share() {
    let own = |header: &str| ClaimHeader {
        header: header.into(),
        claim: "sub".into(),
    };
    let first = JwtProvider {
        claim_headers: vec![own("x-first")],
        ..provider()
    };
    let second = JwtProvider {
        claim_headers: vec![own("x-second")],
        ..other()
    };
    let guarded = Guarded::by(&[first, second]).await;
    // The first takes exception to the second's token, which is taken away as good; then it sees its own alone.
    let path = format!("/?access_token={}", token("other"));
    assert_eq!(guarded.get(&path, &bearer("good")).await.status, 200);
    let last = guarded.last();
    assert!(
        last.starts_with("GET / HTTP/1.1") && !last.contains("authorization"),
        "{last}"
    );
    assert!(
        last.contains("x-first: alice") && !last.contains("x-second"),
        "{last}"
    );
    let path = format!("/?access_token={}", token("other_expired"));
    assert_eq!(guarded.get(&path, &bearer("good")).await.status, 401);
}

#[tokio::test]
async fn of_two_issuers_with_places_of_their_own_one_good_token_is_enough() {
    let own_place = JwtProvider {
        from_headers: vec![TokenHeader {
            name: "x-other".into(),
            prefix: String::new(),
        }],
        ..other()
    };
    let guarded = Guarded::by(&[provider(), own_place]).await;
    let both = |one: &str, two: &str| format!("{}x-other: {}\r\n", bearer(one), token(two));
    assert_eq!(guarded.get("/", &both("good", "other")).await.status, 200);
    // As Istio's requirement has it.
    assert_eq!(guarded.get("/", &both("good", "other_expired")).await.status, 200);
    assert_eq!(guarded.get("/", &both("expired", "other")).await.status, 200);
    assert_eq!(
        guarded.get("/", &both("expired", "other_expired")).await.status,
        401
    );
    let only = format!("x-other: {}\r\n", token("other_expired"));
    assert_eq!(guarded.get("/", &only).await.body, "Jwt is expired");
}

#[tokio::test]
async fn keys_that_cannot_be_used_refuse_every_token_and_nothing_else() {
    let guarded = Guarded::by(&[JwtProvider {
        key_set: "{}".into(),
        ..provider()
    }])
    .await;
    let answer = guarded.with_token("good").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (401, "Jwks doesn't have any valid public key")
    );
    assert_eq!(guarded.get("/", "").await.status, 200);
}

#[tokio::test]
async fn a_request_that_no_route_takes_is_asked_for_its_token_first() {
    let backend = Backend::saying("hi").await;
    let mut snapshot = all_to(&[backend.address]);
    let mut table = (**snapshot.routes.get("80").unwrap()).clone();
    table.hosts.clear();
    snapshot.routes.insert(table);
    let world = World::start(asking(snapshot, required(&[provider()]))).await;
    let request = |headers: &str| format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    assert_eq!(world.call(&request(&bearer("expired"))).await.status, 401);
    assert_eq!(world.call(&request("")).await.status, 404);
}
