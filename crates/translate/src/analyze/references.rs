//! Names of things that do not exist: hosts without service, subsets that no DestinationRule defines.

use std::collections::BTreeMap;

use resources::istio::virtual_service::HttpRoute;
use resources::istio::{Destination, host_covers, resolve_host};
use resources::{Code, DestinationRule, Key, Problem, Resource, VirtualService};

use super::messages;
use crate::mesh::delegate::{self, Missing};
use crate::mesh::policies::Client;
use crate::mesh::services::Service;
use crate::{DOMAIN, Mesh, Protocol};

pub(super) fn of_virtual_service(
    mesh: &Mesh,
    key: &Key,
    object: &VirtualService,
    problems: &mut Vec<Problem>,
) {
    let spec = &object.spec;
    let mut delegates = Vec::new();
    let mut check =
        |field: String, destination: &Destination| of_destination(mesh, key, &field, destination, problems);
    for (index, rule) in spec.http.iter().enumerate() {
        let field = format!("spec.http[{index}].delegate");
        delegates.extend(of_delegate(mesh, key, &field, rule));
        for (target, route) in rule.route.iter().enumerate() {
            check(
                format!("spec.http[{index}].route[{target}].destination"),
                &route.destination,
            );
        }
        if let Some(mirror) = &rule.mirror {
            check(format!("spec.http[{index}].mirror"), mirror);
        }
        for (target, mirror) in rule.mirrors.iter().enumerate() {
            check(
                format!("spec.http[{index}].mirrors[{target}].destination"),
                &mirror.destination,
            );
        }
    }
    let tls = spec
        .tls
        .iter()
        .map(|rule| &rule.route)
        .enumerate()
        .map(|(index, route)| ("tls", index, route));
    let tcp = spec
        .tcp
        .iter()
        .map(|rule| &rule.route)
        .enumerate()
        .map(|(index, route)| ("tcp", index, route));
    for (kind, index, route) in tls.chain(tcp) {
        for (target, route) in route.iter().enumerate() {
            check(
                format!("spec.{kind}[{index}].route[{target}].destination"),
                &route.destination,
            );
        }
    }
    problems.append(&mut delegates);
}

/// What becomes of the delegate that a rule names.
fn of_delegate(mesh: &Mesh, key: &Key, field: &str, rule: &HttpRoute) -> Vec<Problem> {
    let Some(delegate) = delegate::key_of(rule, &key.namespace) else {
        return Vec::new();
    };
    let name = format!("{}/{}", delegate.namespace, delegate.name);
    let object = match mesh.get(&delegate) {
        Some(Resource::VirtualService(object)) => Some(object.as_ref()),
        _ => None,
    };
    let why = delegate::why_missing(object, &key.namespace).map(|missing| match missing {
        Missing::NotThere => String::new(),
        Missing::HasHosts => " (it has hosts, so its rules are its own)".to_owned(),
        Missing::NotExported => format!(" (it is not exported to namespace {})", key.namespace),
    });
    if let Some(why) = why {
        let message = messages::delegate_not_found(&name, &why);
        return vec![Problem::new(
            Code::ReferencedResourceNotFound,
            key,
            field,
            message,
        )];
    }
    let rules = object.iter().flat_map(|object| &object.spec.http).enumerate();
    let left_out = rules.filter(|(_, theirs)| delegate::merge(rule, (*theirs).clone()).is_none());
    left_out
        .map(|(position, _)| {
            let message = messages::delegate_rule_conflicts(&name, position);
            Problem::new(Code::VirtualServiceUnreachableRule, key, field, message)
        })
        .collect()
}

fn of_destination(
    mesh: &Mesh,
    key: &Key,
    field: &str,
    destination: &Destination,
    problems: &mut Vec<Problem>,
) {
    let mut add = |code, part: &str, message| {
        problems.push(Problem::new(code, key, format!("{field}.{part}"), message))
    };
    let host = resolve_host(&destination.host, &key.namespace, DOMAIN);
    let visible = |service: &&std::sync::Arc<Service>| service.visibility.includes(&key.namespace);
    let Some(service) = mesh.services.get(&host).filter(visible) else {
        let message = messages::referenced_resource_not_found("host", &destination.host);
        add(Code::ReferencedResourceNotFound, "host", message);
        return;
    };
    if let Some(subset) = destination.subset.as_deref().filter(|subset| !subset.is_empty()) {
        // Judged as a client in the namespace of the VirtualService would see it.
        let client = Client {
            namespace: &key.namespace,
            labels: &BTreeMap::new(),
        };
        let policy = mesh.policies.find(client, service);
        if policy.and_then(|policy| policy.subset(subset)).is_none() {
            let name = format!("{}+{subset}", destination.host);
            let message = messages::referenced_resource_not_found("host+subset in destinationrule", &name);
            add(Code::ReferencedResourceNotFound, "subset", message);
        }
    }
    let ports: Vec<u16> = service
        .ports
        .iter()
        .filter(|port| port.protocol != Protocol::Udp)
        .map(|port| port.port)
        .collect();
    match destination.port {
        None if ports.len() > 1 => {
            let message = messages::destination_port_selector_required(&destination.host, &ports);
            add(
                Code::VirtualServiceDestinationPortSelectorRequired,
                "port",
                message,
            );
        }
        Some(port) if service.port(port.number).is_none() => {
            let name = format!("{}:{}", destination.host, port.number);
            let message = messages::referenced_resource_not_found("host:port", &name);
            add(Code::ReferencedResourceNotFound, "port.number", message);
        }
        Some(_) | None => {}
    }
}

pub(super) fn of_destination_rule(
    mesh: &Mesh,
    key: &Key,
    object: &DestinationRule,
    problems: &mut Vec<Problem>,
) {
    let host = resolve_host(&object.spec.host, &key.namespace, DOMAIN);
    if !mesh
        .services
        .iter()
        .any(|service| host_covers(&host, service.host.as_str()))
    {
        let message = messages::unknown_destination_rule_host(&object.spec.host);
        problems.push(Problem::new(
            Code::UnknownDestinationRuleHost,
            key,
            "spec.host",
            message,
        ));
    }
}
