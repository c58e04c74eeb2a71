//! Whether whoever uses a field is told that it has no effect: an object with that field is made and analysed.

use resources::{Code, Resource};
use serde_json::{Value, json};
use translate::{Mesh, analyze};

use crate::fields::Field;

pub(crate) fn is(field: &Field) -> bool {
    samples(&field.schema)
        .iter()
        .any(|sample| told(&field.path, sample))
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

fn told(path: &str, sample: &Value) -> bool {
    let (kind, rest) = path.split_once(".spec.").unwrap();
    let steps: Vec<&str> = rest.split('.').collect();
    let mut spec = build(&steps, sample);
    if kind == "DestinationRule" {
        spec["host"] = json!("backend");
    } else {
        spec["hosts"] = json!(["backend"]);
    }
    if let Some(rule) = spec
        .pointer_mut("/http/0")
        .filter(|rule| rule.get("route").is_none())
    {
        rule["route"] = json!([{"destination": {"host": "backend"}}]);
    }
    let object = json!({"apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": "backend", "namespace": "shop"}, "spec": spec});
    let Ok(read) = Resource::from_object(&object) else {
        return false;
    };
    let wanted = format!("spec.{rest}").replace("[]", "[0]");
    analyze(&Mesh::of([read.resource])).iter().any(|problem| {
        let named = problem.field.replace("[\"x\"]", ".*");
        problem.code == Code::NotSupportedYet
            && wanted
                .strip_prefix(&named)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
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
