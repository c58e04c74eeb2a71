//! Pods and pod templates.

use std::collections::HashSet;

use serde_json::Value;

use super::containers::containers;
use super::{items, metadata, names, not_negative, one_of, pod_update, text};
use crate::api::field::FieldErrors;

/// A pod, and what of it may change once it exists.
pub fn pod(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    pod_spec(&new["spec"], "spec", errors);
    if let Some(old) = old {
        pod_update::check(&new["spec"], &old["spec"], errors);
    }
}

/// A pod template of a workload.
pub(super) fn template(template: &Value, path: &str, errors: &mut FieldErrors) {
    metadata::labels(
        &template["metadata"]["labels"],
        &format!("{path}.metadata.labels"),
        errors,
    );
    pod_spec(&template["spec"], &format!("{path}.spec"), errors);
}

fn pod_spec(spec: &Value, path: &str, errors: &mut FieldErrors) {
    let volumes = volumes(&spec["volumes"], path, errors);
    let mut seen = HashSet::new();
    if items(&spec["containers"]).next().is_none() {
        errors.required(format!("{path}.containers"), "");
    }
    containers(
        &spec["containers"],
        &format!("{path}.containers"),
        &volumes,
        &mut seen,
        errors,
    );
    containers(
        &spec["initContainers"],
        &format!("{path}.initContainers"),
        &volumes,
        &mut seen,
        errors,
    );
    for (index, container) in items(&spec["initContainers"]) {
        let path = format!("{path}.initContainers[{index}]");
        let sidecar = container["restartPolicy"] == "Always";
        for probe in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            if !sidecar && container[probe].is_object() {
                errors.forbidden(
                    format!("{path}.{probe}"),
                    "may not be set for init containers without restartPolicy=Always",
                );
            }
        }
    }
    one_of(
        &spec["restartPolicy"],
        format!("{path}.restartPolicy"),
        &["Always", "Never", "OnFailure"],
        errors,
    );
    one_of(
        &spec["dnsPolicy"],
        format!("{path}.dnsPolicy"),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        errors,
    );
    not_negative(
        &spec["terminationGracePeriodSeconds"],
        &format!("{path}.terminationGracePeriodSeconds"),
        errors,
    );
    metadata::labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), errors);
    for field in ["serviceAccountName", "hostname", "subdomain"] {
        let rule = if field == "serviceAccountName" {
            names::dns_subdomain
        } else {
            names::dns_label
        };
        let name = text(spec, &format!("/{field}"));
        for trouble in rule(name).into_iter().filter(|_| !name.is_empty()) {
            errors.invalid(format!("{path}.{field}"), &spec[field], &trouble);
        }
    }
}

/// Checks the volumes and gives their names.
fn volumes<'a>(list: &'a Value, path: &str, errors: &mut FieldErrors) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    for (index, volume) in items(list) {
        let path = format!("{path}.volumes[{index}]");
        let name = text(volume, "/name");
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
            continue;
        }
        for trouble in names::dns_label(name) {
            errors.invalid(format!("{path}.name"), &volume["name"], &trouble);
        }
        if !seen.insert(name) {
            errors.duplicate(format!("{path}.name"), &volume["name"]);
        }
        let sources: Vec<&String> = volume
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys())
            .filter(|key| *key != "name")
            .collect();
        if sources.is_empty() {
            errors.required(path, "must specify a volume type");
        } else {
            for extra in &sources[1..] {
                errors.forbidden(
                    format!("{path}.{extra}"),
                    "may not specify more than 1 volume type",
                );
            }
        }
    }
    seen
}
