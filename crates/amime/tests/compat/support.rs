//! Whether a field that the table says it covers is one that matters: without it, a call of that case ends otherwise.
//!
//! Through Amime's proxy alone: that it agrees with Envoy is shown elsewhere.

use serde_json::Value;

use crate::compare::{self, Ending};
use crate::outcome;
use crate::run;
use crate::table::{Case, Feature};
use crate::world::World;

/// Deletes each covered field from its case; how many fields were looked at, and how many of them do not matter.
pub(crate) async fn feature(world: &mut World, feature: &Feature) -> (usize, usize) {
    let (mut fields, mut failures) = (0, 0);
    let mut present = Vec::new();
    for case in feature.cases.iter().filter(|case| !case.covers.is_empty()) {
        let place = format!("{}: {}", feature.name, case.name);
        match world.change(&present, &case.apply).await {
            Ok(made) => present = made,
            Err(problem) => {
                println!("{place}\n  {problem}\n");
                (present, failures) = (Vec::new(), failures + 1);
                continue;
            }
        }
        let whole = outcomes(world, case).await;
        for field in &case.covers {
            fields += 1;
            if let Some(problem) = without(world, case, field, &whole, &mut present).await {
                failures += 1;
                println!("{place}\n  {field}: {problem}\n");
            }
        }
    }
    let _ = world.change(&present, &[]).await;
    (fields, failures)
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
    let Some(objects) = deleted(&case.apply, field) else {
        return Some("it is not in the objects of the case".to_owned());
    };
    match world.change(present, &objects).await {
        Ok(made) => *present = made,
        // The API server does not take the object without it: then it matters.
        Err(_) => {
            present.clear();
            return None;
        }
    }
    let reduced = outcomes(world, case).await;
    let changed = case
        .calls
        .iter()
        .zip(whole)
        .zip(&reduced)
        .any(|((call, before), after)| {
            let differs = compare::differences(call, before, after);
            let chance = |[name, one, other]: &[String; 3]| {
                name == "upstream"
                    && outcome::application(one.trim_matches('"'))
                        == outcome::application(other.trim_matches('"'))
            };
            differs.iter().any(|difference| !chance(difference))
                || compare::unmet(&call.expect, before) != compare::unmet(&call.expect, after)
        });
    (!changed).then(|| "every call of the case ends as before without it".to_owned())
}

/// The objects without a field (`VirtualService.spec.http[].match[].headers.*.exact`), wherever it stands; `None`
/// when it stands nowhere.
fn deleted(objects: &[Value], field: &str) -> Option<Vec<Value>> {
    let (kind, path) = field.split_once('.')?;
    let steps: Vec<&str> = path.split('.').collect();
    let mut objects = objects.to_vec();
    let mut found = false;
    for object in objects.iter_mut().filter(|object| object["kind"] == kind) {
        found |= delete(object, &steps);
    }
    found.then_some(objects)
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
    let objects =
        [serde_json::json!({"kind": "V", "spec": {"http": [{"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}]}})];
    let expected = serde_json::json!({"kind": "V", "spec": {"http": [{"a": {"c": 2}}, {"a": {}}]}});
    assert_eq!(deleted(&objects, "V.spec.http[].a.b"), Some(vec![expected]));
    assert_eq!(deleted(&objects, "V.spec.http[].x"), None);
}
