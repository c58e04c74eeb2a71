//! Tokens and keys of `testdata/` were made by another implementation (Python's `cryptography`); the private keys are
//! gone. What must be signed in a test is signed with a secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const KEY_SET: &str = include_str!("testdata/key_set.json");
const TOKENS: &str = include_str!("testdata/tokens.json");
const CERTIFICATES: &str = include_str!("testdata/certificates.json");
const SMALL_KEY: &str = include_str!("testdata/small_key.json");
const SECRET: &[u8] = b"a secret of thirty-two bytes....";

type Object = serde_json::Map<String, serde_json::Value>;

fn tokens() -> Vec<(Algorithm, String)> {
    let tokens: Object = serde_json::from_str(TOKENS).unwrap();
    let tokens = tokens.into_iter();
    tokens
        .map(|(name, token)| {
            (
                Algorithm::named(&name).unwrap(),
                token.as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn token_of(algorithm: Algorithm) -> String {
    let all = tokens();
    all.into_iter().find(|(own, _)| *own == algorithm).unwrap().1
}

fn keys() -> Vec<Object> {
    let set: serde_json::Value = serde_json::from_str(KEY_SET).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key.as_object().unwrap().clone()).collect()
}

/// A set of the key of that name, changed.
fn set_with(name: &str, changes: &serde_json::Value) -> Result<KeySet, KeySetError> {
    let mut key = keys().into_iter().find(|key| key["kid"] == name).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        match value.is_null() {
            true => drop(key.remove(field)),
            false => drop(key.insert(field.clone(), value.clone())),
        }
    }
    KeySet::parse(&json!({"keys": [key]}).to_string())
}

fn verify(set: &KeySet, token: &str) -> Result<(), Refusal> {
    set.verify(&Token::parse(token)?)
}

fn unsigned(header: &serde_json::Value, payload: &serde_json::Value) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(payload))
}

