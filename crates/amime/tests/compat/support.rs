//! Whether a field that the table says it covers is one that matters: without it, a call of that case ends otherwise.
//!
//! Through Amime's proxy alone: that it agrees with Envoy is shown elsewhere.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::compare::{self, Ending};
use crate::outcome;
use crate::run;
use crate::table::{Call, Case, Feature};
use crate::world::World;

/// A case of which more is told, because a run should not take much longer than it does.
const LONG: Duration = Duration::from_secs(20);

/// Deletes each covered field from its case; how many fields were looked at, and how many of them do not matter.
pub(crate) async fn feature(world: &mut World, feature: &Feature) -> (usize, usize) {
    let (mut fields, mut failures) = (0, 0);
    let mut present = Vec::new();
    for case in feature.cases.iter().filter(|case| !case.covers.is_empty()) {
        let place = format!("{}: {}", feature.name, case.name);
        let begun = Instant::now();
        let whole = match world.enter(&present, case).await {
            Ok(made) => {
                present = made;
                as_expected(world, case).await
            }
            Err(problem) => {
                present.clear();
                Err(problem)
            }
        };
        fields += case.covers.len();
        match whole {
            Ok(whole) => {
                for field in &case.covers {
                    if let Some(problem) = without(world, case, field, &whole, &mut present).await {
                        failures += 1;
                        println!("{place}\n  {field}: {problem}\n");
                    }
                }
            }
            Err(problem) => {
                failures += 1;
                println!("{place}\n  {problem}\n");
            }
        }
        if begun.elapsed() > LONG {
            println!("{place}\n  took {} s", begun.elapsed().as_secs());
        }
    }
    let _ = world.change(&present, &[]).await;
    (fields, failures)
}

/// How the calls end with every field there.
async fn as_expected(world: &mut World, case: &Case) -> Result<Vec<Ending>, String> {
    let mut unmet = Vec::new();
    for again in 0..=run::AGAIN {
        if again > 0 {
            sleep(run::MOMENT).await;
        }
        let endings = outcomes(world, case).await;
        unmet = case
            .calls
            .iter()
            .zip(&endings)
            .flat_map(|(call, ending)| compare::unmet(&call.expect, ending))
            .collect();
        if unmet.is_empty() {
            return Ok(endings);
        }
    }
    Err(format!("with every field: {}", unmet.join("; ")))
}

async fn outcomes(world: &mut World, case: &Case) -> Vec<Ending> {
    let mut endings = Vec::new();
    for call in &case.calls {
        endings.push(run::through_amime(world, call).await);
    }
    endings
}

/// Why the field does not matter, if so.
async fn without(
    world: &mut World,
    case: &Case,
    field: &str,
    whole: &[Ending],
    present: &mut Vec<Value>,
) -> Option<String> {
    let Some(less) = deleted(case, field) else {
        return Some("it is not in the objects of the case".to_owned());
    };
    match world.enter(present, &less).await {
        Ok(made) => *present = made,
        // The API server does not take the object without it: then it matters.
        Err(problem) => {
            present.clear();
            let refused = !problem.starts_with("after ");
            return (!refused).then_some(problem);
        }
    }
    for again in 0..=run::AGAIN {
        if again > 0 {
            sleep(run::MOMENT).await;
        }
        let reduced = outcomes(world, case).await;
        let mut calls = case.calls.iter().zip(whole).zip(&reduced);
        if calls.any(|((call, before), after)| changed(call, before, after)) {
            return None;
        }
    }
    Some("every call of the case ends as before without it".to_owned())
}

fn changed(call: &Call, before: &Ending, after: &Ending) -> bool {
    let differs = compare::differences(call, before, after);
    let chance = |[name, one, other]: &[String; 3]| {
        name == "upstream"
            && outcome::application(one.trim_matches('"')) == outcome::application(other.trim_matches('"'))
    };
    differs.iter().any(|difference| !chance(difference))
        || compare::unmet(&call.expect, before) != compare::unmet(&call.expect, after)
}

/// The case without a field (`VirtualService.spec.http[].match[].headers.*.exact`), wherever it stands; `None` when it
/// stands nowhere.
fn deleted(case: &Case, field: &str) -> Option<Case> {
    let (kind, path) = field.split_once('.')?;
    let steps: Vec<&str> = path.split('.').collect();
    let mut case = case.clone();
    let mut found = false;
    let objects = case.apply.iter_mut().chain(&mut case.later.apply);
    for object in objects.filter(|object| object["kind"] == kind) {
        found |= delete(object, &steps);
    }
    found.then_some(case)
}

fn delete(value: &mut Value, steps: &[&str]) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return false;
    };
    let name = step.strip_suffix("[]").unwrap_or(step);
    let Some(fields) = value.as_object_mut() else {
        return false;
    };
    if rest.is_empty() {
        return if name == "*" {
            let any = !fields.is_empty();
            fields.clear();
            any
        } else {
            fields.remove(name).is_some()
        };
    }
    let mut found = false;
    let inner: Vec<&mut Value> = if name == "*" {
        fields.values_mut().collect()
    } else {
        fields.get_mut(name).into_iter().collect()
    };
    for inner in inner {
        match inner {
            Value::Array(items) => items.iter_mut().for_each(|item| found |= delete(item, rest)),
            other => found |= delete(other, rest),
        }
    }
    found
}

#[test]
fn a_field_is_deleted_wherever_it_stands() {
    let case = serde_json::json!({"name": "", "calls": [], "apply": [
        {"kind": "V", "spec": {"http": [{"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}]}},
    ]});
    let case: Case = serde_json::from_value(case).unwrap();
    let expected = serde_json::json!({"kind": "V", "spec": {"http": [{"a": {"c": 2}}, {"a": {}}]}});
    let without = |field| deleted(&case, field).map(|case| case.apply);
    assert_eq!(without("V.spec.http[].a.b"), Some(vec![expected]));
    assert_eq!(without("V.spec.http[].x"), None);
}
