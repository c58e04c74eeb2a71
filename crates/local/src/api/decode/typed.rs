//! Reads a value through the typed form of its kind, only to find what does not fit.
//!
//! The types of `k8s-openapi` tell a deserializer the name and the fields of each struct; that is all that is needed
//! for Kubernetes' own messages about unknown fields and wrong types.

use std::cell::RefCell;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::api::validate::quantity;

/// One step from an object to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    Index(usize),
}

/// What does not fit or must be rewritten, as paths from the root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    pub unknown: Vec<Vec<Step>>,
    /// Fields of structs that are null: the same as absent.
    pub nulls: Vec<Vec<Step>>,
    pub quantities: Vec<Vec<Step>>,
}

/// Reads `value` as a `T`. The error is the text of Go's JSON decoder.
pub fn check<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<Findings, String> {
    check_at::<T>(value, None)
}

/// Reads the metadata of a custom resource.
pub(super) fn check_metadata(value: &Value) -> Result<Findings, String> {
    check_at::<ObjectMeta>(
        value,
        Some(&Place {
            parent: None,
            step: Entry::Field("metadata"),
            of: "",
        }),
    )
}

fn check_at<'a, T: Deserialize<'a>>(value: &'a Value, place: Option<&Place<'_>>) -> Result<Findings, String> {
    let findings = RefCell::new(Findings::default());
    T::deserialize(Node {
        value,
        place,
        findings: &findings,
    })
    .map_err(|error| error.0)?;
    Ok(findings.into_inner())
}

/// `spec.containers[0].image`.
pub(super) fn show(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The part of `root` that a path leads to.
pub(super) fn find<'a>(root: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |place, step| match step {
        Step::Field(name) => place.get_mut(name),
        Step::Index(index) => place.get_mut(index),
    })
}

/// The name of a value's type in Go's messages.
pub(super) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[derive(Debug)]
struct Misfit(String);

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl Error for Misfit {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

#[derive(Clone, Copy)]
enum Entry<'p> {
    Field(&'p str),
    Index(usize),
}

/// A path as it grows on the stack.
#[derive(Clone, Copy)]
struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    step: Entry<'p>,
    /// The struct that has the field; empty inside maps and lists.
    of: &'static str,
}

impl Place<'_> {
    fn path(&self) -> Vec<Step> {
        let mut path = self.parent.map(Place::path).unwrap_or_default();
        path.push(match self.step {
            Entry::Field(name) => Step::Field(name.to_owned()),
            Entry::Index(index) => Step::Index(index),
        });
        path
    }

    /// The innermost struct on the way here, as Go's messages name it.
    fn owner(&self) -> &'static str {
        if self.of.is_empty() {
            self.parent.map_or("", Place::owner)
        } else {
            self.of
        }
    }
}

struct Node<'a, 'p> {
    value: &'a Value,
    place: Option<&'p Place<'p>>,
    findings: &'p RefCell<Findings>,
}

impl<'a> Node<'a, '_> {
    /// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
    fn misfit(&self, go_type: &str) -> Misfit {
        let given = match self.value {
            Value::Number(number) if go_type.starts_with("int") => format!("number {number}"),
            other => json_type(other).to_owned(),
        };
        let Some(place) = self.place else {
            return Misfit(format!(
                "json: cannot unmarshal {given} into Go value of type {go_type}"
            ));
        };
        let fields: Vec<String> = place
            .path()
            .into_iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(name),
                Step::Index(_) => None,
            })
            .collect();
        let (owner, fields) = (place.owner(), fields.join("."));
        Misfit(format!(
            "json: cannot unmarshal {given} into Go struct field {owner}.{fields} of type {go_type}"
        ))
    }

    fn path(&self) -> Vec<Step> {
        self.place.map(Place::path).unwrap_or_default()
    }

    fn integer<V: Visitor<'a>>(
        &self,
        visitor: V,
        low: i64,
        high: i64,
        name: &str,
    ) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_i64(0),
            Value::Number(number) => match number.as_i64().or_else(|| whole(number.as_f64())) {
                Some(value) if (low..=high).contains(&value) => visitor.visit_i64(value),
                _ => Err(self.misfit(name)),
            },
            _ => Err(self.misfit(name)),
        }
    }

    /// Numbers are quantities too: `cpu: 1`.
    fn quantity<V: Visitor<'a>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        let text = match self.value {
            Value::Null => "0".to_owned(),
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return Err(self.misfit("resource.Quantity")),
        };
        if quantity::parse(&text).is_none() {
            return Err(Misfit(quantity::MALFORMED.to_owned()));
        }
        self.findings.borrow_mut().quantities.push(self.path());
        let inner: StringDeserializer<Misfit> = text.into_deserializer();
        visitor.visit_newtype_struct(inner)
    }
}

fn whole(value: Option<f64>) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    value
        .filter(|value| value.fract() == 0.0 && value.abs() < 9e15)
        .map(|value| value as i64)
}

