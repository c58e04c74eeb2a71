//! Canonical JSON of protobuf → messages, by their descriptions. `Any` is read by its `@type`.
//!
//! Nothing is skipped: a field that its message does not have is a problem with its path, and so is a value of a
//! wrong kind. All of them are found in one go. Where each field stands is remembered, so that what the
//! conversion says about `RouteAction.cors` can be said of a line.

use base64::Engine;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    Value as Field,
};

use super::document::{Node, Path, Value};
use super::problem::{Code, INSTEAD, Problem};

const ANY: &str = "google.protobuf.Any";
const TYPE_PREFIX: &str = "type.googleapis.com/";
/// Messages with a JSON form of their own.
const SPECIAL: [&str; 14] = [
    "google.protobuf.BoolValue",
    "google.protobuf.BytesValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.FloatValue",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.ListValue",
    "google.protobuf.StringValue",
    "google.protobuf.Struct",
    "google.protobuf.Timestamp",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
];
const VALUE: &str = "google.protobuf.Value";

/// Reads a tree as messages.
pub(super) struct Reader<'p> {
    pool: &'p DescriptorPool,
    pub(super) problems: Vec<Problem>,
    /// Every field that is set, in the order of the file.
    pub(super) seen: Vec<Seen>,
}

/// A field that is set.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: Path,
    pub(super) line: u64,
    /// Full name of the message that it belongs to.
    pub(super) message: String,
    pub(super) field: String,
    /// Full name of the message that it holds, or holds several of.
    pub(super) holds: Option<String>,
}

