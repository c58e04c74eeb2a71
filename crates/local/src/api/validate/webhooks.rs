//! Webhook configurations.

use std::collections::HashSet;

use serde_json::Value;

use super::policies::conditions;
use super::{items, names, one_of, port, text};
use crate::api::field::FieldErrors;

/// A mutating or validating webhook configuration.
pub fn webhooks(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    let mut seen = HashSet::new();
    for (index, webhook) in items(&new["webhooks"]) {
        let path = format!("webhooks[{index}]");
        let name = text(webhook, "/name");
        for trouble in names::dns_subdomain(name) {
            errors.invalid(format!("{path}.name"), &webhook["name"], &trouble);
        }
        if name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.invalid(format!("{path}.name"), &webhook["name"], detail);
        }
        if !seen.insert(name) {
            errors.duplicate(format!("{path}.name"), &webhook["name"]);
        }
        client(&webhook["clientConfig"], &format!("{path}.clientConfig"), errors);
        one_of(
            &webhook["failurePolicy"],
            format!("{path}.failurePolicy"),
            &["Fail", "Ignore"],
            errors,
        );
        one_of(
            &webhook["matchPolicy"],
            format!("{path}.matchPolicy"),
            &["Equivalent", "Exact"],
            errors,
        );
        match text(webhook, "/sideEffects") {
            "" => errors.required(
                format!("{path}.sideEffects"),
                "must specify one of None, NoneOnDryRun",
            ),
            _ => one_of(
                &webhook["sideEffects"],
                format!("{path}.sideEffects"),
                &["None", "NoneOnDryRun"],
                errors,
            ),
        }
        if webhook["timeoutSeconds"]
            .as_i64()
            .is_some_and(|seconds| !(1..=30).contains(&seconds))
        {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(
                format!("{path}.timeoutSeconds"),
                &webhook["timeoutSeconds"],
                detail,
            );
        }
        conditions(
            &webhook["matchConditions"],
            &format!("{path}.matchConditions"),
            errors,
        );
        versions(&webhook["admissionReviewVersions"], &path, errors);
    }
}

/// How a webhook is reached.
pub fn client(client: &Value, path: &str, errors: &mut FieldErrors) {
    match (client["url"].as_str(), client["service"].is_object()) {
        (Some(_), true) | (None, false) => {
            errors.required(path, "exactly one of url or service is required");
        }
        (Some(url), false) if !url.starts_with("https://") => {
            let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
            errors.invalid(format!("{path}.url"), &client["url"], detail);
        }
        (Some(_), false) => {}
        (None, true) => {
            for field in ["name", "namespace"] {
                if text(&client["service"], &format!("/{field}")).is_empty() {
                    errors.required(
                        format!("{path}.service.{field}"),
                        &format!("service {field} is required"),
                    );
                }
            }
            port(&client["service"]["port"], format!("{path}.service.port"), errors);
        }
    }
}

fn versions(list: &Value, path: &str, errors: &mut FieldErrors) {
    let path = format!("{path}.admissionReviewVersions");
    if items(list).next().is_none() {
        errors.required(path, "must specify one of v1, v1beta1");
    } else if !items(list).any(|(_, version)| version == "v1") {
        errors.invalid(path, list, "must include at least one of v1, v1beta1");
    }
}
