//! Tokens and key sets that the table asks for: `$TOKEN({...})` in a call, `$JWKS(NAMES)` in an object.
//!
//! Keys are made anew for each run and are the same in all worlds of it. A recipe names what is out of the ordinary:
//! `{"key": "es256", "header": {...}, "claims": {"sub": "bob", "exp": "now-90"}, "spoil": "signature"}`; a `null` takes a
//! field away, and `now`, `now+90`, `now-90` are seconds of the epoch.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Who issues the tokens, unless a recipe says otherwise.
pub(crate) const ISSUER: &str = "https://issuer.example";

/// What a token is to be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Recipe {
    key: String,
    /// Overrides those of an ordinary token.
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// In the place of the claims, as it stands here.
    payload: Option<String>,
    spoil: String,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            key: "es256".to_owned(),
            header: Map::new(),
            claims: Map::new(),
            payload: None,
            spoil: String::new(),
        }
    }
}

struct Key {
    algorithm: Algorithm,
    sign: EncodingKey,
    public: Value,
}

impl Key {
    fn new(algorithm: Algorithm, sign: EncodingKey) -> Self {
        let public = json!(Jwk::from_encoding_key(&sign, algorithm).unwrap());
        Self {
            algorithm,
            sign,
            public,
        }
    }
}

/// `stranger` is in no set that the table asks for.
fn keys() -> &'static BTreeMap<&'static str, Key> {
    static KEYS: OnceLock<BTreeMap<&'static str, Key>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let elliptic = |kind, algorithm| {
            let pem = KeyPair::generate_for(kind).unwrap().serialize_pem();
            Key::new(algorithm, EncodingKey::from_ec_pem(pem.as_bytes()).unwrap())
        };
        let rsa = |size| {
            let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap();
            let sign = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
            Key::new(Algorithm::RS256, sign)
        };
        let secret = EncodingKey::from_secret(b"a secret of at least two hundred and fifty-six bits");
        BTreeMap::from([
            ("rs256", rsa(RsaKeySize::_2048)),
            ("rsa3072", rsa(RsaKeySize::_3072)),
            ("es256", elliptic(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256)),
            ("es384", elliptic(&PKCS_ECDSA_P384_SHA384, Algorithm::ES384)),
            ("stranger", elliptic(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256)),
            ("eddsa", edwards()),
            ("hs256", Key::new(Algorithm::HS256, secret)),
        ])
    })
}

fn edwards() -> Key {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let public = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    Key {
        algorithm: Algorithm::EdDSA,
        sign: EncodingKey::from_ed_der(pair.serialized_der()),
        public: json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": public}),
    }
}

/// With every `$TOKEN(...)` in the place of its token.
pub(crate) fn with_tokens(text: &str) -> String {
    replaced(text, "$TOKEN(", |rest| {
        let mut recipes = serde_json::Deserializer::from_str(rest).into_iter::<Recipe>();
        let recipe = recipes
            .next()
            .unwrap_or_else(|| panic!("$TOKEN( without a recipe: {text}"))
            .unwrap_or_else(|error| panic!("{error} in {text}"));
        (mint(&recipe), recipes.byte_offset())
    })
}

/// With every `$JWKS(es256 rs256 …)` in the place of that key set as a text; `es256:ES384` states another algorithm,
/// `es256:` none, and `-es256` leaves the key's name out.
pub(crate) fn with_key_sets(text: &str) -> String {
    replaced(text, "$JWKS(", |rest| {
        let end = rest
            .find(')')
            .unwrap_or_else(|| panic!("$JWKS( without an end: {text}"));
        (key_set(&rest[..end]), end)
    })
}

/// `make` gives what stands for a call, and where the closing parenthesis is.
fn replaced(text: &str, opening: &str, make: impl Fn(&str) -> (String, usize)) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(opening) {
        let (made, end) = make(after);
        done.push_str(before);
        done.push_str(&made);
        rest = after[end..]
            .trim_start()
            .strip_prefix(')')
            .unwrap_or_else(|| panic!("{opening} without an end: {text}"));
    }
    done + rest
}

fn key_set(names: &str) -> String {
    let keys: Vec<Value> = names.split_whitespace().map(public).collect();
    json!({ "keys": keys }).to_string()
}

fn public(name: &str) -> Value {
    let (name, algorithm) = name
        .split_once(':')
        .map_or((name, None), |(name, stated)| (name, Some(stated)));
    let named = name.strip_prefix('-');
    let name = named.unwrap_or(name);
    let mut public = keys()[name].public.clone();
    if named.is_none() {
        public["kid"] = name.into();
    }
    match algorithm {
        Some("") => drop(public.as_object_mut().unwrap().remove("alg")),
        Some(algorithm) => public["alg"] = algorithm.into(),
        None => {}
    }
    public
}