impl<'p> Reader<'p> {
    pub(super) fn new(pool: &'p DescriptorPool) -> Self {
        Self {
            pool,
            problems: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn problem(&mut self, path: &Path, line: u64, code: Code, text: impl Into<String>) {
        self.problems.push(Problem {
            code,
            path: path.to_string(),
            line,
            text: text.into(),
        });
    }

    /// A message; what is wrong in it is left out.
    pub(super) fn message(
        &mut self,
        node: &Node,
        kind: &MessageDescriptor,
        path: &Path,
    ) -> Option<DynamicMessage> {
        let name = kind.full_name();
        if name == ANY {
            return self.any(node, kind, path);
        }
        if name == VALUE || SPECIAL.contains(&name) {
            return self.special(node, kind, path);
        }
        let Value::Map(map) = &node.value else {
            self.problem(path, node.line, Code::Value, "must have fields");
            return None;
        };
        let mut message = DynamicMessage::new(kind.clone());
        for (key, value) in map {
            self.field(&mut message, key, value, path);
        }
        Some(message)
    }

    fn field(&mut self, message: &mut DynamicMessage, key: &str, node: &Node, path: &Path) {
        use prost_reflect::ReflectMessage;
        let kind = message.descriptor();
        let known = kind
            .get_field_by_name(key)
            .or_else(|| kind.get_field_by_json_name(key));
        let path = path.key(key);
        let Some(field) = known else {
            let text = no_field(&kind, key);
            return self.problem(&path, node.line, Code::Unknown, text);
        };
        let holds_null = matches!(field.kind(), Kind::Message(kind) if kind.full_name() == VALUE);
        if node.value == Value::Null && !holds_null {
            return;
        }
        let other = field
            .containing_oneof()
            .and_then(|choice| choice.fields().find(|other| message.has_field(other)));
        if message.has_field(&field) {
            return self.problem(&path, node.line, Code::Value, "is given twice: leave one out");
        }
        if let Some(other) = other {
            let text = format!("cannot be given together with {}: leave one out", other.name());
            return self.problem(&path, node.line, Code::Value, text);
        }
        self.seen.push(Seen {
            path: path.clone(),
            line: node.line,
            message: kind.full_name().to_owned(),
            field: field.name().to_owned(),
            holds: field.kind().as_message().map(|kind| kind.full_name().to_owned()),
        });
        if let Some(value) = self.value(node, &field, &path) {
            message.set_field(&field, value);
        }
    }

    fn value(&mut self, node: &Node, field: &FieldDescriptor, path: &Path) -> Option<Field> {
        if field.is_map() {
            return self.map(node, field, path);
        }
        if !field.is_list() {
            return self.single(node, &field.kind(), path);
        }
        let Value::List(list) = &node.value else {
            self.problem(path, node.line, Code::Value, "must be a list");
            return None;
        };
        // What was taken out of a list to look at the rest of it left nothing behind.
        let items = list
            .iter()
            .enumerate()
            .filter(|(_, item)| item.value != Value::Null);
        Some(Field::List(
            items
                .filter_map(|(index, item)| self.single(item, &field.kind(), &path.index(index)))
                .collect(),
        ))
    }

    fn map(&mut self, node: &Node, field: &FieldDescriptor, path: &Path) -> Option<Field> {
        let Value::Map(map) = &node.value else {
            self.problem(path, node.line, Code::Value, "must have fields");
            return None;
        };
        let kind = field.kind();
        let entry = kind.as_message().expect("entries of a map are messages").clone();
        let (keys, values) = (
            entry.map_entry_key_field().kind(),
            entry.map_entry_value_field().kind(),
        );
        let mut entries = std::collections::HashMap::new();
        for (key, value) in map.iter().filter(|(_, value)| value.value != Value::Null) {
            let path = path.key(key);
            match map_key(key, &keys) {
                Some(key) => {
                    let value = self.single(value, &values, &path);
                    entries.extend(value.map(|value| (key, value)));
                }
                None => self.problem(&path, value.line, Code::Value, "is no key of this map"),
            }
        }
        Some(Field::Map(entries))
    }

    fn single(&mut self, node: &Node, kind: &Kind, path: &Path) -> Option<Field> {
        if let Kind::Message(kind) = kind {
            return self.message(node, kind, path).map(Field::Message);
        }
        let value = scalar(&node.value, kind);
        if value.is_none() {
            self.problem(path, node.line, Code::Value, format!("must be {}", words(kind)));
        }
        value
    }

    fn any(&mut self, node: &Node, kind: &MessageDescriptor, path: &Path) -> Option<DynamicMessage> {
        let url = node.text("@type");
        let Value::Map(map) = &node.value else {
            self.problem(path, node.line, Code::Value, "must have fields");
            return None;
        };
        if url.is_empty() {
            self.problem(path, node.line, Code::Value, "must have a field @type");
            return None;
        }
        let inner = url
            .strip_prefix(TYPE_PREFIX)
            .and_then(|name| self.pool.get_message_by_name(name));
        let Some(inner) = inner else {
            let line = node.get("@type").map_or(node.line, |node| node.line);
            self.problem(
                &path.key("@type"),
                line,
                Code::Unsupported,
                format!("{url:?} is not supported{INSTEAD}"),
            );
            return None;
        };
        let special = SPECIAL.contains(&inner.full_name());
        let body = match node.get("value").filter(|_| special) {
            Some(value) => self.message(value, &inner, &path.key("value")),
            None => {
                let rest = map.iter().filter(|(key, _)| key != "@type").cloned().collect();
                let node = Node {
                    line: node.line,
                    value: Value::Map(rest),
                };
                self.message(&node, &inner, path)
            }
        };
        let mut any = DynamicMessage::new(kind.clone());
        any.set_field_by_name("type_url", Field::String(url.to_owned()));
        any.set_field_by_name("value", Field::Bytes(body?.encode_to_vec().into()));
        Some(any)
    }

    fn special(&mut self, node: &Node, kind: &MessageDescriptor, path: &Path) -> Option<DynamicMessage> {
        match DynamicMessage::deserialize(kind.clone(), node.json()) {
            Ok(message) => Some(message),
            Err(_) => {
                let text = format!("must be {}", special_words(kind.name()));
                self.problem(path, node.line, Code::Value, text);
                None
            }
        }
    }
}

fn map_key(key: &str, kind: &Kind) -> Option<MapKey> {
    match kind {
        Kind::String => Some(MapKey::String(key.to_owned())),
        Kind::Bool => key.parse().ok().map(MapKey::Bool),
        Kind::Uint32 | Kind::Fixed32 => key.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => key.parse().ok().map(MapKey::U64),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => key.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => key.parse().ok().map(MapKey::I64),
        _ => None,
    }
}

/// A value without fields. Numbers may be written as texts, as in any protobuf JSON.
fn scalar(value: &Value, kind: &Kind) -> Option<Field> {
    let number = match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        _ => String::new(),
    };
    match (kind, value) {
        (Kind::Bool, Value::Bool(value)) => Some(Field::Bool(*value)),
        (Kind::String, Value::Text(text)) => Some(Field::String(text.clone())),
        (Kind::Bytes, Value::Text(text)) => bytes(text).map(|bytes| Field::Bytes(bytes.into())),
        (Kind::Enum(kind), _) => variant(value, kind).map(Field::EnumNumber),
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, _) => whole(&number).map(Field::I32),
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, _) => whole(&number).map(Field::I64),
        (Kind::Uint32 | Kind::Fixed32, _) => whole(&number).map(Field::U32),
        (Kind::Uint64 | Kind::Fixed64, _) => whole(&number).map(Field::U64),
        (Kind::Float, _) => number.parse().ok().map(Field::F32),
        (Kind::Double, _) => number.parse().ok().map(Field::F64),
        _ => None,
    }
}

