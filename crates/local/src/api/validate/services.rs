//! Services.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{items, metadata, names, one_of, port, text};
use crate::api::field::FieldErrors;

/// A Service; its cluster address stays once it is given.
pub fn service(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = &new["spec"];
    let kind = text(spec, "/type");
    let headless = spec["clusterIP"] == "None";
    one_of(
        &spec["type"],
        "spec.type".to_owned(),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        errors,
    );
    one_of(
        &spec["sessionAffinity"],
        "spec.sessionAffinity".to_owned(),
        &["ClientIP", "None"],
        errors,
    );
    metadata::labels(&spec["selector"], "spec.selector", errors);
    if kind == "ExternalName" {
        let name = text(spec, "/externalName");
        for trouble in names::dns_subdomain(name.trim_end_matches('.')) {
            errors.invalid("spec.externalName", &spec["externalName"], &trouble);
        }
    } else if !headless && items(&spec["ports"]).next().is_none() {
        errors.required("spec.ports", "");
    }
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.invalid("spec.clusterIPs[0]", &spec["clusterIP"], &detail);
    }
    ports(&spec["ports"], errors);
    if let Some(old) = old {
        address_stays(spec, &old["spec"], errors);
    }
}

fn ports(list: &Value, errors: &mut FieldErrors) {
    let several = items(list).nth(1).is_some();
    let (mut seen_names, mut seen_ports) = (HashSet::new(), HashSet::new());
    for (index, one) in items(list) {
        let path = format!("spec.ports[{index}]");
        let name = text(one, "/name");
        if name.is_empty() && several {
            errors.required(format!("{path}.name"), "");
        } else if !name.is_empty() {
            for trouble in names::dns_label(name) {
                errors.invalid(format!("{path}.name"), &one["name"], &trouble);
            }
            if !seen_names.insert(name) {
                errors.duplicate(format!("{path}.name"), &one["name"]);
            }
        }
        port(&one["port"], format!("{path}.port"), errors);
        one_of(
            &one["protocol"],
            format!("{path}.protocol"),
            &["SCTP", "TCP", "UDP"],
            errors,
        );
        match &one["targetPort"] {
            number @ Value::Number(_) => port(number, format!("{path}.targetPort"), errors),
            Value::String(name) => {
                for trouble in names::port(name) {
                    errors.invalid(format!("{path}.targetPort"), &one["targetPort"], &trouble);
                }
            }
            _ => {}
        }
        if !seen_ports.insert((one["protocol"].to_string(), one["port"].to_string())) {
            errors.duplicate(path, &json!({"protocol": one["protocol"], "port": one["port"]}));
        }
    }
}

fn address_stays(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let before = text(old, "/clusterIP");
    let (now, kind) = (text(new, "/clusterIP"), text(new, "/type"));
    if !before.is_empty() && kind != "ExternalName" && text(old, "/type") != "ExternalName" && now != before {
        errors.invalid("spec.clusterIPs[0]", &json!([now]), "may not change once set");
    }
}
