//! The rules of a custom resource, from its structural schema.

use serde_json::Value;

use super::built_in;
use super::rule::{Field, Fields, Key, Keyed, Rule};

/// The rule of an object with this `openAPIV3Schema`; without one nothing is known.
pub fn from_openapi(schema: &Value) -> Rule {
    let mut rule = if schema.is_object() {
        rule(schema)
    } else {
        Rule::Open
    };
    if let Rule::Open = rule {
        rule = Rule::Fields(Box::new(Fields {
            others: Some(Rule::Open),
            ..Fields::default()
        }));
    }
    if let Rule::Fields(fields) = &mut rule {
        for name in ["apiVersion", "kind"] {
            fields.known.insert(name.to_owned(), Field::default());
        }
        let metadata = Field {
            rule: built_in::root("meta", "ObjectMeta").unwrap_or_default(),
            always: true,
            patch: None,
        };
        fields.known.insert("metadata".to_owned(), metadata);
    }
    rule
}

fn rule(schema: &Value) -> Rule {
    let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if schema["x-kubernetes-int-or-string"] == true {
        return Rule::Whole;
    }
    match schema["type"].as_str() {
        Some("object") if schema["x-kubernetes-map-type"] == "atomic" => Rule::Whole,
        Some("object") => object(schema, preserves),
        Some("array") => list(schema),
        Some("") | None if preserves => Rule::Open,
        _ => Rule::Whole,
    }
}

fn object(schema: &Value, preserves: bool) -> Rule {
    let properties = schema["properties"].as_object();
    let known = properties.into_iter().flatten().map(|(name, inner)| {
        let field = Field {
            rule: rule(inner),
            ..Field::default()
        };
        (name.clone(), field)
    });
    let others = match &schema["additionalProperties"] {
        inner @ Value::Object(_) => Some(rule(inner)),
        Value::Bool(true) => Some(Rule::Open),
        _ if preserves => Some(Rule::Open),
        _ => None,
    };
    if properties.is_none_or(serde_json::Map::is_empty) && matches!(others, Some(Rule::Open)) {
        return Rule::Open;
    }
    Rule::Fields(Box::new(Fields {
        known: known.collect(),
        others,
    }))
}

fn list(schema: &Value) -> Rule {
    let items = &schema["items"];
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Rule::Set,
        Some("map") => {
            let names = schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten();
            let keys = names.filter_map(Value::as_str).map(|name| Key {
                name: name.to_owned(),
                default: items["properties"][name].get("default").cloned(),
            });
            Rule::Keyed(Box::new(Keyed {
                keys: keys.collect(),
                item: rule(items),
            }))
        }
        _ => Rule::Whole,
    }
}
