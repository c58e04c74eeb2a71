//! A key set (JWKS): the keys that an issuer signs with. Keys that cannot be used are left out, as Envoy does; a set
//! of which nothing is left is none.

use std::fmt;

use serde_json::{Map, Value};

use super::key::Key;
use super::{Refusal, Token, json};

/// Largest text of a set.
pub const LARGEST_KEY_SET: usize = 1 << 20;

/// Most keys of a set: a token that names none of them is tried with each.
pub const MOST_KEYS: usize = 100;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "\n-----END CERTIFICATE-----\n";

/// Keys of an issuer, ready to verify.
pub struct KeySet {
    keys: Vec<Key>,
    unusable: Vec<&'static str>,
}

/// Why a text is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// More than [`LARGEST_KEY_SET`] bytes.
    #[error("Jwks is larger than 1 MiB")]
    TooLarge,
    /// No JSON object.
    #[error("Jwks is an invalid JSON")]
    Json,
    /// No member `keys`, and no certificates either.
    #[error("Jwks does not have [keys] field")]
    NoKeys,
    /// `keys` is no list.
    #[error("[keys] in Jwks is not an array")]
    NoList,
    /// More than [`MOST_KEYS`].
    #[error("Jwks has more than 100 keys")]
    TooManyKeys,
    /// None of the keys can be used.
    #[error("Jwks doesn't have any valid public key")]
    NoValidKeys,
    /// A certificate cannot be used.
    #[error("{0}")]
    Certificate(&'static str),
}

impl KeySet {
    /// Reads a set: an object with `keys`, or one of certificates by key id.
    ///
    /// # Errors
    /// When it is none, or nothing in it can be used.
    pub fn parse(text: &str) -> Result<Self, KeySetError> {
        if text.len() > LARGEST_KEY_SET {
            return Err(KeySetError::TooLarge);
        }
        let object = json::object(text.as_bytes()).ok_or(KeySetError::Json)?;
        match object.get("keys") {
            Some(Value::Array(keys)) => Self::of_keys(keys),
            Some(_) => Err(KeySetError::NoList),
            None => Self::of_certificates(&object),
        }
    }

    fn of_keys(values: &[Value]) -> Result<Self, KeySetError> {
        if values.len() > MOST_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        for fields in values.iter().filter_map(Value::as_object) {
            match Key::read(fields) {
                Ok(key) => keys.push(key),
                Err(reason) => unusable.push(reason),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoValidKeys);
        }
        Ok(Self { keys, unusable })
    }

    fn of_certificates(object: &Map<String, Value>) -> Result<Self, KeySetError> {
        let is_certificate = |(id, value): (&String, &Value)| {
            let text = value.as_str().unwrap_or_default();
            !id.is_empty() && text.starts_with(BEGIN) && text.ends_with(END)
        };
        if object.is_empty() || !object.iter().all(is_certificate) {
            return Err(KeySetError::NoKeys);
        }
        if object.len() > MOST_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let keys = object
            .iter()
            .map(|(id, pem)| Key::of_certificate(id, pem.as_str().unwrap_or_default()))
            .collect::<Result<_, _>>()
            .map_err(KeySetError::Certificate)?;
        Ok(Self {
            keys,
            unusable: Vec::new(),
        })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set without keys is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why the other keys cannot, one reason for each.
    pub fn unusable(&self) -> &[&'static str] {
        &self.unusable
    }

    /// Whether one of the keys signed the token. Its times, issuer and audience are the caller's to check.
    ///
    /// # Errors
    /// That none did.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let signed = token.signed();
        let mut refusal = Refusal::KeyMismatch;
        for key in &self.keys {
            if !key.may_fit(&token.key_id, token.algorithm) {
                continue;
            }
            match key.verify(token.algorithm, signed.as_bytes(), &token.signature) {
                Ok(()) => return Ok(()),
                Err(Refusal::Ed25519Length) => return Err(Refusal::Ed25519Length),
                Err(other) => refusal = other,
            }
        }
        Err(refusal)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(&self.keys).finish()
    }
}
