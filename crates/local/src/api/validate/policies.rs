//! ValidatingAdmissionPolicies and their bindings; and the conditions of webhooks.

use std::collections::HashSet;

use serde_json::Value;

use super::{items, one_of, text};
use crate::api::admission::declared;
use crate::api::cel::{Program, Type};
use crate::api::field::FieldErrors;

pub fn admission_policy(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    let empty = |field: &str| spec[field].as_array().is_none_or(Vec::is_empty);
    if empty("validations") && empty("auditAnnotations") {
        for field in ["validations", "auditAnnotations"] {
            errors.required(
                format!("spec.{field}"),
                "validations or auditAnnotations must contain at least one item",
            );
        }
    }
    if spec["matchConstraints"]["resourceRules"]
        .as_array()
        .is_none_or(Vec::is_empty)
    {
        errors.required("spec.matchConstraints.resourceRules", "");
    }
    let path = |field: &str| format!("spec.{field}");
    one_of(
        &spec["failurePolicy"],
        path("failurePolicy"),
        &["Fail", "Ignore"],
        errors,
    );
    conditions(&spec["matchConditions"], "spec.matchConditions", errors);
    let names = variables(&spec["variables"], errors);
    for (index, validation) in items(&spec["validations"]) {
        let path = format!("spec.validations[{index}]");
        expression(validation, "expression", &path, (&names, &[Type::Bool]), errors);
        if !text(validation, "/messageExpression").is_empty() {
            expression(
                validation,
                "messageExpression",
                &path,
                (&names, &[Type::String]),
                errors,
            );
        }
        let reasons = ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];
        one_of(&validation["reason"], format!("{path}.reason"), &reasons, errors);
    }
    for (index, annotation) in items(&spec["auditAnnotations"]) {
        let path = format!("spec.auditAnnotations[{index}]");
        if text(annotation, "/key").is_empty() {
            errors.required(format!("{path}.key"), "");
        }
        expression(
            annotation,
            "valueExpression",
            &path,
            (&names, &[Type::String, Type::Null]),
            errors,
        );
    }
}

/// The names of `variables`; each expression may use those before it.
fn variables(list: &Value, errors: &mut FieldErrors) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, variable) in items(list) {
        let path = format!("spec.variables[{index}]");
        let name = text(variable, "/name");
        if name.is_empty() {
            errors.required(format!("{path}.name"), "name is required");
        } else if names.iter().any(|one| one == name) {
            errors.duplicate(format!("{path}.name"), &variable["name"]);
        } else if !is_identifier(name) {
            errors.invalid(
                format!("{path}.name"),
                &variable["name"],
                "name is not a valid CEL identifier",
            );
        }
        if text(variable, "/expression").trim().is_empty() {
            errors.required(format!("{path}.expression"), "expression is not specified");
        } else if let Err(refused) = Program::compile(text(variable, "/expression"), &declared(&names)) {
            let detail = format!("compilation failed: {refused}");
            errors.invalid(format!("{path}.expression"), &variable["expression"], &detail);
        }
        names.push(name.to_owned());
    }
    names
}

pub fn admission_policy_binding(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    if text(spec, "/policyName").is_empty() {
        errors.required("spec.policyName", "");
    }
    let actions: Vec<&str> = items(&spec["validationActions"])
        .filter_map(|(_, one)| one.as_str())
        .collect();
    if actions.is_empty() {
        errors.required(
            "spec.validationActions",
            "at least one validation action is required",
        );
    }
    let mut seen = HashSet::new();
    for (index, action) in actions.iter().enumerate() {
        let path = format!("spec.validationActions[{index}]");
        if !["Audit", "Deny", "Warn"].contains(action) {
            errors.not_supported(path, &Value::from(*action), &["Audit", "Deny", "Warn"]);
        } else if !seen.insert(*action) {
            errors.duplicate(path, &Value::from(*action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        errors.invalid(
            "spec.validationActions",
            &spec["validationActions"],
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response \
             and headers serves no purpose)",
        );
    }
    let reference = &spec["paramRef"];
    if reference.is_object() {
        let named = !text(reference, "/name").is_empty();
        if named == reference["selector"].is_object() {
            errors.required("spec.paramRef.name", "one of name or selector must be specified");
        }
        if text(reference, "/parameterNotFoundAction").is_empty() {
            errors.required("spec.paramRef.parameterNotFoundAction", "");
        }
        one_of(
            &reference["parameterNotFoundAction"],
            "spec.paramRef.parameterNotFoundAction".to_owned(),
            &["Allow", "Deny"],
            errors,
        );
    }
}

/// `matchConditions` of a policy or a webhook.
pub(super) fn conditions(list: &Value, path: &str, errors: &mut FieldErrors) {
    const LIMIT: usize = 64;
    let count = items(list).count();
    if count > LIMIT {
        errors.too_many(path, count, LIMIT);
        return;
    }
    let mut seen = HashSet::new();
    for (index, condition) in items(list) {
        let path = format!("{path}[{index}]");
        let name = text(condition, "/name");
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else if !seen.insert(name) {
            errors.duplicate(format!("{path}.name"), &condition["name"]);
        }
        expression(condition, "expression", &path, (&[], &[Type::Bool]), errors);
    }
}

fn expression(
    of: &Value,
    field: &str,
    path: &str,
    (names, kinds): (&[String], &[Type]),
    errors: &mut FieldErrors,
) {
    let path = format!("{path}.{field}");
    let expression = of[field].as_str().unwrap_or_default();
    if expression.trim().is_empty() {
        errors.required(path, &format!("{field} is not specified"));
        return;
    }
    if let Err(refused) = Program::compile_to(expression, &declared(names), kinds) {
        errors.invalid(path, &of[field], &format!("compilation failed: {refused}"));
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
