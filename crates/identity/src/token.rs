//! Signed tokens (JWT, ES256) of the embedded cluster's service accounts.
//!
//! Only ES256 with our own key is ever accepted; the token's header has no say in it (RFC 8725).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{CertificateParams, PublicKeyData};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Error, PrivateKey};

/// The SHA-256 digest of a token: what tables know it by, so that they hold no token and every key has one size.
pub fn digest(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Signs and verifies with one key. Holds it, and so has no `Debug`.
pub struct Signer {
    private: PrivateKey,
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
    /// X and Y of the public point, 32 bytes each.
    point: Vec<u8>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a token, or claims that are not an object.
    #[error("malformed token")]
    Malformed,
    /// Signed by another key or algorithm, by none, or altered.
    #[error("invalid signature")]
    Signature,
    /// There is no `exp`, or it is not a number.
    #[error("token has no expiry")]
    NoExpiry,
    /// `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// `nbf` lies in the future.
    #[error("token is not valid yet")]
    NotYetValid,
}

impl Signer {
    /// A new key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, Error> {
        Self::new(PrivateKey::generate()?)
    }

    /// Continues with a stored key.
    ///
    /// # Errors
    /// When it is no ECDSA key on P-256.
    pub fn from_pem(key: &str) -> Result<Self, Error> {
        Self::new(PrivateKey::from_pem(key)?)
    }

    /// The key, for the file that keeps it and nothing else.
    pub fn key_pem(&self) -> String {
        self.private.key_pem()
    }

    /// Names the key in the header of every token.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key as a JSON Web Key Set (RFC 7517), as `/openid/v1/jwks` shows it.
    pub fn key_set(&self) -> Value {
        let (x, y) = self.point.split_at(32);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    /// Signs `claims`, which must contain `exp` if the token is ever to be verified.
    ///
    /// # Errors
    /// When the claims have no JSON form.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(Error::signing)
    }

    /// The claims of a token that this key signed and that is valid at `now`. Audience and issuer are the caller's
    /// to check.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Value, Refused> {
        let mut rules = Validation::new(Algorithm::ES256);
        // The library would read the clock itself; the times are checked below.
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let claims: Value = jsonwebtoken::decode(token, &self.decoding, &rules)
            .map_err(|error| refusal(&error))?
            .claims;
        check_times(&claims, now)?;
        Ok(claims)
    }

    fn new(private: PrivateKey) -> Result<Self, Error> {
        let signing = private.signing()?;
        if signing.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(Error::malformed(
                "token signing key",
                "it is not an ECDSA key on P-256",
            ));
        }
        let key_id = URL_SAFE_NO_PAD.encode(CertificateParams::default().key_identifier(&signing));
        let pkcs8 = crate::pem::encode("PRIVATE KEY", signing.serialized_der());
        let encoding = EncodingKey::from_ec_pem(pkcs8.as_bytes());
        let decoding = DecodingKey::from_ec_pem(signing.public_key_pem().as_bytes());
        Ok(Self {
            private,
            encoding: encoding.map_err(|error| Error::malformed("token signing key", error))?,
            decoding: decoding.map_err(|error| Error::malformed("token signing key", error))?,
            key_id,
            // The first byte says that the point is not compressed.
            point: signing.der_bytes()[1..].to_vec(),
        })
    }
}

fn refusal(error: &jsonwebtoken::errors::Error) -> Refused {
    match error.kind() {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            Refused::Signature
        }
        _ => Refused::Malformed,
    }
}

