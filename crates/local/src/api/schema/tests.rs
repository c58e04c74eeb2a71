//! Schemas against the messages of the real server.

use serde_json::{Value, json};

use super::Schema;
use crate::api::field::FieldErrors;

fn schema() -> Schema {
    Schema::from_openapi(
        &json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object",
        "properties": {
            "host": {"type": "string", "pattern": "^[a-z.]+$", "minLength": 1},
            "mode": {"type": "string", "enum": ["ROUND_ROBIN", "RANDOM"], "default": "RANDOM"},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "at": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "http": {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": {
                "weight": {"type": "integer", "minimum": 0, "maximum": 100},
                "timeout": {"type": "object", "default": {}, "properties": {
                    "seconds": {"type": "integer", "default": 5}}},
                "exact": {"type": "string"}, "prefix": {"type": "string"}},
                "not": {"anyOf": [{"type": "object", "required": ["exact", "prefix"]}]}}}
        }}}}),
    )
}

fn problems(object: &Value) -> Vec<String> {
    let mut errors = FieldErrors::default();
    schema().validate(object, None, &mut errors);
    errors
        .iter()
        .map(|error| format!("{}: {}", error.path, error.body))
        .collect()
}

#[test]
fn what_does_not_fit_is_said_in_kubernetes_words() {
    for (spec, wanted) in [
        (
            json!({"http": [{"weight": -1}]}),
            "spec.http[0].weight: Invalid value: -1: spec.http[0].weight in body should be greater than or equal to 0",
        ),
        (
            json!({"http": [{"weight": "1"}]}),
            "spec.http[0].weight: Invalid value: \"string\": spec.http[0].weight in body must be of type integer: \
             \"string\"",
        ),
        (
            json!({"mode": "X"}),
            "spec.mode: Unsupported value: \"X\": supported values: \"ROUND_ROBIN\", \"RANDOM\"",
        ),
        (
            json!({"host": "A"}),
            "spec.host: Invalid value: \"A\": spec.host in body should match '^[a-z.]+$'",
        ),
        (
            json!({"http": [{}, {}, {}]}),
            "spec.http: Too many: 3: must have at most 2 items",
        ),
        (
            json!({"http": [{"exact": "a", "prefix": "b"}]}),
            "<nil>: Invalid value: \"\": \"spec.http[0]\" must not validate the schema (not)",
        ),
        (
            json!({"tags": [{"name": "a"}, {"name": "a"}]}),
            "spec.tags[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (
            json!({"labels": {"a": 1}}),
            "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
        ),
        (
            json!({"at": "now"}),
            "spec.at: Invalid value: \"now\": spec.at in body must be of type date-time: \"now\"",
        ),
    ] {
        assert_eq!(problems(&json!({"spec": spec})), [wanted]);
    }
    assert_eq!(problems(&json!({})), ["spec: Required value"]);
    assert_eq!(problems(&json!({"spec": {"port": "http"}})), [""; 0]);
    assert_eq!(
        problems(&json!({"spec": {"port": 80, "http": [{"exact": "a"}]}})),
        [""; 0]
    );
}

#[test]
fn unknown_fields_are_found_except_where_they_are_free() {
    let object = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"anything": 1}, "spec": {
        "hots": ["a"], "free": {"a": {"b": 1}}, "labels": {"any": "x"}, "http": [{"wieght": 1}]}});
    let found = schema().unknown_fields(&object);
    let texts: Vec<String> = found.iter().map(|path| format!("{path:?}")).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("hots") && texts[1].contains("wieght"));
}

#[test]
fn defaults_go_into_what_is_there_and_into_defaults() {
    let mut object = json!({"spec": {"mode": null, "http": [{}, {"timeout": {"seconds": 1}}]}});
    schema().set_defaults(&mut object);
    let wanted = json!({"spec": {"mode": "RANDOM",
        "http": [{"timeout": {"seconds": 5}}, {"timeout": {"seconds": 1}}]}});
    assert_eq!(object, wanted);
}
