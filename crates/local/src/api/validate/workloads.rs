//! Workloads: what selects pods and makes them from a template.

use serde_json::{Value, json};

use super::{IMMUTABLE, items, not_negative, one_of, pod, text};
use crate::api::field::FieldErrors;
use crate::api::label_selector;

/// A Deployment.
pub fn deployment(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, errors);
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

pub fn replica_set(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, errors);
}

pub fn stateful_set(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, errors);
    one_of(
        &new["spec"]["podManagementPolicy"],
        "spec.podManagementPolicy".to_owned(),
        &["OrderedReady", "Parallel"],
        errors,
    );
    let spec = &new["spec"];
    update_strategy(spec, errors);
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        not_negative(&spec[field], &format!("spec.{field}"), errors);
    }
    not_negative(&spec["ordinals"]["start"], "spec.ordinals.start", errors);
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    not_negative(
        &rolling["partition"],
        "spec.updateStrategy.rollingUpdate.partition",
        errors,
    );
    if is_zero(&rolling["maxUnavailable"]) {
        let place = "spec.updateStrategy.rollingUpdate.maxUnavailable";
        errors.invalid(place, &rolling["maxUnavailable"], "cannot be 0");
    }
    if let Some(old) = old
        && unchanging(spec) != unchanging(&old["spec"])
    {
        errors.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
             'minReadySeconds' are forbidden",
        );
    }
}

/// The parts of a StatefulSet's spec that never change.
fn unchanging(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            fields.shift_remove(field);
        }
    }
    spec
}

pub fn daemon_set(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
    selecting(new, errors);
    let spec = &new["spec"];
    update_strategy(spec, errors);
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        not_negative(&spec[field], &format!("spec.{field}"), errors);
    }
    let place = "spec.updateStrategy.rollingUpdate";
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    if rolling.is_object() {
        match (is_zero(&rolling["maxUnavailable"]), is_zero(&rolling["maxSurge"])) {
            (true, true) => errors.required(
                format!("{place}.maxUnavailable"),
                "cannot be 0 when maxSurge is 0",
            ),
            (false, false) => errors.invalid(
                format!("{place}.maxSurge"),
                &rolling["maxSurge"],
                "may not be set when maxUnavailable is non-zero",
            ),
            _ => {}
        }
    }
}

/// How a StatefulSet or DaemonSet follows its template.
fn update_strategy(spec: &Value, errors: &mut FieldErrors) {
    let strategy = &spec["updateStrategy"];
    one_of(
        &strategy["type"],
        "spec.updateStrategy.type".to_owned(),
        &["OnDelete", "RollingUpdate"],
        errors,
    );
    for field in ["maxUnavailable", "maxSurge"] {
        let place = format!("spec.updateStrategy.rollingUpdate.{field}");
        share(&strategy["rollingUpdate"][field], &place, errors);
    }
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
        job_update(&new["spec"], &old["spec"], errors);
    }
}

/// What a Job runs may not change once it is there, but for an Indexed one's size and the placement of pods that a
/// suspended Job has not made yet.
fn job_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let mut frozen = vec![
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ];
    if new["completionMode"] != "Indexed" {
        frozen.push("completions");
    } else if new["completions"] != old["completions"] && new["completions"] != new["parallelism"] {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.invalid("spec.completions", &new["completions"], detail);
    }
    for field in frozen.into_iter().filter(|field| new[*field] != old[*field]) {
        errors.invalid(format!("spec.{field}"), &new[field], IMMUTABLE);
    }
    if placeless(&new["template"], old) != placeless(&old["template"], old) {
        errors.invalid("spec.template", &new["template"], IMMUTABLE);
    }
}

/// A template without what may still change.
fn placeless(template: &Value, old: &Value) -> Value {
    let mut template = template.clone();
    if old["suspend"] == true {
        for (parent, fields) in [
            (
                "spec",
                &["nodeSelector", "affinity", "tolerations", "schedulingGates"][..],
            ),
            ("metadata", &["labels", "annotations"]),
        ] {
            for field in fields {
                if let Some(parent) = template.get_mut(parent).and_then(Value::as_object_mut) {
                    parent.shift_remove(*field);
                }
            }
        }
    }
    template
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
    let mode = &spec["completionMode"];
    one_of(
        mode,
        format!("{path}.completionMode"),
        &["NonIndexed", "Indexed"],
        errors,
    );
    one_of(
        &spec["podReplacementPolicy"],
        format!("{path}.podReplacementPolicy"),
        &["Failed", "TerminatingOrFailed"],
        errors,
    );
    job_indexes(spec, path, errors);
    job_failure_policy(spec, path, errors);
}

