//! Workloads: what selects pods and makes them from a template.

use serde_json::Value;

use super::{IMMUTABLE, not_negative, one_of, pod, text};
use crate::api::field::FieldErrors;
use crate::api::label_selector;

/// A Deployment.
pub fn deployment(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, old, errors);
    let spec = &new["spec"];
    for field in [
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        not_negative(&spec[field], &format!("spec.{field}"), errors);
    }
    one_of(
        &spec["strategy"]["type"],
        "spec.strategy.type".to_owned(),
        &["Recreate", "RollingUpdate"],
        errors,
    );
    let rolling = &spec["strategy"]["rollingUpdate"];
    if spec["strategy"]["type"] == "Recreate" && rolling.is_object() {
        errors.forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        );
    }
    for field in ["maxUnavailable", "maxSurge"] {
        share(
            &rolling[field],
            &format!("spec.strategy.rollingUpdate.{field}"),
            errors,
        );
    }
    if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            &rolling["maxUnavailable"],
            detail,
        );
    }
    if let (Some(deadline), Some(ready)) = (
        spec["progressDeadlineSeconds"].as_i64(),
        spec["minReadySeconds"].as_i64(),
    ) && deadline <= ready
    {
        let detail = "must be greater than minReadySeconds";
        errors.invalid(
            "spec.progressDeadlineSeconds",
            &spec["progressDeadlineSeconds"],
            detail,
        );
    }
}

pub fn replica_set(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, old, errors);
}

pub fn stateful_set(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, old, errors);
    one_of(
        &new["spec"]["podManagementPolicy"],
        "spec.podManagementPolicy".to_owned(),
        &["OrderedReady", "Parallel"],
        errors,
    );
}

pub fn daemon_set(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, old, errors);
}

/// Its selector is a plain map.
pub fn replication_controller(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    not_negative(&new["spec"]["replicas"], "spec.replicas", errors);
    pod::template(&new["spec"]["template"], "spec.template", errors);
}

/// A Job runs to an end, so its pods may not be restarted for ever.
pub fn job(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    job_spec(&new["spec"], "spec", errors);
    if let Some(old) = old {
        for field in ["selector", "completions", "completionMode"] {
            if new["spec"][field] != old["spec"][field] {
                errors.invalid(format!("spec.{field}"), &new["spec"][field], IMMUTABLE);
            }
        }
        if new["spec"]["template"] != old["spec"]["template"] {
            errors.invalid("spec.template", &new["spec"]["template"], IMMUTABLE);
        }
    }
}

pub fn cron_job(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    if text(new, "/spec/schedule").is_empty() {
        errors.required("spec.schedule", "");
    }
    one_of(
        &new["spec"]["concurrencyPolicy"],
        "spec.concurrencyPolicy".to_owned(),
        &["Allow", "Forbid", "Replace"],
        errors,
    );
    job_spec(
        &new["spec"]["jobTemplate"]["spec"],
        "spec.jobTemplate.spec",
        errors,
    );
}

fn job_spec(spec: &Value, path: &str, errors: &mut FieldErrors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        not_negative(&spec[field], &format!("{path}.{field}"), errors);
    }
    pod::template(&spec["template"], &format!("{path}.template"), errors);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    let place = format!("{path}.template.spec.restartPolicy");
    if policy == "Always" {
        errors.required(place, "valid values: \"OnFailure\", \"Never\"");
    }
}

/// What all have that select pods by a LabelSelector: it matches the template, and never changes.
fn selecting(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    not_negative(&spec["replicas"], "spec.replicas", errors);
    let selector = &spec["selector"];
    if !selector.is_object() {
        errors.required("spec.selector", "");
    } else if label_selector::is_empty(selector) {
        // Kubernetes' own text for a ReplicaSet names deployments too.
        let named = match text(new, "/kind") {
            "StatefulSet" => "statefulset",
            "DaemonSet" => "daemonset",
            _ => "deployment",
        };
        errors.invalid(
            "spec.selector",
            selector,
            &format!("empty selector is invalid for {named}"),
        );
    }
    label_selector::check(selector, "spec.selector", errors);
    let labels = &spec["template"]["metadata"]["labels"];
    if selector.is_object() && !label_selector::matches(selector, labels) {
        let shown = if labels.is_null() {
            &Value::Object(serde_json::Map::new())
        } else {
            labels
        };
        errors.invalid(
            "spec.template.metadata.labels",
            shown,
            "`selector` does not match template `labels`",
        );
    }
    pod::template(&spec["template"], "spec.template", errors);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if policy.is_string() && policy != "Always" {
        errors.not_supported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
    if let Some(old) = old
        && old["spec"]["selector"] != *selector
    {
        errors.invalid("spec.selector", selector, IMMUTABLE);
    }
}

/// A count or a percentage.
fn share(value: &Value, path: &str, errors: &mut FieldErrors) {
    not_negative(value, path, errors);
    if let Some(given) = value.as_str() {
        let number = given
            .strip_suffix('%')
            .and_then(|number| number.parse::<u32>().ok());
        match number {
            None => errors.invalid(
                path,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                 regex used for validation is '[0-9]+%')",
            ),
            Some(percent) if percent > 100 && path.ends_with("maxUnavailable") => {
                errors.invalid(path, value, "must not be greater than 100%");
            }
            Some(_) => {}
        }
    }
}

fn is_zero(value: &Value) -> bool {
    value == 0 || value == "0%"
}
