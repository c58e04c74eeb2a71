//! Structural schemas of CustomResourceDefinitions: what fields there are, which values fit, which are filled in.
//!
//! A schema is read once, when its CRD is; patterns are compiled then. Only the skeleton (`properties`, `items`,
//! `additionalProperties`) says which fields exist and have defaults; `allOf`, `anyOf`, `oneOf` and `not` only judge
//! values. So do `x-kubernetes-validations`, in CEL.

mod formats;
mod pattern;
mod read;
mod rules;
mod validate;

#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::decode::Step;
use super::field::FieldErrors;
use pattern::Pattern;

pub(super) use read::check;

/// The schema of one version of a CRD.
#[derive(Debug)]
pub struct Schema(Node);

/// What holds for one place of an object.
#[derive(Debug, Default)]
struct Node {
    kind: Option<Kind>,
    nullable: bool,
    int_or_string: bool,
    preserve_unknown: bool,
    embedded: bool,
    properties: HashMap<String, Node>,
    additional: Additional,
    items: Option<Box<Node>>,
    list: List,
    required: Vec<String>,
    default: Option<Value>,
    checks: Checks,
    all_of: Vec<Node>,
    any_of: Vec<Node>,
    one_of: Vec<Node>,
    not: Option<Box<Node>>,
    rules: Vec<rules::Rule>,
    /// Here or below.
    has_rules: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// Fields beyond `properties`.
#[derive(Debug, Default)]
enum Additional {
    #[default]
    None,
    Any,
    Like(Box<Node>),
}

/// How the items of a list relate (`x-kubernetes-list-type`).
#[derive(Debug, Default)]
enum List {
    #[default]
    Atomic,
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

/// What a value must satisfy beyond its type.
#[derive(Debug, Default)]
struct Checks {
    one_of: Option<Vec<Value>>,
    pattern: Option<Pattern>,
    format: Option<String>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    min_properties: Option<usize>,
    max_properties: Option<usize>,
}

/// What every object has, whatever its schema says.
const ENVELOPE: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Reads `openAPIV3Schema`; a CRD that passed validation has no problems here.
    pub fn from_openapi(schema: &Value) -> Self {
        Self(read::root(schema))
    }

    /// Fields that the schema does not know, to be dropped or refused.
    pub fn unknown_fields(&self, object: &Value) -> Vec<Vec<Step>> {
        let mut found = Vec::new();
        unknown(&self.0, object, &mut Vec::new(), &mut found);
        found
    }

    /// Fills in defaults, top down, so that a default may have defaults within.
    pub fn set_defaults(&self, object: &mut Value) {
        fill(&self.0, object);
    }

    /// What does not fit, in the words of the real server; on an update `old` is what the object was.
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        validate::value(&self.0, object, "", errors);
        rules::validate(&self.0, object, old, errors);
    }
}

fn unknown(node: &Node, value: &Value, at: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if node.embedded && ENVELOPE.contains(&name.as_str()) {
                    continue;
                }
                at.push(Step::Field(name.clone()));
                match (node.properties.get(name), &node.additional) {
                    (Some(known), _) => unknown(known, inner, at, found),
                    (None, Additional::Like(known)) => unknown(known, inner, at, found),
                    (None, Additional::None) if !node.preserve_unknown => found.push(at.clone()),
                    (None, _) => {}
                }
                at.pop();
            }
        }
        Value::Array(items) => {
            let Some(known) = &node.items else { return };
            for (index, item) in items.iter().enumerate() {
                at.push(Step::Index(index));
                unknown(known, item, at, found);
                at.pop();
            }
        }
        _ => {}
    }
}

fn fill(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, known) in &node.properties {
                fill_field(known, name, fields);
            }
            if let Additional::Like(known) = &node.additional {
                let others = fields
                    .iter_mut()
                    .filter(|(name, _)| !node.properties.contains_key(*name));
                others.for_each(|(_, inner)| fill(known, inner));
            }
        }
        Value::Array(items) => {
            if let Some(known) = &node.items {
                items.iter_mut().for_each(|item| fill(known, item));
            }
        }
        _ => {}
    }
}

/// A null that may not be one counts as absent when there is a default.
fn fill_field(known: &Node, name: &str, fields: &mut Map<String, Value>) {
    if let Some(default) = &known.default
        && fields
            .get(name)
            .is_none_or(|given| given.is_null() && !known.nullable)
    {
        fields.insert(name.to_owned(), default.clone());
    }
    if let Some(inner) = fields.get_mut(name) {
        fill(known, inner);
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// A schema that takes anything, for CRDs of which only the outline is known.
impl Default for Schema {
    fn default() -> Self {
        Self::from_openapi(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
    }
}