/// Fields that only mean something for pods with an index.
fn job_indexes(spec: &Value, path: &str, errors: &mut FieldErrors) {
    const MOST: i64 = 100_000;
    let is_indexed = spec["completionMode"] == "Indexed";
    if is_indexed {
        if spec["completions"].is_null() {
            let detail = "when completion mode is Indexed";
            errors.required(format!("{path}.completions"), detail);
        }
        for field in ["completions", "parallelism"] {
            if spec[field].as_i64().is_some_and(|number| number > MOST) {
                let detail = format!("must be less than or equal to {MOST} when completion mode is Indexed");
                errors.invalid(format!("{path}.{field}"), &spec[field], &detail);
            }
        }
    }
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        not_negative(&spec[field], &format!("{path}.{field}"), errors);
    }
    if !is_indexed && !spec["backoffLimitPerIndex"].is_null() {
        let detail = "requires indexed completion mode";
        errors.invalid(
            format!("{path}.backoffLimitPerIndex"),
            &spec["backoffLimitPerIndex"],
            detail,
        );
    }
    if spec["backoffLimitPerIndex"].is_null() && !spec["maxFailedIndexes"].is_null() {
        let detail = "when maxFailedIndexes is specified";
        errors.required(format!("{path}.backoffLimitPerIndex"), detail);
    }
    if !is_indexed && spec["successPolicy"].is_object() {
        let detail = "requires indexed completion mode";
        errors.invalid(format!("{path}.successPolicy"), &spec["successPolicy"], detail);
    }
}

fn job_failure_policy(spec: &Value, path: &str, errors: &mut FieldErrors) {
    let policy = &spec["podFailurePolicy"];
    if !policy.is_object() {
        return;
    }
    let restart = &spec["template"]["spec"]["restartPolicy"];
    if restart != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.invalid(format!("{path}.template.spec.restartPolicy"), restart, detail);
    }
    for (position, rule) in items(&policy["rules"]) {
        let place = format!("{path}.podFailurePolicy.rules[{position}]");
        one_of(
            &rule["action"],
            format!("{place}.action"),
            &["Count", "FailIndex", "FailJob", "Ignore"],
            errors,
        );
        one_of(
            &rule["onExitCodes"]["operator"],
            format!("{place}.onExitCodes.operator"),
            &["In", "NotIn"],
            errors,
        );
        let by_conditions = rule["onPodConditions"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        match (rule["onExitCodes"].is_object(), by_conditions) {
            (true, true) => {
                errors.invalid(
                    place,
                    rule,
                    "specifying both OnExitCodes and OnPodConditions is not supported",
                );
            }
            (false, false) => {
                errors.invalid(
                    place,
                    rule,
                    "specifying one of OnExitCodes and OnPodConditions is required",
                );
            }
            _ => {}
        }
    }
}

/// What all have that select pods by a LabelSelector: it matches the template.
fn selecting(new: &Value, errors: &mut FieldErrors) {
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
    pod::template(&with_claims(spec), "spec.template", errors);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if policy.is_string() && policy != "Always" {
        errors.not_supported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
}

/// The template with a volume for each claim of a StatefulSet: containers may mount those too.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims: Vec<&Value> = items(&spec["volumeClaimTemplates"])
        .map(|(_, claim)| &claim["metadata"]["name"])
        .collect();
    if !claims.is_empty() {
        let own = items(&template["spec"]["volumes"]).map(|(_, volume)| volume);
        let own = own.filter(|volume| !claims.contains(&&volume["name"])).cloned();
        let of_claims = claims.iter().map(|name| json!({"name": name, "emptyDir": {}}));
        let all: Vec<Value> = own.chain(of_claims).collect();
        template["spec"]["volumes"] = all.into();
    }
    template
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
