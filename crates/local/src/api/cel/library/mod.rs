//! Functions and operators: CEL's own, its extensions for strings, and what Kubernetes adds (lists, regular
//! expressions, URLs, addresses, quantities). What is not here is refused when an expression is compiled.

mod convert;
mod lists;
mod network;
mod operators;
mod quantities;
mod strings;
mod times;

use std::sync::Arc;

use super::eval::{Outcome, Run, failed};
use super::value::Value;

pub(super) use operators::{binary, unary};

/// A function: its name, whether it belongs to a value, and how many arguments it takes besides.
type Signature = (&'static str, bool, std::ops::RangeInclusive<usize>);

const FUNCTIONS: &[&[Signature]] = &[
    &[
        ("size", false, 1..=1),
        ("size", true, 0..=0),
        ("type", false, 1..=1),
        ("dyn", false, 1..=1),
        ("optional.of", false, 1..=1),
        ("optional.ofNonZeroValue", false, 1..=1),
        ("optional.none", false, 0..=0),
        ("hasValue", true, 0..=0),
        ("value", true, 0..=0),
        ("or", true, 1..=1),
        ("orValue", true, 1..=1),
    ],
    convert::FUNCTIONS,
    lists::FUNCTIONS,
    network::FUNCTIONS,
    quantities::FUNCTIONS,
    strings::FUNCTIONS,
    times::FUNCTIONS,
];

/// Names of types, which are values.
const TYPES: [&str; 10] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];

pub(super) fn type_named(name: &str) -> Option<&'static str> {
    TYPES.into_iter().find(|one| *one == name)
}

/// Whether a name such as `sets.contains` is a function.
pub(super) fn is_global(name: &str) -> bool {
    signatures().any(|(one, member, _)| *one == name && !member)
}

/// Whether there is such a function, and if not, whether there is one of that name.
pub(super) fn takes(name: &str, member: bool, arguments: usize) -> Result<(), bool> {
    let mut named = signatures().filter(|(one, ..)| *one == name).peekable();
    let known = named.peek().is_some();
    if named.any(|(_, its, counts)| *its == member && counts.contains(&arguments)) {
        return Ok(());
    }
    Err(known)
}

fn signatures() -> impl Iterator<Item = &'static Signature> {
    FUNCTIONS.iter().flat_map(|list| list.iter())
}

/// Calls a function; of a `member` the first argument is its value.
pub(super) fn call(run: &mut Run<'_>, name: &str, member: bool, arguments: &[Value]) -> Outcome {
    match (name, arguments) {
        ("size", [of]) => size(of),
        ("type", [of]) => Ok(Value::Type(of.type_name())),
        ("dyn", [of]) => Ok(of.clone()),
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("optional.of", [of]) => Ok(Value::Optional(Some(Arc::new(of.clone())))),
        ("optional.ofNonZeroValue", [of]) => {
            let given = !is_zero(of);
            Ok(Value::Optional(given.then(|| Arc::new(of.clone()))))
        }
        ("hasValue", [Value::Optional(of)]) => Ok(Value::Bool(of.is_some())),
        ("value", [Value::Optional(of)]) => match of {
            Some(of) => Ok(Value::clone(of)),
            None => failed("optional.none() dereference"),
        },
        _ => {
            let found = convert::call(name, arguments)
                .or_else(|| strings::call(run, name, arguments))
                .or_else(|| lists::call(name, arguments))
                .or_else(|| network::call(name, arguments))
                .or_else(|| quantities::call(name, arguments))
                .or_else(|| times::call(name, arguments));
            found.unwrap_or_else(|| no_overload(name, member, arguments))
        }
    }
}

fn no_overload(name: &str, member: bool, arguments: &[Value]) -> Outcome {
    let types: Vec<&str> = arguments.iter().map(Value::type_name).collect();
    failed(match types.split_first() {
        Some((of, rest)) if member => format!("no such overload: {of}.{name}({})", rest.join(", ")),
        _ => format!("no such overload: {name}({})", types.join(", ")),
    })
}

fn size(of: &Value) -> Outcome {
    let size = match of {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        other => return no_overload("size", false, std::slice::from_ref(other)),
    };
    int(size)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        _ => false,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the form of every function")]
fn int(number: usize) -> Outcome {
    Ok(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)))
}

#[allow(clippy::unnecessary_wraps, reason = "the form of every function")]
fn yes(value: bool) -> Outcome {
    Ok(Value::Bool(value))
}

#[allow(clippy::unnecessary_wraps, reason = "the form of every function")]
fn text(value: impl AsRef<str>) -> Outcome {
    Ok(Value::text(value))
}
