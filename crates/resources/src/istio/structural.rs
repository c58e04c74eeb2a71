//! From what `schemars` generates to what Kubernetes accepts as a structural schema: no references, no `null`
//! types, no defaults, only formats that the API server knows, one-ofs made of `required` and `not` alone.
//!
//! Rules: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.

use schemars::generate::SchemaSettings;
use schemars::transform::Transform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// The structural schema of a type.
pub(crate) fn structural_schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    schema
}

fn simplify(schema: &mut Value) {
    let Value::Object(keywords) = schema else { return };
    for keyword in ["default", "title", "$schema", "additionalItems"] {
        keywords.remove(keyword);
    }
    unwrap_optional(keywords);
    without_null(keywords);
    known_format(keywords);
    one_line(keywords);
    for keyword in ["properties", "patternProperties"] {
        if let Some(Value::Object(properties)) = keywords.get_mut(keyword) {
            properties.values_mut().for_each(simplify);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = keywords.get_mut(keyword) {
            simplify(inner);
        }
    }
}

/// `anyOf: [X, null]`, from an optional enum or structure, is X.
fn unwrap_optional(keywords: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = keywords.get("anyOf") else {
        return;
    };
    let Some(null) = choices
        .iter()
        .position(|choice| choice == &json!({"type": "null"}))
    else {
        return;
    };
    let inner = choices.iter().enumerate().find(|(position, _)| *position != null);
    let Some(Value::Object(inner)) = inner.map(|(_, inner)| inner.clone()) else {
        return;
    };
    keywords.remove("anyOf");
    for (keyword, value) in inner {
        // The description of the field is nearer to the reader than that of its type.
        keywords.entry(keyword).or_insert(value);
    }
}

fn without_null(keywords: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = keywords.get("type")
        && let Some(only) = types.iter().find(|name| *name != "null").cloned()
    {
        keywords.insert("type".into(), only);
    }
    if let Some(Value::Array(values)) = keywords.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// `uint32` and its like become ranges, which every version of Kubernetes checks.
fn known_format(keywords: &mut Map<String, Value>) {
    let Some(Value::String(format)) = keywords.get("format").cloned() else {
        return;
    };
    let maximum = match format.as_str() {
        "uint8" => u64::from(u8::MAX),
        "uint16" => u64::from(u16::MAX),
        "uint32" => u64::from(u32::MAX),
        "uint64" => 0,
        _ => return,
    };
    keywords.remove("format");
    keywords.entry("minimum").or_insert(json!(0));
    if maximum > 0 {
        keywords.entry("maximum").or_insert(json!(maximum));
    }
}

/// Comments are wrapped at the margin of the source, descriptions are not.
fn one_line(keywords: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = keywords.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// At most one of these fields, parted by spaces, may be present.
#[derive(Clone)]
pub(crate) struct AtMostOneOf(pub(crate) &'static str);

impl Transform for AtMostOneOf {
    fn transform(&mut self, schema: &mut Schema) {
        let each: Vec<Value> = self
            .0
            .split(' ')
            .map(|name| json!({"required": [name]}))
            .collect();
        let none = json!({"not": {"anyOf": each}});
        let choices: Vec<Value> = std::iter::once(none).chain(each).collect();
        // Two one-ofs on one object stand side by side in an `allOf`.
        match schema.remove("oneOf") {
            Some(first) => schema.insert("allOf".into(), json!([{"oneOf": first}, {"oneOf": choices}])),
            None => schema.insert("oneOf".into(), choices.into()),
        };
    }
}

/// Values of a map are label values: at most 63 characters.
pub(crate) fn label_values(schema: &mut Schema) {
    if let Some(Value::Object(values)) = schema.get_mut("additionalProperties") {
        values.insert("maxLength".into(), json!(63));
    }
}