fn check_times(claims: &Value, now: SystemTime) -> Result<(), Refused> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if !claims.is_object() {
        return Err(Refused::Malformed);
    }
    let expiry = claims
        .get("exp")
        .and_then(Value::as_f64)
        .ok_or(Refused::NoExpiry)?;
    if expiry <= now {
        return Err(Refused::Expired);
    }
    match claims.get("nbf").map(Value::as_f64) {
        None => Ok(()),
        Some(Some(begin)) if begin <= now => Ok(()),
        Some(_) => Err(Refused::NotYetValid),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn parts(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(header), part(claims))
    }

    #[test]
    fn a_token_gives_its_claims_back_until_it_expires() {
        let signer = Signer::generate().unwrap();
        let claims =
            json!({"sub": "system:serviceaccount:shop:cart", "aud": ["istio-ca"], "exp": 200, "nbf": 100});
        let token = signer.sign(&claims).unwrap();
        assert_eq!(signer.verify(&token, at(150)), Ok(claims));
        assert_eq!(signer.verify(&token, at(200)), Err(Refused::Expired));
        assert_eq!(signer.verify(&token, at(99)), Err(Refused::NotYetValid));
    }

    #[test]
    fn a_stored_key_verifies_what_it_signed_before() {
        let signer = Signer::generate().unwrap();
        let token = signer.sign(&json!({"exp": 200})).unwrap();
        let again = Signer::from_pem(&signer.key_pem()).unwrap();
        assert!(again.verify(&token, at(1)).is_ok());
        assert_eq!(again.key_id(), signer.key_id());
    }

    #[test]
    fn the_token_of_another_key_is_refused() {
        let token = Signer::generate().unwrap().sign(&json!({"exp": 200})).unwrap();
        assert_eq!(
            Signer::generate().unwrap().verify(&token, at(1)),
            Err(Refused::Signature)
        );
    }

    #[test]
    fn the_header_cannot_choose_the_algorithm() {
        let signer = Signer::generate().unwrap();
        let claims = json!({"exp": 200});
        let none = format!("{}.", parts(&json!({"alg": "none", "typ": "JWT"}), &claims));
        assert!(signer.verify(&none, at(1)).is_err());
        // The classical confusion: our public key used as the secret of an HMAC.
        let public = signer.private.signing().unwrap().public_key_pem();
        let secret = EncodingKey::from_secret(public.as_bytes());
        let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap();
        assert_eq!(signer.verify(&confused, at(1)), Err(Refused::Signature));
    }

    #[test]
    fn altered_claims_are_refused() {
        let signer = Signer::generate().unwrap();
        let token = signer.sign(&json!({"exp": 200})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let forged = format!(
            "{header}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(r#"{"exp":9999}"#)
        );
        assert_eq!(signer.verify(&forged, at(1)), Err(Refused::Signature));
    }

    #[test]
    fn garbage_and_tokens_without_expiry_are_refused() {
        let signer = Signer::generate().unwrap();
        for token in ["", ".", "..", "a.b.c", "Bearer x"] {
            assert!(signer.verify(token, at(1)).is_err(), "{token:?}");
        }
        let without = signer.sign(&json!({"sub": "x"})).unwrap();
        assert_eq!(signer.verify(&without, at(1)), Err(Refused::NoExpiry));
        let text = signer.sign(&json!({"exp": "200"})).unwrap();
        assert_eq!(signer.verify(&text, at(1)), Err(Refused::NoExpiry));
        let list = signer.sign(&json!([1])).unwrap();
        assert_eq!(signer.verify(&list, at(1)), Err(Refused::Malformed));
    }

    #[test]
    fn the_key_set_verifies_a_token() {
        let signer = Signer::generate().unwrap();
        let token = signer.sign(&json!({"exp": 9_999_999_999_u64})).unwrap();
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(signer.key_set()).unwrap();
        let key = DecodingKey::from_jwk(set.find(signer.key_id()).unwrap()).unwrap();
        assert!(jsonwebtoken::decode::<Value>(&token, &key, &Validation::new(Algorithm::ES256)).is_ok());
    }

    #[test]
    fn a_digest_is_that_of_sha_256() {
        let start = [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea];
        assert_eq!(digest("abc")[..8], start);
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert!(Signer::from_pem(&other.serialize_pem()).is_err());
        assert!(Signer::from_pem("garbage").is_err());
    }
}
