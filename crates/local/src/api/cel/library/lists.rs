//! Lists and sets.

use super::super::eval::{Outcome, failed};
use super::super::value::Value;
use super::{Signature, operators, yes};

pub(super) const FUNCTIONS: &[Signature] = &[
    ("isSorted", true, 0..=0),
    ("sum", true, 0..=0),
    ("min", true, 0..=0),
    ("max", true, 0..=0),
    ("sets.contains", false, 2..=2),
    ("sets.equivalent", false, 2..=2),
    ("sets.intersects", false, 2..=2),
];

pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Outcome> {
    use Value::List;
    let contains = |all: &[Value], some: &[Value]| some.iter().all(|item| all.contains(item));
    Some(match (name, arguments) {
        ("isSorted", [List(items)]) => yes(items
            .windows(2)
            .all(|pair| pair[0].order(&pair[1]).is_some_and(|order| order.is_le()))),
        ("sum", [List(items)]) => {
            // Joining texts or lists one by one would copy the whole for each.
            if items
                .iter()
                .any(|item| matches!(item, Value::String(_) | Value::Bytes(_) | List(_)))
            {
                return None;
            }
            let mut items = items.iter();
            let first = items.next().cloned().unwrap_or(Value::Int(0));
            items.try_fold(first, |sum, item| operators::binary("_+_", &sum, item))
        }
        ("min", [List(items)]) => extreme(items, "min", std::cmp::Ordering::is_lt),
        ("max", [List(items)]) => extreme(items, "max", std::cmp::Ordering::is_gt),
        ("indexOf", [List(items), wanted]) => position(items.iter().position(|item| item == wanted)),
        ("lastIndexOf", [List(items), wanted]) => position(items.iter().rposition(|item| item == wanted)),
        ("sets.contains", [List(all), List(some)]) => yes(contains(all, some)),
        ("sets.equivalent", [List(a), List(b)]) => yes(contains(a, b) && contains(b, a)),
        ("sets.intersects", [List(a), List(b)]) => yes(a.iter().any(|item| b.contains(item))),
        _ => return None,
    })
}

fn extreme(items: &[Value], name: &str, better: fn(std::cmp::Ordering) -> bool) -> Outcome {
    let mut items = items.iter();
    let Some(mut best) = items.next() else {
        return failed(format!("{name} called on empty list"));
    };
    for item in items {
        if item.order(best).is_some_and(better) {
            best = item;
        }
    }
    Ok(best.clone())
}

#[allow(clippy::unnecessary_wraps, reason = "the form of every function")]
fn position(found: Option<usize>) -> Outcome {
    Ok(Value::Int(
        found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1),
    ))
}
