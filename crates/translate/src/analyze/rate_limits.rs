//! RateLimits that are for nobody, or that ask a server which nobody knows.

use resources::istio::resolve_host;
use resources::policy::rate_limit::LimitScope;
use resources::{Code, Key, Kind, Problem, RateLimit};

use super::messages;
use crate::mesh::services::service_host;
use crate::{DOMAIN, Mesh};

pub(super) fn check(mesh: &Mesh, problems: &mut Vec<Problem>) {
    for object in mesh.rate_limits.iter() {
        let meta = &object.metadata;
        let key = Key::new(Kind::RateLimit, &meta.namespace, &meta.name);
        of_target(mesh, &key, object, problems);
        of_server(mesh, &key, object, problems);
    }
}

fn of_target(mesh: &Mesh, key: &Key, object: &RateLimit, problems: &mut Vec<Problem>) {
    let Some(target) = &object.spec.target_ref else {
        return;
    };
    let host = service_host(&target.name, &key.namespace);
    let mut add = |field: &str, kind, name: &str| {
        let message = messages::referenced_resource_not_found(kind, name);
        problems.push(Problem::new(
            Code::ReferencedResourceNotFound,
            key,
            field,
            message,
        ));
    };
    let Some(service) = mesh.services.get(host.as_str()) else {
        add("spec.targetRef.name", "Service", &target.name);
        return;
    };
    if let Some(section) = &target.section_name
        && !service.ports.iter().any(|port| port.name == *section)
    {
        let name = format!("{}:{section}", target.name);
        add("spec.targetRef.sectionName", "Service port", &name);
    }
}

fn of_server(mesh: &Mesh, key: &Key, object: &RateLimit, problems: &mut Vec<Problem>) {
    let spec = &object.spec;
    let server = spec.global.as_ref().and_then(|global| global.server.as_ref());
    let shared = spec.limits.iter().any(|limit| limit.scope == LimitScope::Global);
    let Some(server) = server.filter(|_| shared) else {
        return;
    };
    let host = resolve_host(&server.host, &key.namespace, DOMAIN);
    let known = mesh.services.get(&host);
    if known.is_none_or(|service| service.port(server.port.into()).is_none()) {
        let name = format!("{}:{}", server.host, server.port);
        let message = messages::referenced_resource_not_found("host:port", &name);
        problems.push(Problem::new(
            Code::ReferencedResourceNotFound,
            key,
            "spec.global.server",
            message,
        ));
    }
}
