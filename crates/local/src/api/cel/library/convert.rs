//! From one type to another.

use std::sync::Arc;

use super::super::convert;
use super::super::eval::{Outcome, failed};
use super::super::value::Value;
use super::Signature;

pub(super) const FUNCTIONS: &[Signature] = &[
    ("int", false, 1..=1),
    ("uint", false, 1..=1),
    ("double", false, 1..=1),
    ("string", false, 1..=1),
    ("bytes", false, 1..=1),
    ("bool", false, 1..=1),
    ("timestamp", false, 1..=1),
    ("duration", false, 1..=1),
];

pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Outcome> {
    let [of] = arguments else { return None };
    let wrong = |kind: &str| failed(format!("type conversion error from '{of}' to '{kind}'"));
    let found = match name {
        "int" => int(of).map(Value::Int),
        "uint" => int(of)
            .and_then(|number| u64::try_from(number).ok())
            .map(Value::Uint)
            .or(match of {
                Value::Uint(number) => Some(Value::Uint(*number)),
                Value::String(text) => text.parse().ok().map(Value::Uint),
                _ => None,
            }),
        "double" => double(of).map(Value::Double),
        "string" => string(of),
        "bytes" => match of {
            Value::Bytes(_) => Some(of.clone()),
            Value::String(text) => Some(Value::Bytes(Arc::from(text.as_bytes()))),
            _ => None,
        },
        "bool" => match of {
            Value::Bool(_) => Some(of.clone()),
            Value::String(text) => match &**text {
                "true" | "True" | "TRUE" | "t" | "1" => Some(Value::Bool(true)),
                "false" | "False" | "FALSE" | "f" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            _ => None,
        },
        "timestamp" => match of {
            Value::Timestamp(_) => Some(of.clone()),
            Value::Int(seconds) => Some(Value::Timestamp(i128::from(*seconds) * 1_000_000_000)),
            Value::String(text) => convert::timestamp(text),
            _ => None,
        },
        "duration" => match of {
            Value::Duration(_) => Some(of.clone()),
            Value::String(text) => convert::duration(text),
            _ => None,
        },
        _ => return None,
    };
    Some(found.map_or_else(|| wrong(name), Ok))
}

#[allow(clippy::cast_possible_truncation, reason = "checked by the range")]
fn int(of: &Value) -> Option<i64> {
    match of {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        Value::Double(number) if number.abs() < 9.2e18 => Some(number.trunc() as i64),
        Value::String(text) => text.parse().ok(),
        Value::Timestamp(nanos) => i64::try_from(nanos.div_euclid(1_000_000_000)).ok(),
        _ => None,
    }
}

#[allow(clippy::cast_precision_loss, reason = "that is what the conversion does")]
fn double(of: &Value) -> Option<f64> {
    match of {
        Value::Double(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn string(of: &Value) -> Option<Value> {
    match of {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(Value::text),
        Value::List(_) | Value::Map(_) | Value::Null | Value::Optional(_) | Value::Type(_) => None,
        other => Some(Value::text(other.to_string())),
    }
}
