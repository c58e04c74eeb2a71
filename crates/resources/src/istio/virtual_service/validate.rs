//! What Istio's webhook says about a VirtualService by itself: the object, its hosts, TLS and TCP rules.

use std::net::IpAddr;

use super::{RouteDestination, TcpMatch, TcpRoute, TlsRoute, VirtualService, validate_http};
use crate::istio::report::{Report, is_dns_label};
use crate::istio::{host_covers, resolve_host};
use crate::{Key, Kind, Problem};

impl VirtualService {
    /// What is wrong with the object by itself.
    pub fn validate(&self) -> Vec<Problem> {
        let meta = &self.metadata;
        let mut report = Report::new(Key::new(Kind::VirtualService, &meta.namespace, &meta.name));
        let spec = &self.spec;
        self.validate_hosts(&mut report);
        for (index, gateway) in spec.gateways.iter().enumerate() {
            validate_gateway(&mut report, &format!("spec.gateways[{index}]"), gateway);
        }
        if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
            report.error("spec", "http, tcp or tls must be provided in virtual service");
        }
        validate_http::routes(&mut report, spec);
        for (index, rule) in spec.tls.iter().enumerate() {
            validate_tls(&mut report, &format!("spec.tls[{index}]"), rule, &spec.hosts);
        }
        for (index, rule) in spec.tcp.iter().enumerate() {
            validate_tcp(&mut report, &format!("spec.tcp[{index}]"), rule);
        }
        report.export_to(&spec.export_to);
        report.into_problems()
    }

    fn validate_hosts(&self, report: &mut Report) {
        let spec = &self.spec;
        if spec.hosts.is_empty() {
            // Rules for others to delegate to.
            for (used, field) in [
                (!spec.gateways.is_empty(), "spec.gateways"),
                (!spec.tls.is_empty(), "spec.tls"),
                (!spec.tcp.is_empty(), "spec.tcp"),
            ] {
                if used {
                    report.error(field, "delegate virtual service (without hosts) cannot have this");
                }
            }
            return;
        }
        let namespace = &self.metadata.namespace;
        // The domain does not matter: it is the same on both sides of a comparison.
        let resolved: Vec<_> = spec
            .hosts
            .iter()
            .map(|host| resolve_host(host, namespace, "cluster.local"))
            .collect();
        for (index, host) in spec.hosts.iter().enumerate() {
            let field = format!("spec.hosts[{index}]");
            report.host(&field, host);
            if host == "*" && spec.applies_to_mesh() {
                report.error(
                    &field,
                    "wildcard host * is not allowed for virtual services bound to the mesh gateway",
                );
            }
            let overlapping = |other: &&String| {
                host_covers(other, &resolved[index]) || host_covers(&resolved[index], other)
            };
            if let Some(other) = resolved[..index].iter().find(overlapping) {
                report.error(
                    &field,
                    format!("duplicate hosts in virtual service: {host} and {other}"),
                );
            }
        }
    }
}

fn validate_gateway(report: &mut Report, field: &str, gateway: &str) {
    if gateway.is_empty() {
        report.error(field, "gateway name must not be empty");
    } else if gateway.contains('.') && !gateway.contains('/') {
        report.warning(
            field,
            format!("gateway {gateway:?}: write namespace/name instead of a host name"),
        );
    } else if !gateway.split('/').all(is_dns_label) || gateway.split('/').count() > 2 {
        report.error(
            field,
            format!("invalid gateway {gateway:?}: must be name or namespace/name"),
        );
    }
}

fn validate_tls(report: &mut Report, field: &str, rule: &TlsRoute, hosts: &[String]) {
    if rule.matches.is_empty() {
        report.error(field, "TLS route must have at least one match condition");
    }
    for (index, matching) in rule.matches.iter().enumerate() {
        let field = format!("{field}.match[{index}]");
        if matching.sni_hosts.is_empty() {
            report.error(
                &format!("{field}.sniHosts"),
                "TLS match must have at least one SNI host",
            );
        }
        for (index, name) in matching.sni_hosts.iter().enumerate() {
            let field = format!("{field}.sniHosts[{index}]");
            report.host(&field, name);
            if name.parse::<IpAddr>().is_ok() {
                report.warning(
                    &field,
                    format!("using an IP address ({name}) goes against SNI spec"),
                );
            }
            if !hosts.iter().any(|host| host_covers(host, name)) {
                report.error(
                    &field,
                    format!(
                        "SNI host {name:?} is not a compatible subset of any of the virtual service hosts"
                    ),
                );
            }
        }
        subnets(report, &field, &matching.destination_subnets);
        if let Some(port) = matching.port {
            report.port(&format!("{field}.port"), port);
        }
    }
    destinations(report, field, &rule.route);
}

fn validate_tcp(report: &mut Report, field: &str, rule: &TcpRoute) {
    for (
        index,
        TcpMatch {
            destination_subnets,
            port,
            ..
        },
    ) in rule.matches.iter().enumerate()
    {
        let field = format!("{field}.match[{index}]");
        subnets(report, &field, destination_subnets);
        if let Some(port) = port {
            report.port(&format!("{field}.port"), *port);
        }
    }
    destinations(report, field, &rule.route);
}

fn subnets(report: &mut Report, field: &str, subnets: &[String]) {
    for (index, subnet) in subnets.iter().enumerate() {
        let (address, bits) = subnet.split_once('/').unwrap_or((subnet, "0"));
        let most = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let bits: Option<u8> = bits.parse().ok();
        let good = address
            .parse()
            .is_ok_and(|address| bits.is_some_and(|bits| bits <= most(address)));
        if !good {
            report.error(
                &format!("{field}.destinationSubnets[{index}]"),
                format!("invalid CIDR or address {subnet:?}"),
            );
        }
    }
}

fn destinations(report: &mut Report, field: &str, targets: &[RouteDestination]) {
    if targets.is_empty() {
        report.error(&format!("{field}.route"), "route is required");
    }
    for (index, target) in targets.iter().enumerate() {
        report.destination(
            &format!("{field}.route[{index}].destination"),
            &target.destination,
        );
    }
    weights(
        report,
        field,
        &targets.iter().map(|target| target.weight).collect::<Vec<_>>(),
    );
}

/// A single target takes everything, whatever its weight.
pub(super) fn weights(report: &mut Report, field: &str, weights: &[i32]) {
    for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight < 0) {
        let field = format!("{field}.route[{index}].weight");
        report.error(&field, format!("weight {weight} < 0"));
    }
    let total: i64 = weights.iter().map(|weight| i64::from(*weight).max(0)).sum();
    if weights.len() > 1 && total == 0 {
        report.error(&format!("{field}.route"), "total destination weight = 0");
    }
}
