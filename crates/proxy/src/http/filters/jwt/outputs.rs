//! What the workload is told of a token: headers with its payload or single claims. A token is somebody else's word: none
//! of it frames a message, and what others would not accept any more is left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::jwt::claim;
use serde_json::Value;

use super::compiled::{Provider, Verified};
use crate::http::codec::Fields;
use crate::http::filters::ext_authz::{has_room, is_field};

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
        push(fields, &provider.payload_header, &text);
    }
    for output in &provider.claim_headers {
        let text = claim(&verified.payload, &output.claim).and_then(text_of);
        // A claim is not ours: one that could end the header is left out.
        if let Some(text) = text.filter(|text| !text.is_empty() && !text.chars().any(char::is_control)) {
            push(fields, &output.header, &text);
        }
    }
}

fn push(fields: &mut Fields, name: &str, text: &str) {
    if is_field(name, text.as_bytes()) && has_room(fields, name, text.as_bytes()) {
        fields.push(name, text.as_bytes());
    } else {
        tracing::debug!(
            header = name,
            bytes = text.len(),
            "a claim is not told: there is no room, or no such header"
        );
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
    use crate::http::codec::h1::{MAX_FIELDS, MAX_HEAD};

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

    #[test]
    fn nothing_that_frames_a_message_is_told_and_no_head_grows_without_bound() {
        let mut fields = Fields::default();
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "te",
            "upgrade",
            ":path",
            "x y",
            "",
        ] {
            push(&mut fields, name, "1");
        }
        assert_eq!(fields.len(), 0);
        for count in 0..1000 {
            push(&mut fields, &format!("x-{count}"), "1");
        }
        assert_eq!(fields.len(), MAX_FIELDS);
        let mut fields = Fields::default();
        push(&mut fields, "x-small", "1");
        push(&mut fields, "x-large", &"1".repeat(MAX_HEAD));
        assert!(fields.contains("x-small") && !fields.contains("x-large"));
    }
}
