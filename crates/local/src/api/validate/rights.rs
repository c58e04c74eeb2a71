//! Roles and their bindings.

use serde_json::Value;

use super::text;
use crate::api::field::FieldErrors;

const GROUP: &str = "rbac.authorization.k8s.io";

pub fn role(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    rules(new, true, errors);
}

pub fn cluster_role(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    rules(new, false, errors);
}

fn rules(role: &Value, namespaced: bool, errors: &mut FieldErrors) {
    for (index, rule) in role["rules"].as_array().into_iter().flatten().enumerate() {
        let at = |field: &str| format!("rules[{index}].{field}");
        let given = |field: &str| rule[field].as_array().is_some_and(|list| !list.is_empty());
        if !given("verbs") {
            errors.required(at("verbs"), "verbs must contain at least one value");
        }
        if given("nonResourceURLs") {
            let why = if namespaced {
                "namespaced rules cannot apply to non-resource URLs"
            } else if given("apiGroups") || given("resources") || given("resourceNames") {
                "rules cannot apply to both regular resources and non-resource URLs"
            } else {
                continue;
            };
            errors.invalid(at("nonResourceURLs"), &rule["nonResourceURLs"], why);
            continue;
        }
        if !given("apiGroups") {
            errors.required(
                at("apiGroups"),
                "resource rules must supply at least one api group",
            );
        }
        if !given("resources") {
            errors.required(
                at("resources"),
                "resource rules must supply at least one resource",
            );
        }
    }
}

pub fn role_binding(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    binding(new, true, errors);
}

pub fn cluster_role_binding(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    binding(new, false, errors);
}

fn binding(new: &Value, namespaced: bool, errors: &mut FieldErrors) {
    let role = &new["roleRef"];
    if role["apiGroup"] != GROUP {
        errors.not_supported("roleRef.apiGroup", &role["apiGroup"], &[GROUP]);
    }
    let kinds = if namespaced {
        &["ClusterRole", "Role"][..]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&role["kind"].as_str().unwrap_or_default()) {
        errors.not_supported("roleRef.kind", &role["kind"], kinds);
    }
    if text(new, "/roleRef/name").is_empty() {
        errors.required("roleRef.name", "");
    }
    for (index, subject) in new["subjects"].as_array().into_iter().flatten().enumerate() {
        let at = |field: &str| format!("subjects[{index}].{field}");
        if text(subject, "/name").is_empty() {
            errors.required(at("name"), "");
        }
        match subject["kind"].as_str().unwrap_or_default() {
            "ServiceAccount" => {
                if !namespaced && text(subject, "/namespace").is_empty() {
                    errors.required(at("namespace"), "");
                }
            }
            "User" | "Group" if subject["apiGroup"] == GROUP => {}
            "User" | "Group" => {
                errors.not_supported(at("apiGroup"), &subject["apiGroup"], &[GROUP]);
            }
            _ => {
                let known = ["Group", "ServiceAccount", "User"];
                errors.not_supported(at("kind"), &subject["kind"], &known);
            }
        }
    }
}
