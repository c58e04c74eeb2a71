//! Values of expressions, how they compare, and what they are called.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::validate::quantity::Quantity;

/// Keys in their order; looked up by going through them, since objects are small and keys may be of any simple type.
pub type Map = Vec<(Value, Value)>;

/// How deep lists and maps may be nested: some more than in any object.
const DEPTH: usize = 300;

/// A value; cloning is cheap.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<Vec<Value>>),
    Map(Arc<Map>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i128),
    Type(&'static str),
    Optional(Option<Arc<Value>>),
    Quantity(Quantity),
    Url(Arc<http::Uri>, Arc<str>),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    /// A variable that could not be computed; an error for whoever looks at it.
    Failed(Arc<str>),
}

impl Value {
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::String(Arc::from(text.as_ref()))
    }

    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(items))
    }

    pub fn map(entries: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Self::text(key), value));
        Self::Map(Arc::new(entries.collect()))
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(..) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Failed(_) => "error",
        }
    }

    /// How many items, entries or letters there are: what going through it costs. Counting ends beyond `limit`, since
    /// lists that share their items may be endless to walk though small to keep; `None` when it is nested too deep
    /// for a stack.
    pub(super) fn weight(&self, limit: u64) -> Option<u64> {
        self.weight_at(limit, DEPTH)
    }

    fn weight_at(&self, limit: u64, depth: usize) -> Option<u64> {
        let mut weight = 0;
        match self {
            Self::String(text) => weight = text.len() as u64 / 10,
            Self::Bytes(bytes) => weight = bytes.len() as u64 / 10,
            Self::List(items) => {
                let depth = depth.checked_sub(1)?;
                for item in items.iter() {
                    weight += 1 + item.weight_at(limit.saturating_sub(weight), depth)?;
                    if weight > limit {
                        break;
                    }
                }
            }
            Self::Map(entries) => {
                let depth = depth.checked_sub(1)?;
                for (key, value) in entries.iter() {
                    weight += 2 + key.weight_at(limit.saturating_sub(weight), depth)?;
                    weight += value.weight_at(limit.saturating_sub(weight), depth)?;
                    if weight > limit {
                        break;
                    }
                }
            }
            Self::Optional(Some(inner)) => weight = 1 + inner.weight_at(limit, depth.checked_sub(1)?)?,
            _ => {}
        }
        Some(weight)
    }

    /// Whether it may be the key of a map.
    pub(super) fn is_key(&self) -> bool {
        matches!(
            self,
            Self::Bool(_) | Self::Int(_) | Self::Uint(_) | Self::Double(_) | Self::String(_)
        )
    }

    /// The value of a key; text keys are what objects have.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        let found = entries.iter().find(|(name, _)| name.as_str() == Some(key));
        found.map(|(_, value)| value)
    }

    /// The order of two values of one kind; numbers of all kinds have one.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) | (Self::Duration(a), Self::Duration(b)) => {
                Some(a.cmp(b))
            }
            _ => numbers(self, other),
        }
    }
}

/// Whether two maps have the same entries in whatever order. Those of objects mostly stand in the same one; texts are
/// looked up in a table, so that large maps are not gone through for each entry of the other.
fn same_entries(a: &Map, b: &Map) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.iter().zip(b).all(|((key, _), (other, _))| key == other) {
        return a.iter().zip(b).all(|((_, value), (_, other))| value == other);
    }
    let texts: HashMap<&str, &Value> = b
        .iter()
        .filter_map(|(key, value)| Some((key.as_str()?, value)))
        .collect();
    a.iter().all(|(key, value)| match key.as_str() {
        Some(text) => texts.get(text).is_some_and(|there| *there == value),
        None => b.iter().any(|(other, there)| key == other && value == there),
    })
}

/// Whole numbers compare exactly; with a double it is as good as a double can.
fn numbers(left: &Value, right: &Value) -> Option<Ordering> {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => double(left)?.partial_cmp(&double(right)?),
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "comparing with a double is as exact as doubles are"
)]
fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        _ => whole(value).map(|number| number as f64),
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => same_entries(a, b),
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(_, a), Self::Url(_, b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, length), Self::Cidr(b, other)) => (a, length) == (b, other),
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => out.write_str(text),
            Self::Bool(yes) => write!(out, "{yes}"),
            Self::Int(number) => write!(out, "{number}"),
            Self::Uint(number) => write!(out, "{number}"),
            Self::Double(number) => write!(out, "{number}"),
            Self::Type(name) => out.write_str(name),
            other => match super::to_json(other) {
                serde_json::Value::String(text) => out.write_str(&text),
                other => write!(out, "{other}"),
            },
        }
    }
}
