//! Kubernetes' quantities: `quantity("1.5Gi").isLessThan(quantity("2G"))`.

use super::super::eval::{Outcome, failed};
use super::super::value::Value;
use super::{Signature, yes};
use crate::api::validate::quantity::{self, Quantity};

pub(super) const FUNCTIONS: &[Signature] = &[
    ("quantity", false, 1..=1),
    ("isQuantity", false, 1..=1),
    ("sign", true, 0..=0),
    ("isInteger", true, 0..=0),
    ("asInteger", true, 0..=0),
    ("asApproximateFloat", true, 0..=0),
    ("add", true, 1..=1),
    ("sub", true, 1..=1),
    ("isLessThan", true, 1..=1),
    ("isGreaterThan", true, 1..=1),
    ("compareTo", true, 1..=1),
];

pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Outcome> {
    use Value::{Int, Quantity as One, String};
    Some(match (name, arguments) {
        ("quantity", [String(text)]) => {
            quantity::parse(text).map_or_else(|| failed(quantity::MALFORMED), |one| Ok(One(one)))
        }
        ("isQuantity", [String(text)]) => yes(quantity::parse(text).is_some()),
        ("sign", [One(one)]) => Ok(Int(i64::try_from(one.nanos().signum()).unwrap_or(0))),
        ("isInteger", [One(one)]) => yes(one.whole().is_some()),
        ("asInteger", [One(one)]) => one.whole().map_or_else(
            || failed("cannot convert value to integer"),
            |number| Ok(Int(number)),
        ),
        ("asApproximateFloat", [One(one)]) => Ok(Value::Double(approximate(*one))),
        ("isLessThan", [One(a), One(b)]) => yes(a < b),
        ("isGreaterThan", [One(a), One(b)]) => yes(a > b),
        ("compareTo", [One(a), One(b)]) => Ok(Int(a.nanos().cmp(&b.nanos()) as i64)),
        ("add" | "sub", [One(a), other]) => {
            let b = match other {
                One(b) => b.nanos(),
                Int(number) => i128::from(*number) * 1_000_000_000,
                _ => return None,
            };
            Ok(One(a.with(if name == "add" {
                a.nanos().saturating_add(b)
            } else {
                a.nanos().saturating_sub(b)
            })))
        }
        _ => return None,
    })
}

#[allow(clippy::cast_precision_loss, reason = "the function says so in its name")]
fn approximate(one: Quantity) -> f64 {
    one.nanos() as f64 / 1e9
}
