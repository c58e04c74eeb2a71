//! A token in its parts. Order of checks and leniency are Envoy's: the first thing that is wrong is the one told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{Algorithm, Refusal, decode, json};

/// How much clocks may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Longest token that is looked at; heads of requests end before that.
pub const LONGEST_TOKEN: usize = 64 << 10;

/// A token in its parts; to be believed only once a key set has verified it.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    /// What the header says it was signed with.
    pub algorithm: Algorithm,
    /// Which key of the issuer; empty for any.
    pub key_id: String,
    /// `iss`; empty if there is none.
    pub issuer: String,
    /// `sub`; empty if there is none.
    pub subject: String,
    /// `aud`.
    pub audiences: Vec<String>,
    /// `nbf` in seconds; 0 for always.
    pub not_before: u64,
    /// `exp` in seconds; 0 for never.
    pub expiry: u64,
    /// Everything that it claims.
    pub payload: Map<String, Value>,
    /// The payload as it was sent, in base64url.
    pub payload_text: &'t str,
    header_text: &'t str,
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'t str) -> Result<Self, Refusal> {
        if text.len() > LONGEST_TOKEN {
            return Err(Refusal::BadFormat);
        }
        // As for Envoy, empty parts are none.
        let mut parts = text.split('.').filter(|part| !part.is_empty());
        let (Some(header_text), Some(payload_text), Some(signature_text), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::BadFormat);
        };
        let (algorithm, key_id) = read_header(header_text)?;
        let payload = decode(payload_text).ok_or(Refusal::PayloadBase64)?;
        let payload = json::object(&payload).ok_or(Refusal::PayloadJson)?;
        let issuer = text_of(&payload, "iss", Refusal::IssuerType)?;
        let subject = text_of(&payload, "sub", Refusal::SubjectType)?;
        seconds(&payload, "iat", Refusal::IssuedAtType, Refusal::IssuedAtRange)?;
        let not_before = seconds(&payload, "nbf", Refusal::NotBeforeType, Refusal::NotBeforeRange)?;
        let expiry = seconds(&payload, "exp", Refusal::ExpiryType, Refusal::ExpiryRange)?;
        text_of(&payload, "jti", Refusal::IdType)?;
        let audiences = audiences(&payload)?;
        Ok(Self {
            algorithm,
            key_id,
            issuer,
            subject,
            audiences,
            not_before,
            expiry,
            payload,
            payload_text,
            header_text,
            signature: decode(signature_text).ok_or(Refusal::SignatureBase64)?,
        })
    }

    /// Whether it is valid at `now`, with clocks that differ by `skew` at most.
    ///
    /// # Errors
    /// That it is not yet, or not any more.
    pub fn check_times(&self, now: SystemTime, skew: Duration) -> Result<(), Refusal> {
        check_times((self.not_before, self.expiry), now, skew)
    }

    /// What the signature is for.
    pub(super) fn signed(&self) -> String {
        format!("{}.{}", self.header_text, self.payload_text)
    }
}

/// Whether a token with these times, [`Token::not_before`] and [`Token::expiry`], is valid at `now`.
///
/// # Errors
/// As [`Token::check_times`].
pub fn check_times((begin, end): (u64, u64), now: SystemTime, skew: Duration) -> Result<(), Refusal> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let skew = skew.as_secs();
    if now.saturating_add(skew) < begin {
        return Err(Refusal::NotYetValid);
    }
    if end != 0 && now > end.saturating_add(skew) {
        return Err(Refusal::Expired);
    }
    Ok(())
}

/// Algorithm and name of the key.
fn read_header(text: &str) -> Result<(Algorithm, String), Refusal> {
    let header = decode(text).ok_or(Refusal::HeaderBase64)?;
    let header = json::object(&header).ok_or(Refusal::HeaderJson)?;
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(Refusal::HeaderAlgorithm);
    };
    let algorithm = Algorithm::named(algorithm).ok_or(Refusal::AlgorithmUnknown)?;
    Ok((algorithm, text_of(&header, "kid", Refusal::HeaderKeyId)?))
}

/// A claim that is text or not there.
fn text_of(object: &Map<String, Value>, name: &str, refusal: Refusal) -> Result<String, Refusal> {
    match object.get(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(refusal),
    }
}

/// A claim that is a number of seconds or not there.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "in range by then, and protobuf's numbers are all double"
)]
fn seconds(
    object: &Map<String, Value>,
    name: &str,
    no_number: Refusal,
    range: Refusal,
) -> Result<u64, Refusal> {
    let Some(value) = object.get(name) else {
        return Ok(0);
    };
    let number = value.as_f64().ok_or(no_number)?;
    if number < 0.0 || number >= u64::MAX as f64 {
        return Err(range);
    }
    Ok(number as u64)
}

fn audiences(payload: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    match payload.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(several)) => several
            .iter()
            .map(|audience| audience.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(Refusal::AudienceType),
        Some(_) => Err(Refusal::AudienceType),
    }
}

/// A claim by its path: names joined by dots lead into objects.
pub fn claim<'p>(payload: &'p Map<String, Value>, path: &str) -> Option<&'p Value> {
    let mut names = path.split('.');
    let first = payload.get(names.next()?)?;
    names.try_fold(first, |value, name| value.as_object()?.get(name))
}
