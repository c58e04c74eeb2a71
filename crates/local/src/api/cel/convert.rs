//! Between JSON and values.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use super::value::Value;

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(yes) => Self::Bool(*yes),
            Json::String(text) => Self::text(text),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::Array(items) => Self::list(items.iter().map(Self::from).collect()),
            Json::Object(fields) => {
                let entries = fields
                    .iter()
                    .map(|(key, value)| (Self::text(key), Self::from(value)));
                Self::Map(Arc::new(entries.collect()))
            }
        }
    }
}

impl Value {
    /// A text of a schema's `format`: times and bytes have types of their own.
    pub fn formatted(format: &str, text: &str) -> Self {
        let found = match format {
            "date-time" => timestamp(text),
            "date" => timestamp(&format!("{text}T00:00:00Z")),
            "duration" => duration(text),
            "byte" => STANDARD.decode(text).ok().map(|bytes| Self::Bytes(bytes.into())),
            _ => None,
        };
        found.unwrap_or_else(|| Self::text(text))
    }
}

/// The value as JSON; what JSON does not have becomes a text.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(yes) => json!(yes),
        Value::Int(number) => json!(number),
        Value::Uint(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::String(text) => json!(&**text),
        Value::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            let fields = entries
                .iter()
                .map(|(key, value)| (key.to_string(), to_json(value)));
            Json::Object(fields.collect())
        }
        Value::Timestamp(nanos) => json!(timestamp_text(*nanos)),
        Value::Duration(nanos) => json!(duration_text(*nanos)),
        Value::Type(name) => json!(name),
        Value::Optional(inner) => inner.as_deref().map_or(Json::Null, to_json),
        Value::Quantity(quantity) => json!(quantity.to_string()),
        Value::Url(_, text) => json!(&**text),
        Value::Ip(address) => json!(address.to_string()),
        Value::Cidr(address, length) => json!(format!("{address}/{length}")),
        Value::Failed(why) => json!(&**why),
    }
}

pub(super) fn timestamp(text: &str) -> Option<Value> {
    let at: Timestamp = text.parse().ok()?;
    Some(Value::Timestamp(at.as_nanosecond()))
}

pub(super) fn timestamp_text(nanos: i128) -> String {
    Timestamp::from_nanosecond(nanos).map_or_else(|_| nanos.to_string(), |at| at.to_string())
}

/// Go's durations: `1h30m`, `-1.5s`, `100ms`.
pub(super) fn duration(text: &str) -> Option<Value> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
        ("d", f64::NAN),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Value::Duration(0));
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
        nanos += number * unit;
        rest = &rest[letters..];
    }
    if !nanos.is_finite() || nanos >= 9.2e18 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "checked just above")]
    let nanos = nanos.round() as i128;
    Some(Value::Duration(if negative { -nanos } else { nanos }))
}

/// `3600s`, as CEL writes durations.
pub(super) fn duration_text(nanos: i128) -> String {
    let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
    format!("{}s", SignedDuration::from_nanos(nanos).as_secs_f64())
}