/// A token as its recipe wants it; `key` names the signer.
pub(crate) fn of(recipe: &Value) -> String {
    mint(&serde_json::from_value(recipe.clone()).unwrap())
}

fn mint(recipe: &Recipe) -> String {
    let key = &keys()[recipe.key.as_str()];
    let mut header = json!({"alg": key.algorithm, "typ": "JWT", "kid": recipe.key});
    merge(&mut header, &recipe.header);
    let now = now();
    let mut claims = json!({"iss": ISSUER, "sub": "alice", "iat": now, "exp": now + 3600});
    merge(&mut claims, &recipe.claims);
    for name in ["iat", "exp", "nbf"] {
        if let Some(moment) = claims[name].as_str().and_then(|text| relative(text, now)) {
            claims[name] = json!(moment);
        }
    }
    let payload = recipe.payload.clone().unwrap_or_else(|| claims.to_string());
    let head = match recipe.spoil.as_str() {
        "header" => "{\"alg\":".to_owned(),
        _ => header.to_string(),
    };
    let signed = format!("{}.{}", encoded(&head), encoded(&payload));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key.sign, key.algorithm).unwrap();
    spoiled(&recipe.spoil, &signed, &signature)
}

/// What goes wrong after signing.
fn spoiled(how: &str, signed: &str, signature: &str) -> String {
    match how {
        "" | "header" => format!("{signed}.{signature}"),
        "signature" => {
            let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
            bytes[7] ^= 1;
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
        }
        "unsigned" => format!("{signed}."),
        "two parts" => signed.to_owned(),
        "four parts" => format!("{signed}.{signature}.{signature}"),
        "truncated" => format!("{signed}.{}", &signature[..signature.len() / 2]),
        "padding" => format!("{signed}.{signature}=="),
        "alphabet" => format!("{signed}.+{}", &signature[1..]),
        "no base64" => format!("{signed}.*{}", &signature[1..]),
        "claims" => {
            let (head, payload) = signed.split_once('.').unwrap();
            let text = URL_SAFE_NO_PAD.decode(payload).unwrap();
            let other = String::from_utf8(text).unwrap().replacen("alice", "admin", 1);
            format!("{head}.{}.{signature}", encoded(&other))
        }
        "standard base64" => {
            let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
            format!("{signed}.{}", STANDARD.encode(bytes))
        }
        other => panic!("spoil: {other}: not known"),
    }
}

fn merge(object: &mut Value, overrides: &Map<String, Value>) {
    let fields = object.as_object_mut().unwrap();
    for (name, value) in overrides {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
}

fn relative(text: &str, now: i64) -> Option<i64> {
    let rest = text.strip_prefix("now")?;
    if rest.is_empty() {
        return Some(now);
    }
    Some(now + rest.parse::<i64>().ok()?)
}

fn encoded(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn a_recipe_states_what_is_out_of_the_ordinary() {
    let parts = |token: &str| -> Vec<Value> {
        let decoded = token
            .split('.')
            .take(2)
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        decoded
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
            .collect()
    };
    let text = with_tokens(
        r#"Bearer $TOKEN({"key": "eddsa", "claims": {"sub": null, "exp": "now-90"}}), $TOKEN({})"#,
    );
    let (first, second) = text.strip_prefix("Bearer ").unwrap().split_once(", ").unwrap();
    let [head, claims] = &parts(first)[..] else {
        panic!("two parts")
    };
    assert_eq!(head, &json!({"alg": "EdDSA", "typ": "JWT", "kid": "eddsa"}));
    assert_eq!(claims.get("sub"), None);
    assert!(claims["exp"].as_i64().unwrap() < now());
    assert_eq!(parts(second)[1]["sub"], "alice");
    let set = with_key_sets("$JWKS(rs256 -es256: eddsa)");
    let set: Value = serde_json::from_str(&set).unwrap();
    assert_eq!(set["keys"][0]["kid"], "rs256");
    assert_eq!(
        (set["keys"][1].get("kid"), set["keys"][1].get("alg")),
        (None, None)
    );
    assert_eq!(set["keys"][2]["crv"], "Ed25519");
}

#[test]
fn every_key_verifies_what_it_signed_and_nothing_that_was_spoiled() {
    for (name, key) in keys() {
        let public: Jwk = serde_json::from_value(key.public.clone()).unwrap();
        let verify = jsonwebtoken::DecodingKey::from_jwk(&public).unwrap();
        let good = |recipe: Value| {
            let token = of(&recipe);
            let (signed, signature) = token.rsplit_once('.').unwrap();
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &verify, key.algorithm)
                .unwrap_or(false)
        };
        assert!(good(json!({"key": name})), "{name}");
        for spoil in ["signature", "claims", "unsigned", "truncated"] {
            assert!(!good(json!({"key": name, "spoil": spoil})), "{name} {spoil}");
        }
    }
}
