//! From bytes to JSON by the tables.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use super::tables::{Field, Kind, Message, Presence};
use super::wire::{Fields, Malformed, Raw, varint};

/// Reads a message into an object.
pub(super) fn add_fields(
    object: &mut Map<String, Value>,
    message: &Message,
    bytes: &[u8],
) -> Result<(), Malformed> {
    for sent in Fields(bytes) {
        let (number, raw) = sent?;
        // Unknown numbers are fields of another version: skipped, as Kubernetes does.
        let Some(field) = message.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        match (&field.kind, field.presence) {
            (Kind::Message(inner), Presence::Inline) => {
                add_fields(object, inner, bytes_of(raw, field.name)?)?
            }
            (Kind::List(kind), _) => append(object, field, kind, raw)?,
            (Kind::Map(kind), _) => enter(object, field, kind, raw)?,
            (kind, presence) => {
                let value = value(kind, raw, field.name)?;
                if !value.is_null() && (presence != Presence::NonEmpty || !is_empty(&value)) {
                    object.insert(field.name.to_owned(), value);
                }
            }
        }
    }
    Ok(())
}

/// One more item of a list. Numbers may also come packed: several in one field.
fn append(
    object: &mut Map<String, Value>,
    field: &Field,
    kind: &Kind,
    raw: Raw<'_>,
) -> Result<(), Malformed> {
    let mut items = Vec::new();
    match (kind, raw) {
        (Kind::Integer | Kind::Boolean, Raw::Bytes(mut packed)) => {
            while !packed.is_empty() {
                items.push(value(kind, Raw::Number(varint(&mut packed)?), field.name)?);
            }
        }
        _ => items.push(value(kind, raw, field.name)?),
    }
    let list = object
        .entry(field.name)
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.append(&mut items);
    }
    Ok(())
}

/// One more entry of a map: a message of key and value, either of which may be absent.
fn enter(object: &mut Map<String, Value>, field: &Field, kind: &Kind, raw: Raw<'_>) -> Result<(), Malformed> {
    let (mut key, mut entry) = ("", None);
    for part in Fields(bytes_of(raw, field.name)?) {
        match part? {
            (1, raw) => key = text(raw, field.name)?,
            (2, raw) => entry = Some(value(kind, raw, field.name)?),
            _ => {}
        }
    }
    let entry = match entry {
        Some(entry) => entry,
        None => value(kind, Raw::Bytes(&[]), field.name)?,
    };
    let map = object
        .entry(field.name)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(map) = map {
        map.insert(key.to_owned(), entry);
    }
    Ok(())
}

fn value(kind: &Kind, raw: Raw<'_>, name: &'static str) -> Result<Value, Malformed> {
    Ok(match kind {
        Kind::Text => text(raw, name)?.into(),
        Kind::Integer => number(raw, name)?.into(),
        Kind::Boolean => (number(raw, name)? != 0).into(),
        Kind::Bytes => STANDARD.encode(bytes_of(raw, name)?).into(),
        Kind::Time => time(raw, name, 0)?,
        Kind::MicroTime => time(raw, name, 6)?,
        Kind::IntOrString => int_or_string(raw, name)?,
        Kind::Quantity => text(Raw::Bytes(first(raw, name)?), name)?.into(),
        Kind::Json => match first(raw, name)? {
            [] => Value::Null,
            json => serde_json::from_slice(json).map_err(|_| Malformed::Json(name))?,
        },
        Kind::Texts => texts(raw, name)?,
        Kind::Message(message) => {
            let mut inner = Map::new();
            add_fields(&mut inner, message, bytes_of(raw, name)?)?;
            inner.into()
        }
        // Protobuf has neither lists of lists nor maps of maps, and the tables have none.
        Kind::List(_) | Kind::Map(_) => return Err(Malformed::WireType(name)),
    })
}

pub(super) fn text<'a>(raw: Raw<'a>, name: &'static str) -> Result<&'a str, Malformed> {
    std::str::from_utf8(bytes_of(raw, name)?).map_err(|_| Malformed::Utf8(name))
}

fn bytes_of<'a>(raw: Raw<'a>, name: &'static str) -> Result<&'a [u8], Malformed> {
    match raw {
        Raw::Bytes(bytes) => Ok(bytes),
        Raw::Number(_) | Raw::Fixed => Err(Malformed::WireType(name)),
    }
}

fn number(raw: Raw<'_>, name: &'static str) -> Result<i64, Malformed> {
    match raw {
        // Negative numbers stand as their two's complement.
        Raw::Number(number) => Ok(number.cast_signed()),
        Raw::Bytes(_) | Raw::Fixed => Err(Malformed::WireType(name)),
    }
}

/// Field 1 of a message that is a wrapper; empty when absent.
fn first<'a>(raw: Raw<'a>, name: &'static str) -> Result<&'a [u8], Malformed> {
    let mut found = &[][..];
    for field in Fields(bytes_of(raw, name)?) {
        if let (1, raw) = field? {
            found = bytes_of(raw, name)?;
        }
    }
    Ok(found)
}

fn texts(raw: Raw<'_>, name: &'static str) -> Result<Value, Malformed> {
    let mut list = Vec::new();
    for field in Fields(bytes_of(raw, name)?) {
        if let (1, raw) = field? {
            list.push(Value::from(text(raw, name)?));
        }
    }
    Ok(list.into())
}

/// Type, number, text; type 1 is the text.
fn int_or_string(raw: Raw<'_>, name: &'static str) -> Result<Value, Malformed> {
    let (mut is_text, mut whole, mut words) = (false, 0, "");
    for field in Fields(bytes_of(raw, name)?) {
        match field? {
            (1, raw) => is_text = number(raw, name)? == 1,
            (2, raw) => whole = number(raw, name)?,
            (3, raw) => words = text(raw, name)?,
            _ => {}
        }
    }
    Ok(if is_text { words.into() } else { whole.into() })
}

/// Seconds and nanoseconds; an empty message is no time at all.
fn time(raw: Raw<'_>, name: &'static str, digits: usize) -> Result<Value, Malformed> {
    let bytes = bytes_of(raw, name)?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in Fields(bytes) {
        match field? {
            (1, raw) => seconds = number(raw, name)?,
            (2, raw) => nanoseconds = number(raw, name)?,
            _ => {}
        }
    }
    let nanoseconds = i32::try_from(nanoseconds).map_err(|_| Malformed::Time(name))?;
    let at = Timestamp::new(seconds, nanoseconds).map_err(|_| Malformed::Time(name))?;
    Ok(if digits == 0 {
        Timestamp::from_second(at.as_second())
            .map_err(|_| Malformed::Time(name))?
            .to_string()
            .into()
    } else {
        format!("{at:.digits$}").into()
    })
}

/// What Go leaves out of JSON when a field says `omitempty`.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
