//! JSON and YAML bodies, and the fields that they give twice.
//!
//! A JSON map cannot hold a field twice, so duplicates are noted while the text is read; the last one wins, as in Go.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::api::Status;

/// How deep a body may nest; what Go's decoder allows is far more than anybody writes.
const DEPTH: usize = 500;

/// A body as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    pub value: Value,
    /// Paths of fields that were given more than once.
    pub duplicates: Vec<String>,
}

impl From<Value> for Parsed {
    fn from(value: Value) -> Self {
        Self {
            value,
            duplicates: Vec::new(),
        }
    }
}

/// Reads a body: YAML when the content type says so, else JSON.
pub fn parse(body: &[u8], content_type: &str) -> Result<Parsed, Status> {
    let yaml = content_type
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().ends_with("yaml"));
    if yaml {
        let text = std::str::from_utf8(body)
            .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
        let value = serde_saphyr::from_str::<Value>(text)
            .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
        return Ok(Parsed::from(value));
    }
    let duplicates = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Seed {
        at: &String::new(),
        depth: 0,
        duplicates: &duplicates,
    }
    .deserialize(&mut reader)
    .and_then(|value| reader.end().map(|()| value))
    .map_err(|error| {
        Status::bad_request(format!(
            "the object provided is unrecognized: couldn't get version/kind; json parse error: {error}"
        ))
    })?;
    Ok(Parsed {
        value,
        duplicates: duplicates.into_inner(),
    })
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    at: &'a String,
    depth: usize,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'a> Seed<'a> {
    fn below(self, at: &'a String) -> Self {
        Self {
            at,
            depth: self.depth + 1,
            ..self
        }
    }

    fn field(self, name: &str) -> String {
        if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.at)
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        if self.depth > DEPTH {
            return Err(D::Error::custom("exceeded max depth"));
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let at = format!("{}[{}]", self.at, list.len());
            match items.next_element_seed(self.below(&at))? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let at = self.field(&name);
            let value = entries.next_value_seed(self.below(&at))?;
            if map.insert(name, value).is_some() {
                self.duplicates.borrow_mut().push(at);
            }
        }
        Ok(Value::Object(map))
    }
}
