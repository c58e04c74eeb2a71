//! Tokens that others signed (JWT, RFC 7519), and the key sets (JWKS, RFC 7517) that they are verified with.
//!
//! Reads and refuses what Envoy's token library reads and refuses, in its words: clients and dashboards know them.
//! Stricter in three things: an algorithm must fit the type of the key, RSA keys have at least 2048 bits (RFC 7518),
//! and keys for encryption verify nothing. Nothing of a token is believed before [`KeySet::verify`] accepted it. Any
//! bytes may come in: no recursion is deeper than [`DEPTH`], and every size is bounded.

mod algorithm;
mod audience;
mod json;
mod key;
mod key_set;
mod refusal;
#[cfg(test)]
mod tests;
mod token;

pub use algorithm::Algorithm;
pub use audience::Audiences;
pub use json::DEPTH;
pub use key_set::{KeySet, KeySetError, LARGEST_KEY_SET, MOST_KEYS};
pub use refusal::Refusal;
pub use token::{CLOCK_SKEW, LONGEST_TOKEN, Token, check_times, claim};

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// As lenient as Envoy's: padding may be there or not, and bits after the last byte are not looked at.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64url. Blanks are skipped, as Envoy does.
fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return decode_dense(text.as_bytes());
    }
    let letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    decode_dense(&letters.collect::<Vec<_>>())
}

/// Padding is whole, or there is none.
fn decode_dense(text: &[u8]) -> Option<Vec<u8>> {
    let half = text.ends_with(b"=") && !text.len().is_multiple_of(4);
    (!half).then(|| LENIENT.decode(text).ok()).flatten()
}
