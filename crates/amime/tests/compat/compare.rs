//! Two outcomes of one call side by side, and what was expected of each.

use serde_json::Value;

use crate::outcome::{Outcome, application};
use crate::shares;
use crate::table::{Call, Expect};

/// Longer than this apart is another class of time, unless the slower one is less than half as slow again.
const APART_MS: u64 = 400;

/// What one side of a call came to.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// One call.
    Once(Outcome, u64),
    /// Answers of repetitions, in order.
    Many(Vec<String>),
}

/// The names of values that differ, with both values.
pub(crate) fn differences(call: &Call, amime: &Ending, envoy: &Ending) -> Vec<[String; 3]> {
    match (amime, envoy) {
        (Ending::Once(one, time), Ending::Once(other, other_time)) => {
            let mut found = of_outcomes(one, other);
            if differ_in_time(*time, *other_time) {
                found.push([
                    "time".to_owned(),
                    format!("{time} ms"),
                    format!("{other_time} ms"),
                ]);
            }
            found
        }
        (Ending::Many(one), Ending::Many(other)) => {
            let same = if call.expect.anybody {
                shares::tally(one).len() == shares::tally(other).len()
            } else if call.sequence {
                one == other
            } else if call.parallel.is_some() {
                counted(one) == counted(other)
            } else {
                shares::alike(one, other)
            };
            let shown = |words: &[String]| {
                if call.sequence {
                    words.join(" ")
                } else {
                    format!("{:?}", shares::tally(words))
                }
            };
            if same {
                Vec::new()
            } else {
                vec![["sequence".to_owned(), shown(one), shown(other)]]
            }
        }
        _ => vec![["sequence".to_owned(), format!("{amime:?}"), format!("{envoy:?}")]],
    }
}

fn counted(words: &[String]) -> Vec<String> {
    let mut words: Vec<String> = words.iter().map(|word| application(word).to_owned()).collect();
    words.sort();
    words
}

fn of_outcomes(one: &Outcome, other: &Outcome) -> Vec<[String; 3]> {
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let shown = |value: Option<&String>| value.map_or("(none)".to_owned(), |value| format!("{value:?}"));
    names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| [name.clone(), shown(one.get(name)), shown(other.get(name))])
        .collect()
}

fn differ_in_time(one: u64, other: u64) -> bool {
    let (less, more) = (one.min(other), one.max(other));
    more - less > APART_MS && more > less + less / 2
}

/// What was expected and is not so.
pub(crate) fn unmet(expect: &Expect, ending: &Ending) -> Vec<String> {
    match ending {
        Ending::Once(outcome, time) => of_one(expect, outcome, *time),
        Ending::Many(words) => of_many(expect, words),
    }
}

fn of_one(expect: &Expect, outcome: &Outcome, time: u64) -> Vec<String> {
    let mut unmet = Vec::new();
    let mut check = |name: &str, wanted: Option<&str>| {
        let found = outcome.get(name).map(String::as_str);
        if found != wanted {
            unmet.push(format!("{name}: {wanted:?} is expected, not {found:?}"));
        }
    };
    let status = expect.status.map(|status| status.to_string());
    let arrivals = expect.arrivals.map(|count| count.to_string());
    let lines = expect.lines.as_ref().map(|lines| lines.join(" / "));
    for (name, wanted) in [
        ("status", &status),
        ("body", &expect.body),
        ("error", &expect.error),
        ("lines", &lines),
        ("arrivals", &arrivals),
        ("upstream.path", &expect.upstream_path),
        ("upstream.method", &expect.upstream_method),
        ("upstream.authority", &expect.upstream_authority),
        ("upstream.version", &expect.upstream_version),
    ] {
        if let Some(wanted) = wanted {
            check(
                name,
                Some(wanted).filter(|text| !text.is_empty()).map(String::as_str),
            );
        }
    }
    for (prefix, fields) in [
        ("header", &expect.headers),
        ("trailer", &expect.trailers),
        ("upstream.header", &expect.upstream_headers),
        ("log", &expect.log),
    ] {
        for (name, wanted) in fields {
            check(&format!("{prefix}.{name}"), wanted.as_deref());
        }
    }
    if let Some(names) = &expect.upstream {
        let found = outcome.get("upstream").map(String::as_str).unwrap_or_default();
        if !names_fit(names, found) {
            unmet.push(format!("upstream: {names} is expected, not {found:?}"));
        }
    }
    if expect.at_least_ms.is_some_and(|least| time < least)
        || expect.at_most_ms.is_some_and(|most| time > most)
    {
        unmet.push(format!("{time} ms is not the expected time"));
    }
    unmet
}

fn names_fit(names: &Value, found: &str) -> bool {
    let fits = |name: &Value| name.as_str().is_some_and(|name| is_called(found, name));
    match names {
        Value::Array(names) => names.iter().any(fits),
        name => fits(name),
    }
}

/// `backend` stands for all of its versions, `503` for every answer with that status.
fn is_called(word: &str, name: &str) -> bool {
    word == name
        || word
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with("-v") || rest.starts_with(' '))
}

fn of_many(expect: &Expect, words: &[String]) -> Vec<String> {
    let mut unmet = Vec::new();
    let count = |name: &str| words.iter().filter(|word| is_called(word, name)).count();
    for (name, share) in &expect.shares {
        if !shares::fits(count(name), words.len(), *share) {
            unmet.push(format!(
                "{name}: a share of {share} is expected, not {} of {}",
                count(name),
                words.len()
            ));
        }
    }
    for (name, wanted) in &expect.counts {
        if count(name) != *wanted {
            unmet.push(format!("{name}: {wanted} are expected, not {}", count(name)));
        }
    }
    let distinct = shares::tally(words).len();
    if expect.distinct.is_some_and(|wanted| wanted != distinct) {
        unmet.push(format!(
            "{distinct} different answers: {:?}",
            shares::tally(words)
        ));
    }
    if let Some(names) = &expect.upstream {
        let odd: Vec<&String> = words.iter().filter(|word| !names_fit(names, word)).collect();
        if !odd.is_empty() {
            unmet.push(format!("upstream: {names} is expected, not {odd:?}"));
        }
    }
    if let Some(status) = expect.status.filter(|status| *status != 200) {
        let others = words.len() - count(&status.to_string());
        if others > 0 {
            let tally = shares::tally(words);
            unmet.push(format!(
                "status {status} is expected, {others} are not: {tally:?}"
            ));
        }
    }
    unmet
}
