//! Arithmetic, comparison, membership. Integers never wrap around.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::eval::{Outcome, failed};
use super::super::value::Value;

pub(in super::super) fn unary(name: &str, of: &Value) -> Outcome {
    match (name, of) {
        ("!_", Value::Bool(value)) => Ok(Value::Bool(!value)),
        ("-_", Value::Int(number)) => number.checked_neg().map(Value::Int).map_or_else(overflow, Ok),
        ("-_", Value::Double(number)) => Ok(Value::Double(-number)),
        _ => failed(format!("no such overload: {name}({})", of.type_name())),
    }
}

pub(in super::super) fn binary(name: &str, left: &Value, right: &Value) -> Outcome {
    let ordered = |fits: fn(Ordering) -> bool| match left.order(right) {
        Some(order) => Ok(Value::Bool(fits(order))),
        None if matches!((left, right), (Value::Double(_), _) | (_, Value::Double(_))) => {
            Ok(Value::Bool(false))
        }
        None => no_overload(name, left, right),
    };
    match name {
        "_==_" => Ok(Value::Bool(left == right)),
        "_!=_" => Ok(Value::Bool(left != right)),
        "_<_" => ordered(Ordering::is_lt),
        "_<=_" => ordered(Ordering::is_le),
        "_>_" => ordered(Ordering::is_gt),
        "_>=_" => ordered(Ordering::is_ge),
        "@in" => match right {
            Value::List(items) => Ok(Value::Bool(items.contains(left))),
            Value::Map(entries) => Ok(Value::Bool(entries.iter().any(|(key, _)| key == left))),
            _ => no_overload(name, left, right),
        },
        _ => arithmetic(name, left, right),
    }
}

fn arithmetic(name: &str, left: &Value, right: &Value) -> Outcome {
    use Value::{Bytes, Double, Duration, Int, List, String, Timestamp, Uint};
    match (left, right) {
        (Int(a), Int(b)) => {
            if *b == 0 && matches!(name, "_/_" | "_%_") {
                return by_zero(name);
            }
            let number = match name {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            number.map(Int).map_or_else(overflow, Ok)
        }
        (Uint(a), Uint(b)) => {
            if *b == 0 && matches!(name, "_/_" | "_%_") {
                return by_zero(name);
            }
            let number = match name {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            number.map(Uint).map_or_else(overflow, Ok)
        }
        (Double(a), Double(b)) => match name {
            "_+_" => Ok(Double(a + b)),
            "_-_" => Ok(Double(a - b)),
            "_*_" => Ok(Double(a * b)),
            "_/_" => Ok(Double(a / b)),
            _ => no_overload(name, left, right),
        },
        (String(a), String(b)) if name == "_+_" => Ok(Value::text(format!("{a}{b}"))),
        (Bytes(a), Bytes(b)) if name == "_+_" => Ok(Bytes([&**a, &**b].concat().into())),
        (List(a), List(b)) if name == "_+_" => {
            let mut all = Vec::clone(a);
            all.extend(b.iter().cloned());
            Ok(List(Arc::new(all)))
        }
        (Timestamp(at), Duration(time)) if name == "_+_" => Ok(Timestamp(at.saturating_add(*time))),
        (Duration(time), Timestamp(at)) if name == "_+_" => Ok(Timestamp(at.saturating_add(*time))),
        (Timestamp(at), Duration(time)) if name == "_-_" => Ok(Timestamp(at.saturating_sub(*time))),
        (Timestamp(a), Timestamp(b)) if name == "_-_" => Ok(Duration(a.saturating_sub(*b))),
        (Duration(a), Duration(b)) if name == "_+_" => Ok(Duration(a.saturating_add(*b))),
        (Duration(a), Duration(b)) if name == "_-_" => Ok(Duration(a.saturating_sub(*b))),
        _ => no_overload(name, left, right),
    }
}

fn overflow() -> Outcome {
    failed("integer overflow")
}

fn by_zero(name: &str) -> Outcome {
    failed(if name == "_/_" {
        "division by zero"
    } else {
        "modulus by zero"
    })
}

fn no_overload(name: &str, left: &Value, right: &Value) -> Outcome {
    failed(format!(
        "no such overload: {name}({}, {})",
        left.type_name(),
        right.type_name()
    ))
}
