//! Containers, their ports, environment, mounts, probes and resources.

use std::collections::HashSet;

use serde_json::Value;

use super::{entries, items, names, not_negative, one_of, port, quantity, text};
use crate::api::field::FieldErrors;

/// All containers of a list; names must be new in `seen`, mounts must be of `volumes`.
pub(super) fn containers<'a>(
    list: &'a Value,
    path: &str,
    volumes: &HashSet<&str>,
    seen: &mut HashSet<&'a str>,
    errors: &mut FieldErrors,
) {
    for (index, container) in items(list) {
        let path = format!("{path}[{index}]");
        let name = text(container, "/name");
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            for trouble in names::dns_label(name) {
                errors.invalid(format!("{path}.name"), &container["name"], &trouble);
            }
            if !seen.insert(name) {
                errors.duplicate(format!("{path}.name"), &container["name"]);
            }
        }
        container_body(container, &path, volumes, errors);
    }
}

fn container_body(container: &Value, path: &str, volumes: &HashSet<&str>, errors: &mut FieldErrors) {
    let image = text(container, "/image");
    if image.is_empty() {
        errors.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        errors.invalid(
            format!("{path}.image"),
            &container["image"],
            "must not have leading or trailing whitespace",
        );
    }
    ports(&container["ports"], path, errors);
    environment(&container["env"], path, errors);
    mounts(&container["volumeMounts"], path, volumes, errors);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[probe].is_null() {
            self::probe(&container[probe], &format!("{path}.{probe}"), errors);
        }
    }
    for probe in ["livenessProbe", "startupProbe"] {
        if container[probe]["successThreshold"]
            .as_i64()
            .is_some_and(|count| count != 1)
        {
            let path = format!("{path}.{probe}.successThreshold");
            errors.invalid(path, &container[probe]["successThreshold"], "must be 1");
        }
    }
    one_of(
        &container["imagePullPolicy"],
        format!("{path}.imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        errors,
    );
    resources(&container["resources"], &format!("{path}.resources"), errors);
}

fn ports(list: &Value, path: &str, errors: &mut FieldErrors) {
    let mut seen = HashSet::new();
    for (index, one) in items(list) {
        let path = format!("{path}.ports[{index}]");
        if let Some(name) = one["name"].as_str() {
            for trouble in names::port(name) {
                errors.invalid(format!("{path}.name"), &one["name"], &trouble);
            }
            if !seen.insert(name) {
                errors.duplicate(format!("{path}.name"), &one["name"]);
            }
        }
        if one["containerPort"].is_null() || one["containerPort"] == 0 {
            errors.required(format!("{path}.containerPort"), "");
        } else {
            port(&one["containerPort"], format!("{path}.containerPort"), errors);
        }
        one_of(
            &one["protocol"],
            format!("{path}.protocol"),
            &["SCTP", "TCP", "UDP"],
            errors,
        );
    }
}

fn environment(list: &Value, path: &str, errors: &mut FieldErrors) {
    for (index, one) in items(list) {
        let path = format!("{path}.env[{index}]");
        let name = text(one, "/name");
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        }
        for trouble in names::environment(name) {
            errors.invalid(format!("{path}.name"), &one["name"], &trouble);
        }
        let Some(source) = one["valueFrom"].as_object() else {
            continue;
        };
        if !text(one, "/value").is_empty() {
            errors.invalid(
                format!("{path}.valueFrom"),
                &Value::from(""),
                "may not be specified when `value` is not empty",
            );
        }
        match source.len() {
            0 => errors.invalid(
                format!("{path}.valueFrom"),
                &Value::from(""),
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            ),
            1 => {}
            _ => errors.invalid(
                format!("{path}.valueFrom"),
                &Value::from(""),
                "may not have more than one field specified at a time",
            ),
        }
    }
}

fn mounts(list: &Value, path: &str, volumes: &HashSet<&str>, errors: &mut FieldErrors) {
    let mut seen = HashSet::new();
    for (index, mount) in items(list) {
        let path = format!("{path}.volumeMounts[{index}]");
        match text(mount, "/name") {
            "" => errors.required(format!("{path}.name"), ""),
            name if !volumes.contains(name) => errors.not_found(format!("{path}.name"), &mount["name"]),
            _ => {}
        }
        match text(mount, "/mountPath") {
            "" => errors.required(format!("{path}.mountPath"), ""),
            place if !seen.insert(place) => {
                errors.invalid(format!("{path}.mountPath"), &mount["mountPath"], "must be unique");
            }
            _ => {}
        }
        let sub_path = text(mount, "/subPath");
        if sub_path.starts_with('/') {
            errors.invalid(
                format!("{path}.subPath"),
                &mount["subPath"],
                "must be a relative path",
            );
        } else if sub_path.split('/').any(|part| part == "..") {
            errors.invalid(
                format!("{path}.subPath"),
                &mount["subPath"],
                "must not contain '..'",
            );
        }
    }
}

fn probe(probe: &Value, path: &str, errors: &mut FieldErrors) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let given: Vec<&str> = handlers
        .into_iter()
        .filter(|handler| probe[*handler].is_object())
        .collect();
    if given.is_empty() {
        errors.required(path, "must specify a handler type");
    }
    for extra in given.iter().skip(1) {
        errors.forbidden(
            format!("{path}.{extra}"),
            "may not specify more than 1 handler type",
        );
    }
    for handler in ["httpGet", "tcpSocket"] {
        let value = &probe[handler]["port"];
        match value {
            Value::Number(_) => port(value, format!("{path}.{handler}.port"), errors),
            Value::String(name) => {
                for trouble in names::port(name) {
                    errors.invalid(format!("{path}.{handler}.port"), value, &trouble);
                }
            }
            _ => {}
        }
    }
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(&probe[field], &format!("{path}.{field}"), errors);
    }
}

fn resources(resources: &Value, path: &str, errors: &mut FieldErrors) {
    for field in ["limits", "requests"] {
        for (name, value) in entries(&resources[field]) {
            if parsed(value).is_some_and(quantity::Quantity::is_negative) {
                let path = format!("{path}.{field}[{name}]");
                errors.invalid(path, value, "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in entries(&resources["requests"]) {
        let limit = &resources["limits"][name];
        if let (Some(asked), Some(most)) = (parsed(request), parsed(limit))
            && asked > most
        {
            let detail = format!("must be less than or equal to {name} limit of {most}");
            errors.invalid(format!("{path}.requests"), request, &detail);
        }
    }
}

fn parsed(value: &Value) -> Option<quantity::Quantity> {
    quantity::parse(value.as_str()?)
}
