//! One key of a set, ready to verify. Knows which algorithms fit it: the header of a token has no say in that.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use serde_json::{Map, Value};

use super::{Algorithm, Refusal, decode};

const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
];

const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
const BAD_RSA: &str = "Jwks RSA [n] or [e] field is missing or has a parse error";
const BAD_POINT: &str = "Jwks EC [x] and [y] fields have a parse error.";
const ED25519_BYTES: usize = 32;
const ED25519_SIGNATURE: usize = 64;

/// A key that signatures are verified with. Of symmetric keys it is the secret itself: nothing of it is printed.
pub(super) struct Key {
    /// Empty fits every token.
    id: String,
    /// What the set says that it is for.
    algorithm: Option<Algorithm>,
    verifiers: Verifiers,
}

/// What fits the type of the key.
enum Verifiers {
    Public(Vec<(Algorithm, ParsedPublicKey)>),
    Secret(Box<[(Algorithm, hmac::Key); 3]>),
}

/// Why a key of a set is left out, in Envoy's words.
pub(super) type Unusable = &'static str;

impl Key {
    /// Reads one key of a set.
    pub(super) fn read(fields: &Map<String, Value>) -> Result<Self, Unusable> {
        let kind = match fields.get("kty") {
            None => return Err("[kty] is missing in [keys]"),
            Some(Value::String(kind)) => kind.as_str(),
            Some(_) => return Err("[kty] is bad in [keys]"),
        };
        if text(fields, "use") == "enc" {
            return Err("[use] is [enc]: the key is for encryption");
        }
        let name = text(fields, "alg");
        let verifiers = match kind {
            "RSA" => rsa(fields, name)?,
            "EC" => elliptic(fields, name)?,
            "OKP" => octet_pair(fields, name)?,
            "oct" => symmetric(fields, name)?,
            _ => return Err("[kty] is not supported in [keys]"),
        };
        // What does not fit the type was refused there; what nobody knows fits no token.
        let algorithm = Algorithm::named(name);
        if !name.is_empty() && algorithm.is_none() {
            return Err("[alg] is not supported");
        }
        Ok(Self {
            id: text(fields, "kid").to_owned(),
            algorithm,
            verifiers,
        })
    }

    /// The RSA key of a certificate.
    pub(super) fn of_certificate(id: &str, pem: &str) -> Result<Self, Unusable> {
        let chain = crate::pem::decode_chain(pem).map_err(|_| "X509 parse pubkey fails")?;
        let first = chain.first().ok_or("X509 parse pubkey fails")?;
        let (_, certificate) =
            x509_parser::parse_x509_certificate(first).map_err(|_| "X509 parse pubkey fails")?;
        let Ok(x509_parser::public_key::PublicKey::RSA(public)) = certificate.public_key().parsed() else {
            return Err("X509 parse pubkey internal fails: get pubkey");
        };
        Ok(Self {
            id: id.to_owned(),
            algorithm: None,
            verifiers: rsa_of(public.modulus, public.exponent, "")?,
        })
    }

    /// Whether a token that names that key and algorithm may be signed with this one.
    pub(super) fn may_fit(&self, id: &str, algorithm: Algorithm) -> bool {
        let same_id = id.is_empty() || self.id.is_empty() || self.id == id;
        same_id && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Whether the signature is this key's.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let good = match &self.verifiers {
            Verifiers::Public(verifiers) => {
                let own = verifiers.iter().find(|(own, _)| *own == algorithm);
                if algorithm == Algorithm::EdDsa && own.is_some() && signature.len() != ED25519_SIGNATURE {
                    return Err(Refusal::Ed25519Length);
                }
                own.is_some_and(|(_, key)| key.verify_sig(signed, signature).is_ok())
            }
            Verifiers::Secret(verifiers) => {
                let own = verifiers.iter().find(|(own, _)| *own == algorithm);
                own.is_some_and(|(_, key)| hmac::verify(key, signed, signature).is_ok())
            }
        };
        if good { Ok(()) } else { Err(Refusal::Verification) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A text, or nothing.
fn text<'f>(fields: &'f Map<String, Value>, name: &str) -> &'f str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A text that must be there.
fn required<'f>(
    fields: &'f Map<String, Value>,
    name: &str,
    (missing, bad): (Unusable, Unusable),
) -> Result<&'f str, Unusable> {
    match fields.get(name) {
        None => Err(missing),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(bad),
    }
}

fn rsa(fields: &Map<String, Value>, algorithm: &str) -> Result<Verifiers, Unusable> {
    if !algorithm.is_empty() && !algorithm.starts_with("RS") && !algorithm.starts_with("PS") {
        return Err("[alg] is not started with [RS] or [PS] for an RSA key");
    }
    let n = required(
        fields,
        "n",
        (
            "[n] field is missing for a RSA key",
            "[n] field is not string for a RSA key",
        ),
    )?;
    let e = required(
        fields,
        "e",
        (
            "[e] field is missing for a RSA key",
            "[e] field is not string for a RSA key",
        ),
    )?;
    let (Some(n), Some(e)) = (decode(n), decode(e)) else {
        return Err(BAD_RSA);
    };
    rsa_of(&n, &e, algorithm)
}