/// Signed with the secret, whatever the header says.
fn signed(header: &serde_json::Value, payload: &serde_json::Value) -> String {
    let signed = unsigned(header, payload);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn claims(payload: &serde_json::Value) -> Result<(), Refusal> {
    Token::parse(&signed(&json!({"alg": "HS256"}), payload)).map(drop)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn tokens_of_every_algorithm_are_verified() {
    let set = KeySet::parse(KEY_SET).unwrap();
    assert_eq!(set.len(), 6);
    let all = tokens();
    assert_eq!(all.len(), Algorithm::ALL.len());
    for (algorithm, text) in all {
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.algorithm, algorithm);
        assert_eq!(set.verify(&token), Ok(()), "{algorithm:?}");
        assert_eq!(
            (token.issuer.as_str(), token.subject.as_str()),
            ("https://issuer.example", "alice")
        );
        assert_eq!(
            (token.audiences.as_slice(), token.expiry),
            (["shop".to_owned()].as_slice(), 4_000_000_000)
        );
    }
}

#[test]
fn a_key_without_name_or_algorithm_is_tried_and_another_name_is_not() {
    let token = token_of(Algorithm::Es256);
    for changes in [
        json!({}),
        json!({"kid": null}),
        json!({"alg": "ES256"}),
        json!({"crv": null}),
        json!({"use": "sig"}),
    ] {
        let set = set_with("p256", &changes).unwrap();
        assert_eq!(verify(&set, &token), Ok(()), "{changes}");
    }
    let other = set_with("p256", &json!({"kid": "other"})).unwrap();
    assert_eq!(verify(&other, &token), Err(Refusal::KeyMismatch));
}

#[test]
fn the_header_cannot_choose_how_a_key_is_used() {
    let set = KeySet::parse(KEY_SET).unwrap();
    let payload = json!({"iss": "x"});
    for name in ["none", "None", "nONE", "", "HS1", "ES256K", "rs256"] {
        let token = format!("{}.AAAA", unsigned(&json!({"alg": name}), &payload));
        assert_eq!(verify(&set, &token), Err(Refusal::AlgorithmUnknown), "{name}");
    }
    // The classical confusion: what is public of a key is the secret of an HMAC.
    let public = keys().into_iter().find(|key| key["kid"] == "rsa").unwrap();
    let signed = unsigned(&json!({"alg": "HS256", "kid": "rsa"}), &payload);
    let key = hmac::Key::new(hmac::HMAC_SHA256, public["n"].as_str().unwrap().as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    assert_eq!(
        verify(&set, &format!("{signed}.{signature}")),
        Err(Refusal::Verification)
    );
    // The secret does not sign for a public key either, though its signature is right.
    for algorithm in ["RS256", "ES256", "EdDSA", "HS512"] {
        let token = self::signed(&json!({"alg": algorithm}), &payload);
        assert!(verify(&set, &token).is_err(), "{algorithm}");
    }
    // P-384 does not verify with the hash of P-256.
    let mut token = token_of(Algorithm::Es384);
    token.replace_range(
        ..token.find('.').unwrap(),
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#),
    );
    let curve = set_with("p384", &json!({})).unwrap();
    assert_eq!(verify(&curve, &token), Err(Refusal::Verification));
}

#[test]
fn an_ed25519_signature_has_64_bytes() {
    let set = set_with("ed", &json!({})).unwrap();
    let token = token_of(Algorithm::EdDsa);
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(
        verify(&set, &format!("{signed}.AAAA")),
        Err(Refusal::Ed25519Length)
    );
}

#[test]
fn certificates_by_key_id_are_a_key_set_too() {
    let set = KeySet::parse(CERTIFICATES).unwrap();
    assert_eq!(verify(&set, &token_of(Algorithm::Rs256)), Ok(()));
    assert_eq!(
        verify(&set, &token_of(Algorithm::Es256)),
        Err(Refusal::KeyMismatch)
    );
    let broken = CERTIFICATES.replace("MII", "NII");
    assert!(matches!(
        KeySet::parse(&broken).err(),
        Some(KeySetError::Certificate(_))
    ));
}

#[test]
fn what_is_no_key_set_is_refused_in_envoys_words() {
    let error = |text: &str| KeySet::parse(text).unwrap_err().to_string();
    assert_eq!(error(""), "Jwks is an invalid JSON");
    assert_eq!(error("[]"), "Jwks is an invalid JSON");
    assert_eq!(error("{}"), "Jwks does not have [keys] field");
    assert_eq!(error(r#"{"a": "b"}"#), "Jwks does not have [keys] field");
    assert_eq!(error(r#"{"keys": {}}"#), "[keys] in Jwks is not an array");
    let none = "Jwks doesn't have any valid public key";
    assert_eq!(error(r#"{"keys": []}"#), none);
    assert_eq!(error(r#"{"keys": [7, {"kty": "RSA"}]}"#), none);
    let many = json!({"keys": vec![keys().remove(1); MOST_KEYS + 1]});
    assert_eq!(error(&many.to_string()), "Jwks has more than 100 keys");
    let large = format!("{}{}", " ".repeat(LARGEST_KEY_SET), KEY_SET);
    assert_eq!(error(&large), "Jwks is larger than 1 MiB");
}

/// Keys of that name, with these changes, are left out for that reason; alone, they are no set.
fn left_out(table: &[(&str, serde_json::Value, &str)]) {
    let good = keys().remove(1);
    for (name, changes, reason) in table {
        let alone = set_with(name, changes).err();
        // `RSA-OAEP` begins as `RS` does.
        assert_eq!(alone, Some(KeySetError::NoValidKeys), "{changes}");
        let mut bad = keys().into_iter().find(|key| key["kid"] == *name).unwrap();
        for (field, value) in changes.as_object().unwrap() {
            bad.insert(field.clone(), value.clone());
        }
        bad.retain(|_, value| !value.is_null());
        let set = KeySet::parse(&json!({"keys": [bad, good]}).to_string()).unwrap();
        assert_eq!(
            (set.len(), set.unusable()),
            (1, [*reason].as_slice()),
            "{changes}"
        );
    }
}

#[test]
fn rsa_keys_that_cannot_be_used_are_left_out_with_a_reason() {
    left_out(&[
        ("rsa", json!({"kty": null}), "[kty] is missing in [keys]"),
        ("rsa", json!({"kty": 7}), "[kty] is bad in [keys]"),
        ("rsa", json!({"kty": "DSA"}), "[kty] is not supported in [keys]"),
        ("rsa", json!({"alg": "RSA-OAEP"}), "[alg] is not supported"),
        (
            "rsa",
            json!({"alg": "ES256"}),
            "[alg] is not started with [RS] or [PS] for an RSA key",
        ),
        (
            "rsa",
            json!({"use": "enc"}),
            "[use] is [enc]: the key is for encryption",
        ),
        ("rsa", json!({"n": null}), "[n] field is missing for a RSA key"),
        ("rsa", json!({"e": 7}), "[e] field is not string for a RSA key"),
        (
            "rsa",
            json!({"e": "Ag"}),
            "Jwks RSA [n] or [e] field is missing or has a parse error",
        ),
    ]);
    let small = format!("{{\"keys\": [{SMALL_KEY}]}}");
    assert_eq!(
        KeySet::parse(&small).err(),
        Some(KeySetError::NoValidKeys),
        "1024 bits"
    );
}

#[test]
fn other_keys_that_cannot_be_used_are_left_out_with_a_reason() {
    left_out(&[
        (
            "p256",
            json!({"alg": "RS256"}),
            "[alg] is not started with [ES] for an EC key",
        ),
        (
            "p256",
            json!({"crv": "secp256k1"}),
            "[crv] or [alg] field is not supported for an EC key",
        ),
        (
            "p256",
            json!({"alg": "ES384"}),
            "[crv] field specified is not compatible with [alg] for an EC key",
        ),
        (
            "p256",
            json!({"x": "AA"}),
            "Jwks EC [x] and [y] fields have a parse error.",
        ),
        (
            "p256",
            json!({"y": "+"}),
            "Jwks EC [x] or [y] field is an invalid Base64.",
        ),
        // A point of another curve.
        (
            "p384",
            json!({"crv": "P-256"}),
            "Jwks EC [x] and [y] fields have a parse error.",
        ),
        (
            "ed",
            json!({"crv": "X25519"}),
            "[crv] field is not supported for an OKP key",
        ),
        (
            "ed",
            json!({"crv": null}),
            "[crv] field is missing for an OKP key",
        ),
        ("ed", json!({"x": "AAAA"}), "Jwks OKP [x] field is wrong length."),
        (
            "ed",
            json!({"alg": "ES256"}),
            "[alg] is not [EdDSA] for an OKP key",
        ),
        ("oct", json!({"k": ""}), "Jwks Oct key is an invalid Base64"),
        (
            "oct",
            json!({"alg": "RS256"}),
            "[alg] does not start with [HS] for an HMAC key",
        ),
    ]);
}

#[test]
fn a_secret_is_not_printed() {
    let set = set_with("oct", &json!({})).unwrap();
    let encoded = URL_SAFE_NO_PAD.encode(SECRET);
    let printed = format!("{set:?} {:?}", set_with("oct", &json!({"kty": "RSA"})));
    assert!(printed.contains("oct") && !printed.contains(&encoded) && !printed.contains("secret of"));
}

#[test]
fn a_token_has_three_parts_that_can_be_read() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let table = [
        ("", Refusal::BadFormat),
        ("x", Refusal::BadFormat),
        ("a.b", Refusal::BadFormat),
        ("a.b.", Refusal::BadFormat),
        ("a.b.c.d", Refusal::BadFormat),
        ("%.e30.AAAA", Refusal::HeaderBase64),
        ("e30.e30.AAAA", Refusal::HeaderAlgorithm),
        ("AAAA.e30.AAAA", Refusal::HeaderJson),
        ("eyJhbGciOjd9.e30.AAAA", Refusal::HeaderAlgorithm),
    ];
    for (text, refusal) in table {
        assert_eq!(Token::parse(text).unwrap_err(), refusal, "{text}");
    }
    let named = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":7}"#);
    for (text, refusal) in [
        (format!("{named}.e30.AAAA"), Refusal::HeaderKeyId),
        (format!("{header}.+.AAAA"), Refusal::PayloadBase64),
        (format!("{header}.AAAA.AAAA"), Refusal::PayloadJson),
        (format!("{header}.e30.A"), Refusal::SignatureBase64),
        (
            format!("{header}.e30.{}", "A".repeat(LONGEST_TOKEN)),
            Refusal::BadFormat,
        ),
    ] {
        assert_eq!(Token::parse(&text).unwrap_err(), refusal, "{refusal}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let deep = format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(deep));
    assert_eq!(Token::parse(&deep).unwrap_err(), Refusal::PayloadJson);
}

#[test]
fn the_library_of_envoy_is_as_lenient() {
    let set = KeySet::parse(KEY_SET).unwrap();
    let token = signed(&json!({"alg": "HS256"}), &json!({"iss": "x"}));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for written in [
        format!(".{token}."),
        token.replace('.', ".."),
        format!("{signed}.{signature}="),
        format!("{signed}. {signature}"),
    ] {
        assert_eq!(verify(&set, &written), Ok(()), "{written}");
    }
    assert_eq!(
        verify(&set, &format!("{signed}.{signature}==")),
        Err(Refusal::SignatureBase64)
    );
    // Half of a padding of two.
    assert_eq!((decode("AA="), decode("AA==")), (None, Some(vec![0])));
}

#[test]
fn claims_of_the_wrong_type_are_named() {
    for (payload, refusal) in [
        (json!({"iss": 7}), Refusal::IssuerType),
        (json!({"iss": null}), Refusal::IssuerType),
        (json!({"sub": ["x"]}), Refusal::SubjectType),
        (json!({"iat": "1"}), Refusal::IssuedAtType),
        (json!({"iat": -1}), Refusal::IssuedAtRange),
        (json!({"nbf": true}), Refusal::NotBeforeType),
        (json!({"nbf": -0.5}), Refusal::NotBeforeRange),
        (json!({"exp": "4000000000"}), Refusal::ExpiryType),
        (json!({"exp": 1e30}), Refusal::ExpiryRange),
        (json!({"jti": 1}), Refusal::IdType),
        (json!({"aud": 1}), Refusal::AudienceType),
        (json!({"aud": ["x", 1]}), Refusal::AudienceType),
    ] {
        assert_eq!(claims(&payload), Err(refusal), "{payload}");
    }
    for payload in [
        json!({}),
        json!({"exp": 1.5, "aud": [], "nbf": 0}),
        json!({"aud": "x"}),
    ] {
        assert_eq!(claims(&payload), Ok(()), "{payload}");
    }
}

#[test]
fn times_hold_with_a_minute_of_skew_and_zero_is_no_expiry() {
    let text = signed(&json!({"alg": "HS256"}), &json!({"nbf": 1000, "exp": 2000}));
    let token = Token::parse(&text).unwrap();
    let check = |seconds| token.check_times(at(seconds), CLOCK_SKEW);
    assert_eq!(check(939), Err(Refusal::NotYetValid));
    assert_eq!((check(940), check(2060)), (Ok(()), Ok(())));
    assert_eq!(check(2061), Err(Refusal::Expired));
    assert_eq!(token.check_times(at(2001), Duration::ZERO), Err(Refusal::Expired));
    let text = signed(&json!({"alg": "HS256"}), &json!({"exp": 0}));
    assert_eq!(
        Token::parse(&text).unwrap().check_times(at(9), CLOCK_SKEW),
        Ok(())
    );
}

#[test]
fn claims_are_found_by_their_path() {
    let serde_json::Value::Object(payload) = json!({"a": {"b": {"c": 7}}, "a.b": 1, "d": []}) else {
        panic!("an object")
    };
    assert_eq!(claim(&payload, "a.b.c"), Some(&json!(7)));
    assert_eq!(claim(&payload, "d"), Some(&json!([])));
    for path in ["", "x", "a.x", "d.e", "a..b", "a.b.c.d"] {
        assert_eq!(claim(&payload, path), None, "{path}");
    }
}

proptest! {
    #[test]
    fn whatever_is_changed_in_a_token_it_is_not_believed_any_more(at in 0..13_usize, place in any::<prop::sample::Index>(), byte in 0..64_u8) {
        let set = KeySet::parse(KEY_SET).unwrap();
        let (algorithm, token) = tokens().remove(at);
        let place = place.index(token.len());
        let letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[usize::from(byte)];
        let mut changed = token.clone().into_bytes();
        changed[place] = letter;
        let changed = String::from_utf8(changed).unwrap();
        let verified = verify(&set, &changed);
        // The last letter of a signature has bits that say nothing.
        let says_nothing = place + 1 == token.len() && verified.is_ok();
        prop_assert!(changed == token || says_nothing || verified.is_err(), "{algorithm:?}");
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let _ = Token::parse(&text);
        let _ = KeySet::parse(&text);
        let encoded = URL_SAFE_NO_PAD.encode(bytes);
        let _ = Token::parse(&format!("{encoded}.{encoded}.{encoded}"));
    }

    #[test]
    fn what_is_signed_with_a_secret_is_verified_with_it(issuer in any::<String>(), audiences in any::<Vec<String>>(), expiry in 0..u64::from(u32::MAX)) {
        let set = set_with("oct", &json!({})).unwrap();
        let payload = json!({"iss": issuer, "aud": audiences, "exp": expiry});
        let text = signed(&json!({"alg": "HS256"}), &payload);
        let token = Token::parse(&text).unwrap();
        prop_assert_eq!(set.verify(&token), Ok(()));
        prop_assert_eq!(&token.issuer, &issuer);
        prop_assert_eq!(&token.audiences, &audiences);
        prop_assert_eq!(token.expiry, expiry);
    }
}
