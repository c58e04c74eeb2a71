//! Schemas of built-in kinds, from the tables that say how they look on the wire: each names every field and its type.

use serde_json::{Map, Value, json};

use super::words;
use crate::api::protobuf::tables::{self, Field, Kind, Message, Presence};

/// The name under which a message stands in a document: `io.k8s.api.core.v1.Pod`.
pub(super) fn name(message: &Message) -> String {
    format!("{}.{}", message.package, message.name)
}

/// Adds a message and every one that it leads to.
pub(super) fn add(message: &Message, schemas: &mut Map<String, Value>) {
    let name = name(message);
    if schemas.contains_key(&name) {
        return;
    }
    let mut schema = json!({"type": "object"});
    if let Some(description) = words::of_message(message.name) {
        schema["description"] = description.into();
    }
    let mut properties = Map::new();
    add_properties(message, &mut properties);
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    schemas.insert(name, schema);
    for field in message.fields {
        if let Some(inner) = message_in(&field.kind)
            && field.presence != Presence::Inline
        {
            add(inner, schemas);
        }
    }
    for field in message
        .fields
        .iter()
        .filter(|field| field.presence == Presence::Inline)
    {
        for inner in inlined(field) {
            add(inner, schemas);
        }
    }
    let special = [
        (
            QUANTITY,
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        (
            INT_OR_STRING,
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
    ];
    for (name, schema) in special {
        schemas.entry(name).or_insert(schema);
    }
}

/// Every schema of every kind, for one hash over all of them.
pub(super) fn all() -> Value {
    let mut schemas = Map::new();
    for (_, message) in tables::all() {
        add(message, &mut schemas);
    }
    schemas.into()
}

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

fn add_properties(message: &Message, properties: &mut Map<String, Value>) {
    for field in message.fields {
        if let (Kind::Message(inner), Presence::Inline) = (&field.kind, field.presence) {
            add_properties(inner, properties);
            continue;
        }
        let mut property = property(&field.kind);
        if let Some(description) = words::of_field(message.name, field.name) {
            property["description"] = description.into();
        }
        properties.insert(field.name.to_owned(), property);
    }
}

fn property(kind: &Kind) -> Value {
    // A description may stand beside `allOf`, but not beside a bare reference.
    let reference = |name: &str| json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]});
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Time | Kind::MicroTime => json!({"type": "string", "format": "date-time"}),
        Kind::IntOrString => reference(INT_OR_STRING),
        Kind::Quantity => reference(QUANTITY),
        Kind::Json => json!({"type": "object"}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::List(kind) => json!({"type": "array", "items": property(kind)}),
        Kind::Map(kind) => json!({"type": "object", "additionalProperties": property(kind)}),
        Kind::Message(message) => reference(&name(message)),
    }
}

fn message_in(kind: &Kind) -> Option<&'static Message> {
    match kind {
        Kind::Message(message) => Some(message),
        Kind::List(kind) | Kind::Map(kind) => message_in(kind),
        _ => None,
    }
}

/// What the fields of an inlined message lead to; it has no schema of its own.
fn inlined(field: &Field) -> Vec<&'static Message> {
    let Kind::Message(message) = field.kind else {
        return Vec::new();
    };
    let inner = message.fields.iter();
    inner
        .flat_map(|inner| match inner.presence {
            Presence::Inline => inlined(inner),
            Presence::AsSent | Presence::NonEmpty => message_in(&inner.kind).into_iter().collect(),
        })
        .collect()
}