fn rsa_of(modulus: &[u8], exponent: &[u8], algorithm: &str) -> Result<Verifiers, Unusable> {
    let components = RsaPublicKeyComponents {
        n: without_zeros(modulus),
        e: without_zeros(exponent),
    };
    let common = matches!(components.e, [3] | [1, 0, 1]);
    if !common || !RSA_BYTES.contains(&components.n.len()) {
        return Err(BAD_RSA);
    }
    let fitting = RSA
        .iter()
        .filter(|(own, _)| algorithm.is_empty() || own.as_str() == algorithm);
    fitting
        .map(|&(own, parameters)| {
            let key = components.to_parsed_public_key(parameters).map_err(|_| BAD_RSA)?;
            Ok((own, key))
        })
        .collect::<Result<_, _>>()
        .map(Verifiers::Public)
}

fn elliptic(fields: &Map<String, Value>, algorithm: &str) -> Result<Verifiers, Unusable> {
    if !algorithm.is_empty() && !algorithm.starts_with("ES") {
        return Err("[alg] is not started with [ES] for an EC key");
    }
    let curve = match fields.get("crv") {
        None => "",
        Some(Value::String(curve)) => curve,
        Some(_) => return Err("[crv] field is not string for an EC key"),
    };
    let own = match (algorithm, curve) {
        ("", "" | "P-256") | ("ES256", "" | "P-256") => Algorithm::Es256,
        ("", "P-384") | ("ES384", "" | "P-384") => Algorithm::Es384,
        ("", "P-521") | ("ES512", "" | "P-521") => Algorithm::Es512,
        ("", _) | (_, "") => return Err("[crv] or [alg] field is not supported for an EC key"),
        _ => return Err("[crv] field specified is not compatible with [alg] for an EC key"),
    };
    let x = required(
        fields,
        "x",
        (
            "[x] field is missing for an EC key",
            "[x] field is not string for an EC key",
        ),
    )?;
    let y = required(
        fields,
        "y",
        (
            "[y] field is missing for an EC key",
            "[y] field is not string for an EC key",
        ),
    )?;
    let (Some(x), Some(y)) = (decode(x), decode(y)) else {
        return Err("Jwks EC [x] or [y] field is an invalid Base64.");
    };
    let (size, parameters) = match own {
        Algorithm::Es384 => (48, &signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::Es512 => (66, &signature::ECDSA_P521_SHA512_FIXED),
        _ => (32, &signature::ECDSA_P256_SHA256_FIXED),
    };
    // The form of a point that is not compressed (SEC 1, 2.3.3).
    let mut point = vec![4];
    for coordinate in [&x, &y] {
        let digits = without_zeros(coordinate);
        let zeros = usize::checked_sub(size, digits.len()).ok_or(BAD_POINT)?;
        point.resize(point.len() + zeros, 0);
        point.extend_from_slice(digits);
    }
    let key = ParsedPublicKey::new(parameters, point).map_err(|_| BAD_POINT)?;
    Ok(Verifiers::Public(vec![(own, key)]))
}

fn octet_pair(fields: &Map<String, Value>, algorithm: &str) -> Result<Verifiers, Unusable> {
    if !algorithm.is_empty() && algorithm != Algorithm::EdDsa.as_str() {
        return Err("[alg] is not [EdDSA] for an OKP key");
    }
    let curve = required(
        fields,
        "crv",
        (
            "[crv] field is missing for an OKP key",
            "[crv] field is not string for an OKP key",
        ),
    )?;
    if curve != "Ed25519" {
        return Err("[crv] field is not supported for an OKP key");
    }
    let x = required(
        fields,
        "x",
        (
            "[x] field is missing for an OKP key",
            "[x] field is not string for an OKP key",
        ),
    )?;
    let x = decode(x).ok_or("Jwks OKP [x] field is an invalid Base64.")?;
    if x.len() != ED25519_BYTES {
        return Err("Jwks OKP [x] field is wrong length.");
    }
    let key = ParsedPublicKey::new(&signature::ED25519, x).map_err(|_| "Jwks OKP [x] field is no point")?;
    Ok(Verifiers::Public(vec![(Algorithm::EdDsa, key)]))
}

fn symmetric(fields: &Map<String, Value>, algorithm: &str) -> Result<Verifiers, Unusable> {
    if !matches!(algorithm, "" | "HS256" | "HS384" | "HS512") {
        return Err("[alg] does not start with [HS] for an HMAC key");
    }
    let secret = required(
        fields,
        "k",
        (
            "[k] field is missing for an HMAC key",
            "[k] field is not string for an HMAC key",
        ),
    )?;
    let secret = decode(secret)
        .filter(|secret| !secret.is_empty())
        .ok_or("Jwks Oct key is an invalid Base64")?;
    Ok(Verifiers::Secret(Box::new([
        (Algorithm::Hs256, hmac::Key::new(hmac::HMAC_SHA256, &secret)),
        (Algorithm::Hs384, hmac::Key::new(hmac::HMAC_SHA384, &secret)),
        (Algorithm::Hs512, hmac::Key::new(hmac::HMAC_SHA512, &secret)),
    ])))
}

/// A number without zeros in front.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == 0).count();
    &number[zeros..]
}
