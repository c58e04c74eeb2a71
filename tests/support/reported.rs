//! Whether whoever uses a field is told that it has no effect: an object with that field is made and analysed.

use resources::{Code, Kind, Level, Problem, Resource};
use serde_json::{Value, json};
use translate::{Mesh, analyze};

use crate::fields::Field;

/// What whoever uses a field is told.
pub(crate) enum Told {
    /// That it has no effect, or another one.
    Reported(String),
    /// That it cannot be used at all.
    Refused(String),
}

pub(crate) fn told(field: &Field) -> Option<Told> {
    let samples = samples(&field.schema);
    let mut judged: Vec<_> = samples
        .iter()
        .filter_map(|sample| judge(&field.path, sample))
        .collect();
    let is_reported = |one: &Option<Told>| matches!(one, Some(Told::Reported(_)));
    if let Some(at) = judged.iter().position(is_reported) {
        return judged.swap_remove(at);
    }
    // Some guesses are no values that the field takes; where none is, it takes none.
    let refused = judged.iter().all(|one| matches!(one, Some(Told::Refused(_))));
    judged.pop().flatten().filter(|_| refused)
}

/// Values that a schema takes, as far as guesses go.
fn samples(schema: &Value) -> Vec<Value> {
    if let Some(values) = schema["enum"].as_array() {
        return values.clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => vec![json!(true)],
        Some("integer" | "number") => vec![json!(1), json!(50)],
        Some("array") => samples(&schema["items"])
            .into_iter()
            .map(|item| json!([item]))
            .collect(),
        Some("object") => vec![json!({"x": 1}), json!({"x": "y"})],
        _ => vec![json!("1s"), json!("x"), json!(1)],
    }
}

/// A target has a name and a kind.
fn complete_targets(spec: &mut Value) {
    for place in ["/targetRef", "/targetRefs/0"] {
        if let Some(target) = spec.pointer_mut(place).and_then(Value::as_object_mut) {
            for (name, value) in [
                ("group", "gateway.networking.k8s.io"),
                ("kind", "Gateway"),
                ("name", "x"),
            ] {
                target.entry(name).or_insert_with(|| json!(value));
            }
        }
    }
}

/// What is told of an object with that field; `None` when there is no such object.
fn judge(path: &str, sample: &Value) -> Option<Option<Told>> {
    let (kind, rest) = path.split_once(".spec.").unwrap();
    let steps: Vec<&str> = rest.split('.').collect();
    let mut spec = build(&steps, sample);
    let kind = Kind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)
        .unwrap();
    match kind {
        Kind::DestinationRule => spec["host"] = json!("backend"),
        Kind::VirtualService => spec["hosts"] = json!(["backend"]),
        _ => complete_targets(&mut spec),
    }
    if let Some(rule) = spec
        .pointer_mut("/http/0")
        .filter(|rule| rule.get("route").is_none())
    {
        rule["route"] = json!([{"destination": {"host": "backend"}}]);
    }
    let object = json!({"apiVersion": kind.api_version(), "kind": kind.as_str(),
        "metadata": {"name": "backend", "namespace": "shop"}, "spec": spec});
    let resource = Resource::from_object(&object).ok()?.resource;
    let wanted = format!("spec.{rest}").replace("[]", "[0]");
    let is_it = |problem: &&Problem| {
        let named = problem.field.replace("[\"x\"]", ".*");
        wanted
            .strip_prefix(&named)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let found = resource.validate();
    if let Some(problem) = found.iter().find(|problem| problem.field == wanted) {
        let message = problem.message.clone();
        return Some(Some(match problem.code.level() {
            Level::Error => Told::Refused(message),
            _ => Told::Reported(message),
        }));
    }
    let found = analyze(&Mesh::of([resource]));
    let mut found = found
        .iter()
        .filter(|problem| problem.code == Code::NotSupportedYet);
    Some(
        found
            .find(is_it)
            .map(|problem| Told::Reported(problem.message.clone())),
    )
}

fn build(steps: &[&str], sample: &Value) -> Value {
    let Some((step, rest)) = steps.split_first() else {
        return sample.clone();
    };
    let inner = build(rest, sample);
    match step.strip_suffix("[]") {
        Some(name) => json!({name: [inner]}),
        None if *step == "*" => json!({"x": inner}),
        None => json!({*step: inner}),
    }
}
