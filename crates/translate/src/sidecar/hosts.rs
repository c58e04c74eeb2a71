//! Names by which a client may call a service: the domains of its virtual host.

use snapshot::Host;

use crate::DOMAIN;
use crate::mesh::services::Service;

/// All names of a service, as seen from a namespace. Ports are ignored when a request is matched.
pub(super) fn domains(service: &Service, aliases: &[Host], client_namespace: &str) -> Vec<String> {
    let mut domains: Vec<String> = [&service.host]
        .into_iter()
        .chain(aliases)
        .flat_map(|host| host_domains(host.as_str(), client_namespace))
        .collect();
    if service.is_headless {
        // Pods of a StatefulSet have names under that of their service.
        let of_pods: Vec<_> = domains.iter().map(|domain| format!("*.{domain}")).collect();
        domains.extend(of_pods);
    }
    domains.extend(service.addresses.iter().map(|address| match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    }));
    domains
}

/// The forms in which the resolver of a pod completes a name: `backend` (in its own namespace only), `backend.shop`,
/// `backend.shop.svc`, and the whole name with and without the final dot.
pub(crate) fn host_domains(host: &str, client_namespace: &str) -> Vec<String> {
    let mut domains = vec![host.to_owned()];
    if host.starts_with('*') {
        return domains;
    }
    domains.push(format!("{host}."));
    let short = host.strip_suffix(&format!(".svc.{DOMAIN}"));
    if let Some((name, namespace)) = short.and_then(|short| short.split_once('.')) {
        if namespace == client_namespace {
            domains.push(name.into());
        }
        domains.push(format!("{name}.{namespace}.svc"));
        domains.push(format!("{name}.{namespace}"));
    }
    domains
}
