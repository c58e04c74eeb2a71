//! The texts of findings, in one table. Where Istio has a text, it is Istio's, because people search for it.
//!
//! <https://istio.io/latest/docs/reference/config/analysis/>

/// IST0101: a host, or a subset of one.
pub fn referenced_resource_not_found(kind: &str, name: &str) -> String {
    format!("Referenced {kind} not found: {name:?}")
}

/// IST0101: a delegate, and why what has its name is none.
pub fn delegate_not_found(name: &str, why: &str) -> String {
    format!("Referenced delegate not found: {name:?}{why}")
}

/// IST0113, as Istio said it until 1.9: what a rule asks for, and what is taken instead.
pub fn mtls_policy_conflict(host: &str, rule: &str, asked: &str, taken: &str) -> String {
    format!(
        "A DestinationRule and a PeerAuthentication are in conflict with regards to mTLS for host {host}. The \
         DestinationRule {rule:?} specifies {asked}, but {taken}."
    )
}

/// IST0127.
pub fn no_matching_workloads_found(labels: &str) -> String {
    format!("No matching workloads for this resource with the following labels: {labels}")
}

/// IST0167.
pub fn ineffective_policy(reason: &str) -> String {
    format!("The policy has no impact: {reason}.")
}

/// IST0130: a rule of a delegate.
pub fn delegate_rule_conflicts(name: &str, position: usize) -> String {
    format!(
        "rule spec.http[{position}] of delegate {name:?} is left out: its matches do not lie within those of this rule"
    )
}

/// IST0109.
pub fn conflicting_mesh_gateway_virtual_service_hosts(virtual_services: &str, host: &str) -> String {
    format!(
        "The VirtualServices {virtual_services} associated with mesh gateway define the same host {host} which can \
         lead to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single resource."
    )
}

/// IST0112.
pub fn destination_port_selector_required(host: &str, ports: &[u16]) -> String {
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    format!(
        "This VirtualService routes to a service {host:?} that exposes multiple ports [{ports}]. Specifying a port in \
         the destination is required to disambiguate."
    )
}

/// IST0174.
pub fn unknown_destination_rule_host(host: &str) -> String {
    format!("The host {host} defined in the DestinationRule does not match any services in the mesh.")
}

/// IST0101: somebody else who decides, and why that one cannot be asked.
pub fn provider_not_found(name: &str, why: &str) -> String {
    format!(
        "Referenced provider not found: {name:?}; requests and connections that the rules apply to are refused: {why}"
    )
}

/// IST0167: somebody else who decides, and the ports that carry no requests.
pub fn connections_pass_unasked(name: &str, ports: &str) -> String {
    format!(
        "The policy has no impact on connections to {ports}: provider {name:?} is asked over HTTP, about requests only. \
         A provider over gRPC (envoyExtAuthzGrpc) is asked about connections, too."
    )
}

/// IST0127.
pub fn no_matching_workloads(selector: &str) -> String {
    format!("No matching workloads for this resource with the following labels: {selector}")
}

/// AMI0004.
pub fn not_supported_yet(field: &str, what_happens: &str) -> String {
    let name = field.rsplit('.').next().unwrap_or(field);
    format!("{name} is not supported yet: {what_happens}")
}

/// AMI0005.
pub fn keys_unavailable(source: &str, problem: &str) -> String {
    format!(
        "The keys of {source} cannot be fetched: {problem}. Every token that they would verify is refused."
    )
}
