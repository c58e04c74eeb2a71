//! Judges a value by a schema, in the words of Kubernetes' OpenAPI validation.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Additional, Checks, Kind, List, Node, formats};
use crate::api::field::{FieldErrors, go_quote};

pub(super) fn value(node: &Node, value: &Value, path: &str, errors: &mut FieldErrors) {
    if value.is_null() && node.nullable {
        return;
    }
    if !fits_kind(node, value) {
        let wanted = node.kind.map_or("integer or string", Kind::name);
        let given = type_name(value);
        let detail = format!("{path} in body must be of type {wanted}: {}", go_quote(given));
        errors.type_invalid(path, &go_quote(given), &detail);
        return;
    }
    if let Some(allowed) = &node.checks.one_of
        && !allowed.contains(value)
    {
        let shown: Vec<String> = allowed
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect();
        errors.not_supported(path, value, &shown.iter().map(String::as_str).collect::<Vec<_>>());
    }
    match value {
        Value::String(text) => string(&node.checks, text, path, errors),
        Value::Number(_) => number(&node.checks, value, path, errors),
        Value::Array(items) => array(node, items, path, errors),
        Value::Object(_) => object(node, value, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
    junctors(node, value, path, errors);
}

fn fits_kind(node: &Node, value: &Value) -> bool {
    if node.int_or_string {
        return value.is_string() || is_whole(value);
    }
    match node.kind {
        None => !value.is_null() || node.preserve_unknown,
        Some(Kind::Object) => value.is_object(),
        Some(Kind::Array) => value.is_array(),
        Some(Kind::String) => value.is_string(),
        Some(Kind::Boolean) => value.is_boolean(),
        Some(Kind::Number) => value.is_number(),
        Some(Kind::Integer) => is_whole(value),
    }
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn string(checks: &Checks, text: &str, path: &str, errors: &mut FieldErrors) {
    let given = || Value::from(text);
    let length = text.chars().count();
    if let Some(limit) = checks.max_length.filter(|limit| length > *limit) {
        errors.too_long(path, limit);
    }
    if let Some(limit) = checks.min_length.filter(|limit| length < *limit) {
        errors.invalid(
            path,
            &given(),
            &format!("{path} in body should be at least {limit} chars long"),
        );
    }
    if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
        errors.invalid(
            path,
            &given(),
            &format!("{path} in body should match '{}'", pattern.text),
        );
    }
    if let Some(format) = checks
        .format
        .as_ref()
        .filter(|format| !formats::string_fits(format, text))
    {
        let detail = format!("{path} in body must be of type {format}: {}", go_quote(text));
        errors.type_invalid(path, &go_quote(text), &detail);
    }
}

fn number(checks: &Checks, value: &Value, path: &str, errors: &mut FieldErrors) {
    let number = value.as_f64().unwrap_or_default();
    let mut wrong = |what: String| errors.invalid(path, value, &format!("{path} in body should be {what}"));
    match checks.minimum {
        Some(limit) if checks.exclusive_minimum && number <= limit => wrong(format!("greater than {limit}")),
        Some(limit) if number < limit => wrong(format!("greater than or equal to {limit}")),
        _ => {}
    }
    match checks.maximum {
        Some(limit) if checks.exclusive_maximum && number >= limit => wrong(format!("less than {limit}")),
        Some(limit) if number > limit => wrong(format!("less than or equal to {limit}")),
        _ => {}
    }
    if let Some(unit) = checks
        .multiple_of
        .filter(|unit| *unit > 0.0 && (number / unit).fract() != 0.0)
    {
        wrong(format!("a multiple of {unit}"));
    }
    if let Some(format) = checks
        .format
        .as_ref()
        .filter(|format| !formats::number_fits(format, number))
    {
        wrong(format!("of type {format}"));
    }
}

fn array(node: &Node, items: &[Value], path: &str, errors: &mut FieldErrors) {
    if let Some(limit) = node.checks.max_items.filter(|limit| items.len() > *limit) {
        errors.too_many(path, items.len(), limit);
    }
    if let Some(limit) = node.checks.min_items.filter(|limit| items.len() < *limit) {
        let detail = format!("{path} in body should have at least {limit} items");
        errors.invalid(path, &json!(items.len()), &detail);
    }
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("{path}[{index}]");
        if let Some(known) = &node.items {
            value(known, item, &at, errors);
        }
        let key = match &node.list {
            List::Atomic => continue,
            List::Set => item.clone(),
            List::Map(keys) => {
                let named = |key: &String| Some((key.clone(), map_key(node, item, key)?));
                Value::Object(keys.iter().filter_map(named).collect())
            }
        };
        if !seen.insert(key.to_string()) {
            errors.duplicate(at, &key);
        }
    }
}

/// The key of an item; an absent one counts as its default.
fn map_key(node: &Node, item: &Value, key: &str) -> Option<Value> {
    let default = || node.items.as_ref()?.properties.get(key)?.default.clone();
    item.get(key).cloned().or_else(default)
}

fn object(node: &Node, given: &Value, path: &str, errors: &mut FieldErrors) {
    let Some(fields) = given.as_object() else { return };
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    if let Some(limit) = node.checks.max_properties.filter(|limit| fields.len() > *limit) {
        errors.too_many(path, fields.len(), limit);
    }
    if let Some(limit) = node.checks.min_properties.filter(|limit| fields.len() < *limit) {
        let detail = format!("{path} in body should have at least {limit} properties");
        errors.invalid(path, &json!(fields.len()), &detail);
    }
    for name in node.required.iter().filter(|name| !fields.contains_key(*name)) {
        errors.required(below(name), "");
    }
    for (name, inner) in fields {
        match (node.properties.get(name), &node.additional) {
            (Some(known), _) => value(known, inner, &below(name), errors),
            (None, Additional::Like(known)) => value(known, inner, &below(name), errors),
            (None, Additional::Any | Additional::None) => {}
        }
    }
}

fn junctors(node: &Node, given: &Value, path: &str, errors: &mut FieldErrors) {
    let fits = |inner: &Node| {
        let mut found = FieldErrors::default();
        value(inner, given, path, &mut found);
        found.is_empty()
    };
    let mut wrong = |what: &str| errors.invalid("<nil>", &json!(""), &format!("{} {what}", go_quote(path)));
    if !node.any_of.is_empty() && !node.any_of.iter().any(fits) {
        wrong("must validate at least one schema (anyOf)");
    }
    if !node.one_of.is_empty() {
        match node.one_of.iter().filter(|inner| fits(inner)).count() {
            0 => wrong("must validate one and only one schema (oneOf). Found none valid"),
            1 => {}
            several => wrong(&format!(
                "must validate one and only one schema (oneOf). Found {several} valid alternatives"
            )),
        }
    }
    if !node.all_of.iter().all(fits) {
        wrong("must validate all the schemas (allOf)");
    }
    if node.not.as_deref().is_some_and(fits) {
        wrong("must not validate the schema (not)");
    }
    for inner in &node.all_of {
        value(inner, given, path, errors);
    }
}