/// `5`, and `5.0` as well.
fn whole<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
        .iter()
        .find_map(|engine| engine.decode(text).ok())
}

fn variant(value: &Value, kind: &EnumDescriptor) -> Option<i32> {
    match value {
        Value::Text(name) => kind.get_value_by_name(name).map(|value| value.number()),
        Value::Number(number) => {
            let number = i32::try_from(number.as_i64()?).ok()?;
            kind.get_value(number).map(|value| value.number())
        }
        _ => None,
    }
}

fn words(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "text".to_owned(),
        Kind::Bytes => "bytes in base64".to_owned(),
        Kind::Float | Kind::Double => "a number".to_owned(),
        Kind::Enum(kind) => {
            let names: Vec<_> = kind.values().map(|value| value.name().to_owned()).collect();
            format!("one of {}", names.join(", "))
        }
        Kind::Uint32 | Kind::Fixed32 => special_words("UInt32Value").to_owned(),
        Kind::Uint64 | Kind::Fixed64 => special_words("UInt64Value").to_owned(),
        _ => "a whole number".to_owned(),
    }
}

/// What is written for a message with a JSON form of its own.
fn special_words(name: &str) -> &'static str {
    match name {
        "BoolValue" => "true or false",
        "StringValue" => "text",
        "BytesValue" => "bytes in base64",
        "Duration" => "a duration in seconds, as in 1.5s",
        "Timestamp" => "a time, as in 2026-01-31T12:00:00Z",
        "DoubleValue" | "FloatValue" => "a number",
        "UInt32Value" => "a whole number from 0 to 4294967295",
        "UInt64Value" => "a whole number from 0",
        "Int32Value" | "Int64Value" => "a whole number",
        "ListValue" => "a list",
        "FieldMask" => "names of fields, with commas between them",
        _ => "fields with values",
    }
}

/// What is said of a field that nobody knows: which one it may have been.
fn no_field(kind: &MessageDescriptor, key: &str) -> String {
    let near = kind
        .fields()
        .map(|field| (strsim::damerau_levenshtein(field.name(), key), field))
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, _)| *edits <= key.len() / 3);
    let name = kind.full_name();
    match near {
        Some((_, field)) => format!("is no field of {name}: did you mean {}?", field.name()),
        None => format!("is no field of {name}: leave it out"),
    }
}
