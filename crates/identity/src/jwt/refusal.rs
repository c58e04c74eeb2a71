//! Why a token is not believed, in the words of Envoy's token library: the client reads them in the answer.

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("Jwt is missing")]
    Missing,
    /// `nbf` lies in the future.
    #[error("Jwt not yet valid")]
    NotYetValid,
    /// `exp` has passed.
    #[error("Jwt is expired")]
    Expired,
    /// Not three parts, or longer than any header.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    BadFormat,
    /// The first part is no base64url.
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    /// The header is no JSON object.
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    /// The header names no algorithm.
    #[error("Jwt header [alg] field is required and must be a string")]
    HeaderAlgorithm,
    /// The algorithm is `none`, or another one that we do not know.
    #[error("Jwt header [alg] is not supported")]
    AlgorithmUnknown,
    /// `kid` is no text.
    #[error("Jwt header [kid] field is not a string")]
    HeaderKeyId,
    /// The second part is no base64url.
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    /// The payload is no JSON object.
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    /// `iss` is no text.
    #[error("Jwt payload [iss] field is not a string")]
    IssuerType,
    /// `sub` is no text.
    #[error("Jwt payload [sub] field is not a string")]
    SubjectType,
    /// `iat` is no number.
    #[error("Jwt payload [iat] field is not an integer")]
    IssuedAtType,
    /// `iat` is negative or too large.
    #[error("Jwt payload [iat] field is not a positive 64 bit integer")]
    IssuedAtRange,
    /// `nbf` is no number.
    #[error("Jwt payload [nbf] field is not an integer")]
    NotBeforeType,
    /// `nbf` is negative or too large.
    #[error("Jwt payload [nbf] field is not a positive 64 bit integer")]
    NotBeforeRange,
    /// `exp` is no number.
    #[error("Jwt payload [exp] field is not an integer")]
    ExpiryType,
    /// `exp` is negative or too large.
    #[error("Jwt payload [exp] field is not a positive 64 bit integer")]
    ExpiryRange,
    /// `jti` is no text.
    #[error("Jwt payload [jti] field is not a string")]
    IdType,
    /// `aud` is neither a text nor a list of texts.
    #[error("Jwt payload [aud] field is not a string or string list")]
    AudienceType,
    /// The third part is no base64url.
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    /// A signature of Ed25519 has 64 bytes.
    #[error("Jwt ED25519 signature is wrong length")]
    Ed25519Length,
    /// `iss` is nobody who may sign tokens for this place.
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    /// The token is for somebody else.
    #[error("Audiences in Jwt are not allowed")]
    AudienceNotAllowed,
    /// Signed by another key, or altered.
    #[error("Jwt verification fails")]
    Verification,
    /// The issuer has no key at all.
    #[error("Jwks doesn't have any valid public key")]
    NoValidKeys,
    /// The issuer has no key of that name or for that algorithm.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    KeyMismatch,
}
