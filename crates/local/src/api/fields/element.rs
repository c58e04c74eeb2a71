//! One step on the way to a field: a field's name, or which item of a list is meant.

use std::fmt;

use serde_json::{Map, Value};

use super::rule::Key;

/// One step of a path. The order is that of `fieldsV1`: names, keys, values, indexes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    Field(String),
    /// The item that has these values in its key fields, sorted by field name.
    Key(Vec<(String, Plain)>),
    /// The item that is this value.
    Value(Plain),
    /// Written by nobody today, but allowed.
    Index(u64),
}

/// A value without parts, in the order of `fieldsV1`: numbers, texts, truths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Plain {
    Whole(i128),
    /// A number that is not whole, as it is written.
    Fraction(String),
    Text(String),
    Truth(bool),
    /// What should not stand here (null, list, object), as JSON.
    Other(String),
}

impl Element {
    /// The item of a list whose items are told apart by `keys`; `None` when it has none of them.
    pub(super) fn of_keyed(keys: &[Key], item: &Value) -> Option<Self> {
        let fields = item.as_object()?;
        let mut key: Vec<(String, Plain)> = keys
            .iter()
            .filter_map(|key| {
                let value = fields.get(&key.name).or(key.default.as_ref())?;
                Some((key.name.clone(), Plain::of(value)))
            })
            .collect();
        key.sort();
        (!key.is_empty()).then_some(Self::Key(key))
    }

    /// The item of a list of plain values.
    pub(super) fn of_value(item: &Value) -> Self {
        Self::Value(Plain::of(item))
    }

    /// `f:spec`, `k:{"name":"backend"}`, `v:"finalizer"`, `i:0`.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => {
                let fields: Map<String, Value> = key
                    .iter()
                    .map(|(name, value)| (name.clone(), value.to_value()))
                    .collect();
                format!("k:{}", Value::Object(fields))
            }
            Self::Value(value) => format!("v:{}", value.to_value()),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads what `to_text` wrote. `Ok(None)` for a kind of step that a later version may know.
    pub(super) fn from_text(text: &str) -> Result<Option<Self>, String> {
        let json = |rest: &str| serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
        match text.split_once(':') {
            None => Err(format!("missing colon: {text}")),
            Some(("f", name)) => Ok(Some(Self::Field(name.to_owned()))),
            Some(("v", rest)) => Ok(Some(Self::of_value(&json(rest)?))),
            Some(("i", rest)) => match rest.parse() {
                Ok(index) => Ok(Some(Self::Index(index))),
                Err(_) => Err(format!("no index: {text}")),
            },
            Some(("k", rest)) => {
                let Value::Object(fields) = json(rest)? else {
                    return Err(format!("no key: {text}"));
                };
                let mut key: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), Plain::of(value)))
                    .collect();
                key.sort();
                Ok(Some(Self::Key(key)))
            }
            Some(_) => Ok(None),
        }
    }
}

/// As in conflicts: `.spec`, `[name="backend"]`, `[="finalizer"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(out, ".{name}"),
            Self::Key(key) => {
                let fields: Vec<String> = key
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.to_value()))
                    .collect();
                write!(out, "[{}]", fields.join(","))
            }
            Self::Value(value) => write!(out, "[={}]", value.to_value()),
            Self::Index(index) => write!(out, "[{index}]"),
        }
    }
}

impl Plain {
    fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Bool(yes) => Self::Truth(*yes),
            Value::Number(number) => number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from))
                .or_else(|| whole(number.as_f64()?))
                .map_or_else(|| Self::Fraction(number.to_string()), Self::Whole),
            other => Self::Other(other.to_string()),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Whole(number) => i64::try_from(*number).map_or_else(
                |_| u64::try_from(*number).map_or(Value::Null, Value::from),
                Value::from,
            ),
            Self::Text(text) => Value::from(text.as_str()),
            Self::Truth(yes) => Value::from(*yes),
            Self::Fraction(json) | Self::Other(json) => {
                serde_json::from_str(json).expect("it was JSON when it was taken apart")
            }
        }
    }
}

/// `80.0` is the same key as `80`.
fn whole(number: f64) -> Option<i128> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i128)
}

/// A path as conflicts show it.
pub(super) fn show(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}
