//! Rules of custom resources, as users write them.

use serde_json::{Value, json};

use super::{Schema, check};
use crate::api::field::FieldErrors;

fn schema(spec: &Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

/// `path: problem` for every problem.
fn problems(spec: &Value, new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut errors = FieldErrors::default();
    let object = |spec: &Value| json!({"metadata": {"name": "x"}, "spec": spec});
    let old = old.map(object);
    Schema::from_openapi(&schema(spec)).validate(&object(new), old.as_ref(), &mut errors);
    errors
        .iter()
        .map(|error| format!("{}: {}", error.path, error.body))
        .collect()
}

/// The same about the schema itself.
fn refused(spec: &Value) -> Vec<String> {
    let mut errors = FieldErrors::default();
    check(&schema(spec), "schema.openAPIV3Schema", &mut errors);
    errors
        .iter()
        .map(|error| format!("{}: {}", error.path, error.body))
        .collect()
}

fn replicas(rule: &Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "mode": {"type": "string"},
        "ratio": {"type": "number"}, "port": {"x-kubernetes-int-or-string": true}}})
}

#[test]
fn a_broken_rule_is_told_with_its_message_reason_and_field() {
    let plain = replicas(&json!({"rule": "self.min <= self.max"}));
    assert_eq!(refused(&plain), [""; 0]);
    assert_eq!(problems(&plain, &json!({"min": 1, "max": 2}), None), [""; 0]);
    assert_eq!(
        problems(&plain, &json!({"min": 3, "max": 2}), None),
        ["spec: Invalid value: \"object\": failed rule: self.min <= self.max"]
    );
    assert_eq!(
        problems(&plain, &json!({"min": 3}), None),
        ["spec: Invalid value: \"object\": no such key: max evaluating rule: self.min <= self.max"]
    );
    let told = replicas(
        &json!({"rule": "self.min <= self.max", "message": "min above max",
        "messageExpression": "'%d is above %d'.format([self.min, self.max])", "reason": "FieldValueForbidden",
        "fieldPath": ".min"}),
    );
    assert_eq!(refused(&told), [""; 0]);
    assert_eq!(
        problems(&told, &json!({"min": 3, "max": 2}), None),
        ["spec.min: Forbidden: 3 is above 2"]
    );
}

#[test]
fn values_have_the_types_of_their_schema() {
    let rule = "self.ratio + 0.5 > 1.0 && (type(self.port) == int ? self.port > 0 : self.port == 'http')";
    let spec = replicas(&json!({"rule": rule}));
    assert_eq!(refused(&spec), [""; 0]);
    assert_eq!(problems(&spec, &json!({"ratio": 1, "port": 80}), None), [""; 0]);
    assert_eq!(
        problems(&spec, &json!({"ratio": 1.5, "port": "http"}), None),
        [""; 0]
    );
    assert_eq!(
        problems(&spec, &json!({"ratio": 0, "port": "http"}), None).len(),
        1
    );
}

#[test]
fn a_transition_rule_is_about_changes_only() {
    let spec = json!({"type": "object", "properties": {
        "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], "items":
            {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "only grows"}]}}}}}});
    assert_eq!(refused(&spec), [""; 0]);
    let old = json!({"name": "a", "items": [{"id": "x", "n": 2}, {"id": "y", "n": 5}]});
    assert_eq!(problems(&spec, &old, None), [""; 0]);
    let moved =
        json!({"name": "a", "items": [{"id": "y", "n": 6}, {"id": "x", "n": 2}, {"id": "z", "n": 0}]});
    assert_eq!(problems(&spec, &moved, Some(&old)), [""; 0]);
    let wrong = json!({"name": "b", "items": [{"id": "y", "n": 4}]});
    assert_eq!(
        problems(&spec, &wrong, Some(&old)),
        [
            "spec.name: Invalid value: \"string\": is immutable",
            "spec.items[0].n: Invalid value: \"integer\": only grows"
        ]
    );
}

#[test]
fn an_optional_old_value_is_there_for_new_objects_too() {
    let rule = json!({"rule": "oldSelf.hasValue() || self.mode == 'new'", "optionalOldSelf": true});
    let spec = replicas(&rule);
    assert_eq!(refused(&spec), [""; 0]);
    assert_eq!(problems(&spec, &json!({"mode": "new"}), None), [""; 0]);
    assert_eq!(problems(&spec, &json!({"mode": "x"}), None).len(), 1);
    assert_eq!(
        problems(&spec, &json!({"mode": "x"}), Some(&json!({"mode": "new"}))),
        [""; 0]
    );
}

#[test]
fn what_has_not_changed_is_not_asked_again() {
    let spec = replicas(&json!({"rule": "self.min <= self.max"}));
    let wrong = json!({"min": 3, "max": 2});
    assert_eq!(problems(&spec, &wrong, Some(&wrong)), [""; 0]);
}

#[test]
fn an_object_that_does_not_fit_its_schema_is_not_asked_at_all() {
    let spec = replicas(&json!({"rule": "self.min <= self.max"}));
    let found = problems(&spec, &json!({"min": "x", "max": 2}), None);
    assert!(
        found[0].starts_with("spec.min: Invalid value: \"string\""),
        "{found:?}"
    );
    assert_eq!(
        found[1],
        "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid; correct \
         the existing errors to complete validation"
    );
}

#[test]
fn rules_that_cannot_be_are_refused_with_the_definition() {
    let at = "schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
    let first = |spec: &Value| refused(spec).into_iter().next().unwrap_or_default();
    assert_eq!(
        first(&replicas(&json!({"rule": "self.mni > 1"}))),
        format!(
            "{at}.rule: Invalid value: \"self.mni > 1\": compilation failed: ERROR: <input>:1:5: undefined field 'mni'\n | \
             self.mni > 1\n | ....^"
        )
    );
    assert!(first(&replicas(&json!({"rule": "self.min"}))).ends_with("must evaluate to bool"));
    assert!(first(&replicas(&json!({"rule": " "}))).ends_with("rule is not specified"));
    assert!(first(&replicas(&json!({"rule": "frob(self)"}))).contains("undeclared reference to 'frob'"));
    assert!(
        first(&replicas(&json!({"rule": "true", "fieldPath": ".nope"})))
            .ends_with("does not refer to a valid field")
    );
    assert!(
        first(&replicas(&json!({"rule": "true", "reason": "X"})))
            .starts_with(&format!("{at}.reason: Unsupported value"))
    );
    let lost = json!({"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}});
    assert!(first(&lost).contains("oldSelf cannot be used on the uncorrelatable portion of the schema"));
}

#[test]
fn a_rule_that_costs_too_much_ends_the_validation_and_says_so() {
    let spec = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [
        {"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}]});
    let many: Value = (0..200).collect();
    let found = problems(&spec, &many, None);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("call cost exceeds limit"), "{found:?}");
}
