//! Texts: CEL's functions, its string extension, and Kubernetes' `find` and `findAll`. Positions count letters.

use super::super::eval::{Outcome, Run, failed};
use super::super::value::Value;
use super::{Signature, text, yes};
use crate::api::field::go_quote;

pub(super) const FUNCTIONS: &[Signature] = &[
    ("contains", true, 1..=1),
    ("startsWith", true, 1..=1),
    ("endsWith", true, 1..=1),
    ("matches", true, 1..=1),
    ("matches", false, 2..=2),
    ("find", true, 1..=1),
    ("findAll", true, 1..=2),
    ("charAt", true, 1..=1),
    ("indexOf", true, 1..=2),
    ("lastIndexOf", true, 1..=2),
    ("lowerAscii", true, 0..=0),
    ("upperAscii", true, 0..=0),
    ("trim", true, 0..=0),
    ("reverse", true, 0..=0),
    ("replace", true, 2..=3),
    ("split", true, 1..=2),
    ("substring", true, 1..=2),
    ("join", true, 0..=1),
    ("format", true, 1..=1),
    ("strings.quote", false, 1..=1),
];

pub(super) fn call(run: &mut Run<'_>, name: &str, arguments: &[Value]) -> Option<Outcome> {
    use Value::{Int, List, String};
    Some(match (name, arguments) {
        ("contains", [String(of), String(part)]) => yes(of.contains(&**part)),
        ("startsWith", [String(of), String(part)]) => yes(of.starts_with(&**part)),
        ("endsWith", [String(of), String(part)]) => yes(of.ends_with(&**part)),
        ("matches", [String(of), String(pattern)]) => {
            run.pattern(pattern).map(|regex| Value::Bool(regex.is_match(of)))
        }
        ("find", [String(of), String(pattern)]) => run
            .pattern(pattern)
            .map(|regex| Value::text(regex.find(of).map_or("", |found| found.as_str()))),
        ("findAll", [String(of), String(pattern), rest @ ..]) => {
            let limit = match rest {
                [Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            run.pattern(pattern).map(|regex| {
                let found = regex.find_iter(of).take(limit);
                Value::list(found.map(|found| Value::text(found.as_str())).collect())
            })
        }
        ("charAt", [String(of), Int(at)]) => char_at(of, *at),
        ("indexOf", [String(of), String(part), rest @ ..]) => match rest {
            [Int(from)] => index_of(of, part, *from),
            _ => index_of(of, part, 0),
        },
        ("lastIndexOf", [String(of), String(part)]) => {
            Ok(Int(of.rfind(&**part).map_or(-1, |at| letters(&of[..at]))))
        }
        ("lowerAscii", [String(of)]) => text(of.to_ascii_lowercase()),
        ("upperAscii", [String(of)]) => text(of.to_ascii_uppercase()),
        ("trim", [String(of)]) => text(of.trim()),
        ("reverse", [String(of)]) => text(of.chars().rev().collect::<std::string::String>()),
        ("replace", [String(of), String(from), String(to)]) => bounded(of, from, to, usize::MAX),
        ("replace", [String(of), String(from), String(to), Int(limit)]) => {
            bounded(of, from, to, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        ("split", [String(of), String(by)]) => split(of, by, -1),
        ("split", [String(of), String(by), Int(limit)]) => split(of, by, *limit),
        ("substring", [String(of), Int(from)]) => substring(of, *from, letters(of)),
        ("substring", [String(of), Int(from), Int(to)]) => substring(of, *from, *to),
        ("join", [List(items)]) => join(items, ""),
        ("join", [List(items), String(by)]) => join(items, by),
        ("format", [String(of), List(items)]) => format(of, items),
        ("strings.quote", [String(of)]) => text(go_quote(of)),
        _ => return None,
    })
}

fn letters(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// Where a letter begins; the end counts as one.
fn offset(text: &str, at: i64) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    let ends = text.char_indices().map(|(offset, _)| offset);
    ends.chain([text.len()]).nth(at)
}

fn char_at(of: &str, at: i64) -> Outcome {
    match offset(of, at) {
        Some(begin) => text(of[begin..].chars().next().map(String::from).unwrap_or_default()),
        None => failed(format!("index out of range: {at}")),
    }
}

fn index_of(of: &str, part: &str, from: i64) -> Outcome {
    let Some(begin) = offset(of, from) else {
        return failed(format!("index out of range: {from}"));
    };
    let found = of[begin..].find(part);
    Ok(Value::Int(found.map_or(-1, |at| letters(&of[..begin + at]))))
}

fn substring(of: &str, from: i64, to: i64) -> Outcome {
    match (offset(of, from), offset(of, to)) {
        (Some(begin), Some(end)) if begin <= end => text(&of[begin..end]),
        (None, _) => failed(format!("index out of range: {from}")),
        (_, None) => failed(format!("index out of range: {to}")),
        _ => failed(format!("invalid substring range. start: {from}, end: {to}")),
    }
}

/// A text may grow a lot by replacing and joining; not beyond what a request may hold.
const LIMIT: usize = 3 << 20;

fn bounded(of: &str, from: &str, to: &str, limit: usize) -> Outcome {
    let count = of.matches(from).take(limit).count();
    if count.saturating_mul(to.len()).saturating_add(of.len()) > LIMIT {
        return failed("the result of replace is too long");
    }
    text(of.replacen(from, to, limit))
}

fn split(of: &str, by: &str, limit: i64) -> Outcome {
    let parts: Vec<Value> = match usize::try_from(limit) {
        Ok(0) => Vec::new(),
        _ if by.is_empty() => of.chars().map(|letter| Value::text(letter.to_string())).collect(),
        Ok(limit) => of.splitn(limit, by).map(Value::text).collect(),
        Err(_) => of.split(by).map(Value::text).collect(),
    };
    Ok(Value::list(parts))
}

fn join(items: &[Value], by: &str) -> Outcome {
    let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    texts.map_or_else(
        || failed("no such overload: list.join of items that are no strings"),
        |texts| {
            let between = by.len().saturating_mul(texts.len());
            let length = texts
                .iter()
                .fold(between, |sum, text| sum.saturating_add(text.len()));
            if length > LIMIT {
                return failed("the result of join is too long");
            }
            text(texts.join(by))
        },
    )
}

/// `%s`, `%d`, `%f` with digits, `%e`, `%x`, `%X`, `%o`, `%b` and `%%`.
fn format(of: &str, items: &[Value]) -> Outcome {
    let mut out = String::new();
    let mut items = items.iter();
    let mut rest = of;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let digits = rest
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let precision: usize = rest[..digits].trim_start_matches('.').parse().unwrap_or(6);
        let clause = rest[digits..].chars().next().unwrap_or(' ');
        rest = rest.get(digits + clause.len_utf8()..).unwrap_or_default();
        let Some(item) = items.next() else {
            return failed("error during formatting: index out of range");
        };
        match formatted(clause, precision.min(40), item) {
            Some(text) => out.push_str(&text),
            None => {
                let kind = item.type_name();
                return failed(format!(
                    "error during formatting: %{clause} does not take a {kind}"
                ));
            }
        }
    }
    out.push_str(rest);
    text(out)
}

fn formatted(clause: char, precision: usize, item: &Value) -> Option<String> {
    Some(match (clause, item) {
        ('s', item) => item.to_string(),
        ('d', Value::Int(_) | Value::Uint(_)) => item.to_string(),
        ('f', Value::Double(number)) => format!("{number:.precision$}"),
        ('e', Value::Double(number)) => format!("{number:.precision$e}"),
        ('x', Value::Int(number)) => format!("{number:x}"),
        ('X', Value::Int(number)) => format!("{number:X}"),
        ('o', Value::Int(number)) => format!("{number:o}"),
        ('b', Value::Int(number)) => format!("{number:b}"),
        ('b', Value::Bool(yes)) => u8::from(*yes).to_string(),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        _ => return None,
    })
}