/// `alloc::vec::Vec<k8s_openapi::v1_37::api::core::v1::container::Container>` as Go writes it: `[]v1.Container`.
fn go_type(rust: &str) -> String {
    let inner = |open: &str| rust.find(open).map(|at| &rust[at + open.len()..rust.len() - 1]);
    if let Some(item) = rust
        .starts_with("alloc::vec::Vec<")
        .then(|| inner("Vec<"))
        .flatten()
    {
        return format!("[]{}", go_type(item));
    }
    if let Some(entry) = rust
        .starts_with("alloc::collections")
        .then(|| inner("<"))
        .flatten()
    {
        let value = entry.split_once(", ").map_or(entry, |(_, value)| value);
        return format!("map[string]{}", go_type(value));
    }
    match rust {
        "alloc::string::String" | "&str" => "string".to_owned(),
        "i32" => "int32".to_owned(),
        "i64" => "int64".to_owned(),
        other => {
            let parts: Vec<&str> = other.split("::").collect();
            let name = parts.last().copied().unwrap_or_default();
            let version = parts
                .iter()
                .rev()
                .skip(1)
                .find(|part| part.starts_with('v') && part.len() < 9);
            version.map_or_else(|| name.to_owned(), |version| format!("{version}.{name}"))
        }
    }
}

impl<'de> serde::Deserializer<'de> for Node<'de, '_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items {
                rest: items.iter().enumerate(),
                node: self,
            }),
            Value::Object(entries) => visitor.visit_map(Entries::new(entries, None, "", self)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.misfit("bool")),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor, i32::MIN.into(), i32::MAX.into(), "int32")
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.integer(visitor, i64::MIN, i64::MAX, "int64")
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_f64(0.0),
            Value::Number(number) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            _ => Err(self.misfit("float64")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_borrowed_str(""),
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => Err(self.misfit("string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        if name == "Quantity" {
            self.quantity(visitor)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_seq(Items {
                rest: [].iter().enumerate(),
                node: self,
            }),
            Value::Array(items) => visitor.visit_seq(Items {
                rest: items.iter().enumerate(),
                node: self,
            }),
            _ => Err(self.misfit(&go_type(std::any::type_name::<V::Value>()))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_map(Nothing),
            Value::Object(entries) => visitor.visit_map(Entries::new(entries, None, "", self)),
            _ => Err(self.misfit(&go_type(std::any::type_name::<V::Value>()))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_map(Nothing),
            Value::Object(entries) => visitor.visit_map(Entries::new(entries, Some(fields), name, self)),
            _ => Err(self.misfit(&go_type(std::any::type_name::<V::Value>()))),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 u8 u16 u32 u64 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum
    }
}

/// An absent struct.
struct Nothing;

impl<'a> MapAccess<'a> for Nothing {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, _: K) -> Result<Option<K::Value>, Misfit> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit("a value without a field".to_owned()))
    }
}

struct Items<'a, 'p> {
    rest: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
    node: Node<'a, 'p>,
}

impl<'a> SeqAccess<'a> for Items<'a, '_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some((index, value)) = self.rest.next() else {
            return Ok(None);
        };
        let place = Place {
            parent: self.node.place,
            step: Entry::Index(index),
            of: "",
        };
        seed.deserialize(Node {
            value,
            place: Some(&place),
            findings: self.node.findings,
        })
        .map(Some)
    }
}

struct Entries<'a, 'p> {
    rest: serde_json::map::Iter<'a>,
    current: Option<(&'a String, &'a Value)>,
    /// The fields that there are; none for a map, which may have any.
    fields: Option<&'static [&'static str]>,
    of: &'static str,
    node: Node<'a, 'p>,
}

impl<'a, 'p> Entries<'a, 'p> {
    fn new(
        entries: &'a serde_json::Map<String, Value>,
        fields: Option<&'static [&'static str]>,
        of: &'static str,
        node: Node<'a, 'p>,
    ) -> Self {
        Self {
            rest: entries.iter(),
            current: None,
            fields,
            of,
            node,
        }
    }

    fn place<'s>(&'s self, name: &'s str) -> Place<'s> {
        Place {
            parent: self.node.place,
            step: Entry::Field(name),
            of: self.of,
        }
    }
}

impl<'a> MapAccess<'a> for Entries<'a, '_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        for (name, value) in self.rest.by_ref() {
            if let Some(fields) = self.fields {
                let path = || {
                    Place {
                        parent: self.node.place,
                        step: Entry::Field(name),
                        of: self.of,
                    }
                    .path()
                };
                if !fields.contains(&name.as_str()) {
                    self.node.findings.borrow_mut().unknown.push(path());
                    continue;
                }
                if value.is_null() {
                    self.node.findings.borrow_mut().nulls.push(path());
                    continue;
                }
            }
            self.current = Some((name, value));
            let key: StrDeserializer<'_, Misfit> = name.as_str().into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let (name, value) = self
            .current
            .take()
            .expect("serde asks for a key before its value");
        seed.deserialize(Node {
            value,
            place: Some(&self.place(name)),
            findings: self.node.findings,
        })
    }
}
