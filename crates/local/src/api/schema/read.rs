//! From `openAPIV3Schema` to nodes, and what is wrong with such a schema.

use std::collections::HashMap;

use serde_json::Value;

use super::pattern::Pattern;
use super::{Additional, Checks, Kind, List, Node, rules};
use crate::api::field::FieldErrors;

/// The whole schema: an object with `apiVersion`, `kind` and `metadata`.
pub(super) fn root(schema: &Value) -> Node {
    let mut root = node(schema);
    root.embedded = true;
    // The rules of the root may look at its envelope.
    root.rules = rules::read(schema, &root);
    root
}

pub(super) fn node(schema: &Value) -> Node {
    let mut node = outline(schema);
    node.rules = rules::read(schema, &node);
    let below = node.properties.values().chain(node.items.as_deref());
    let like = match &node.additional {
        Additional::Like(inner) => Some(&**inner),
        _ => None,
    };
    node.has_rules = !node.rules.is_empty()
        || schema["x-kubernetes-validations"].is_array()
        || below.chain(like).any(|inner| inner.has_rules);
    node
}

fn outline(schema: &Value) -> Node {
    let flag = |name: &str| schema[name] == true;
    let several = |name: &str| schema[name].as_array().into_iter().flatten().map(node).collect();
    let properties: HashMap<String, Node> = entries(&schema["properties"])
        .map(|(name, inner)| (name.clone(), node(inner)))
        .collect();
    Node {
        kind: schema["type"].as_str().and_then(kind),
        nullable: flag("nullable"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        properties,
        additional: match &schema["additionalProperties"] {
            Value::Bool(true) => Additional::Any,
            inner @ Value::Object(_) => Additional::Like(Box::new(node(inner))),
            _ => Additional::None,
        },
        items: schema
            .get("items")
            .filter(|items| items.is_object())
            .map(|items| Box::new(node(items))),
        list: list(schema),
        required: texts(&schema["required"]),
        default: schema.get("default").cloned(),
        checks: checks(schema),
        all_of: several("allOf"),
        any_of: several("anyOf"),
        one_of: several("oneOf"),
        not: schema
            .get("not")
            .filter(|not| not.is_object())
            .map(|not| Box::new(node(not))),
        rules: Vec::new(),
        has_rules: false,
    }
}

fn kind(name: &str) -> Option<Kind> {
    [
        Kind::Object,
        Kind::Array,
        Kind::String,
        Kind::Integer,
        Kind::Number,
        Kind::Boolean,
    ]
    .into_iter()
    .find(|kind| kind.name() == name)
}

fn list(schema: &Value) -> List {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => List::Set,
        Some("map") => List::Map(texts(&schema["x-kubernetes-list-map-keys"])),
        _ => List::Atomic,
    }
}

fn checks(schema: &Value) -> Checks {
    let size = |name: &str| schema[name].as_u64().and_then(|size| usize::try_from(size).ok());
    Checks {
        one_of: schema["enum"].as_array().cloned(),
        pattern: schema["pattern"]
            .as_str()
            .and_then(|text| Pattern::new(text).ok()),
        format: schema["format"].as_str().map(str::to_owned),
        minimum: schema["minimum"].as_f64(),
        maximum: schema["maximum"].as_f64(),
        exclusive_minimum: schema["exclusiveMinimum"] == true,
        exclusive_maximum: schema["exclusiveMaximum"] == true,
        multiple_of: schema["multipleOf"].as_f64(),
        min_length: size("minLength"),
        max_length: size("maxLength"),
        min_items: size("minItems"),
        max_items: size("maxItems"),
        min_properties: size("minProperties"),
        max_properties: size("maxProperties"),
    }
}

/// What Kubernetes refuses in a CRD's schema: places without a type, patterns that are none, contradictions.
pub(in crate::api) fn check(schema: &Value, path: &str, errors: &mut FieldErrors) {
    check_place(schema, path, true, errors);
}

/// `lasting`: what stands here can be recognised in the object's next version.
fn check_place(schema: &Value, path: &str, lasting: bool, errors: &mut FieldErrors) {
    let flag = |name: &str| schema[name] == true;
    let untyped = flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    match schema["type"].as_str() {
        None | Some("") if !untyped => {
            errors.required(
                format!("{path}.type"),
                "must not be empty for specified object fields",
            );
        }
        Some(name) if !name.is_empty() && kind(name).is_none() => {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            errors.not_supported(format!("{path}.type"), &schema["type"], &known);
        }
        _ => {}
    }
    if schema["properties"].is_object() && !schema["additionalProperties"].is_null() {
        errors.forbidden(
            format!("{path}.additionalProperties"),
            "additionalProperties and properties are mutual exclusive",
        );
    }
    if schema["type"] == "array" && !schema["items"].is_object() {
        errors.required(format!("{path}.items"), "must be specified");
    }
    pattern(schema, path, errors);
    rules::check(schema, path, lasting, errors);
    for (name, inner) in entries(&schema["properties"]) {
        // Kubernetes checks metadata itself; a schema may only narrow names.
        if path.ends_with("openAPIV3Schema") && name == "metadata" {
            continue;
        }
        check_place(inner, &format!("{path}.properties[{name}]"), lasting, errors);
    }
    for field in ["items", "additionalProperties"] {
        if schema[field].is_object() {
            let lasting = lasting && (field != "items" || matches!(list(schema), List::Map(_)));
            check_place(&schema[field], &format!("{path}.{field}"), lasting, errors);
        }
    }
}

fn pattern(schema: &Value, path: &str, errors: &mut FieldErrors) {
    if let Some(text) = schema["pattern"].as_str()
        && let Err(why) = Pattern::new(text)
    {
        let why = why.to_string().lines().last().unwrap_or_default().to_owned();
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(format!("{path}.pattern"), &schema["pattern"], &detail);
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in schema[junctor].as_array().into_iter().flatten().enumerate() {
            pattern(inner, &format!("{path}.{junctor}[{index}]"), errors);
        }
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}
