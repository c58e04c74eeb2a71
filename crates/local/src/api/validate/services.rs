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
    addresses_agree(spec, errors);
    ports(&spec["ports"], errors);
    exposure(spec, kind, errors);
    affinity(spec, errors);
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

/// How a Service is reached from outside, and from which endpoints it is served.
fn exposure(spec: &Value, kind: &str, errors: &mut FieldErrors) {
    let is_exposed = matches!(kind, "NodePort" | "LoadBalancer");
    if !is_exposed {
        for (index, one) in items(&spec["ports"]) {
            if one["nodePort"].as_i64().unwrap_or_default() != 0 {
                let detail = format!("may not be used when `type` is '{kind}'");
                errors.forbidden(format!("spec.ports[{index}].nodePort"), &detail);
            }
        }
        if !spec["externalTrafficPolicy"].is_null() {
            let detail = "may only be set for externally-accessible services";
            errors.invalid(
                "spec.externalTrafficPolicy",
                &spec["externalTrafficPolicy"],
                detail,
            );
        }
    }
    let may_be_local = ["Cluster", "Local"];
    if is_exposed {
        let policy = &spec["externalTrafficPolicy"];
        one_of(
            policy,
            "spec.externalTrafficPolicy".to_owned(),
            &may_be_local,
            errors,
        );
    }
    if !spec["internalTrafficPolicy"].is_null() {
        let policy = &spec["internalTrafficPolicy"];
        one_of(
            policy,
            "spec.internalTrafficPolicy".to_owned(),
            &may_be_local,
            errors,
        );
    }
    if !spec["trafficDistribution"].is_null() {
        let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        let stated = &spec["trafficDistribution"];
        one_of(stated, "spec.trafficDistribution".to_owned(), &known, errors);
    }
    if kind != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if !spec[field].is_null() {
                errors.forbidden(
                    format!("spec.{field}"),
                    "may only be used when `type` is 'LoadBalancer'",
                );
            }
        }
    }
}

fn affinity(spec: &Value, errors: &mut FieldErrors) {
    let config = &spec["sessionAffinityConfig"];
    if spec["sessionAffinity"] != "ClientIP" {
        if !config.is_null() {
            let detail = "must not be set when session affinity is None";
            errors.forbidden("spec.sessionAffinityConfig", detail);
        }
        return;
    }
    let seconds = &config["clientIP"]["timeoutSeconds"];
    if !(1..=86400).contains(&seconds.as_i64().unwrap_or_default()) {
        let path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        errors.invalid(path, seconds, "must be greater than 0 and less than 86400");
    }
}

/// The list of addresses begins with the address.
fn addresses_agree(spec: &Value, errors: &mut FieldErrors) {
    let (address, list) = (text(spec, "/clusterIP"), &spec["clusterIPs"]);
    let Some((_, first)) = items(list).next() else {
        return;
    };
    if address.is_empty() {
        errors.invalid(
            "spec.clusterIPs",
            list,
            "must be empty when `clusterIP` is not specified",
        );
    } else if first != address {
        errors.invalid("spec.clusterIPs", list, "first value must match `clusterIP`");
    }
}

fn address_stays(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let before = text(old, "/clusterIP");
    let (now, kind) = (text(new, "/clusterIP"), text(new, "/type"));
    if !before.is_empty() && kind != "ExternalName" && text(old, "/type") != "ExternalName" && now != before {
        errors.invalid("spec.clusterIPs[0]", &json!([now]), "may not change once set");
    }
}
