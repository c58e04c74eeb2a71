//! What the workload is told of a token: headers with its payload or single claims.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::jwt::claim;
use serde_json::Value;

use super::compiled::{Provider, Verified};
use crate::http::codec::Fields;

/// Removes the headers of a provider.
pub(super) fn clear(provider: &Provider, fields: &mut Fields) {
    let claims = provider.claim_headers.iter().map(|output| &output.header);
    for name in claims.chain([&provider.payload_header]) {
        fields.remove(name);
    }
}

/// Adds the headers. The client's own were removed before.
pub(super) fn apply(provider: &Provider, verified: &Verified, fields: &mut Fields) {
    if !provider.payload_header.is_empty() {
        let text = dense(&verified.payload_text);
        fields.push(&provider.payload_header, text.as_bytes());
    }
    for output in &provider.claim_headers {
        let text = claim(&verified.payload, &output.claim).and_then(text_of);
        // A claim is not ours: one that could end the header is left out.
        if let Some(text) = text.filter(|text| !text.is_empty() && !text.chars().any(char::is_control)) {
            fields.push(&output.header, text.as_bytes());
        }
    }
}

/// Blanks in a token say nothing, and have no place in a header.
fn dense(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_ascii_whitespace())
        .collect()
}

/// A claim in a header: text and numbers as they are, lists and objects as JSON in base64, as Envoy does.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => number.as_f64().map(number_text),
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => Some(STANDARD.encode(value.to_string())),
    }
}

/// As C++ writes it: whole numbers as such, others with six digits.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "in range by then, and protobuf's numbers are all double"
)]
fn number_text(number: f64) -> String {
    let whole = number >= 0.0 && number < u64::MAX as f64 && number.fract() == 0.0;
    if whole {
        (number as u64).to_string()
    } else {
        format!("{number:.6}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_written_as_envoy_writes_them() {
        for (value, text) in [
            (json!("a b"), Some("a b")),
            (json!(true), Some("true")),
            (json!(7), Some("7")),
            (json!(7.0), Some("7")),
            (json!(-7), Some("-7.000000")),
            (json!(1.5), Some("1.500000")),
            (json!(4_000_000_000_u64), Some("4000000000")),
            (json!(null), None),
            (json!(["a", 1]), Some("WyJhIiwxXQ==")),
            (json!({"a": 1}), Some("eyJhIjoxfQ==")),
        ] {
            assert_eq!(text_of(&value).as_deref(), text, "{value}");
        }
    }
}
