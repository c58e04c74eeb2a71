//! The pod's own files in `/etc`: names, hosts and how they are found.

use std::fmt::Write;
use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// What the cluster's DNS is called.
#[derive(Clone, Debug)]
pub(crate) struct ClusterDns {
    pub(crate) address: String,
    /// `cluster.local`.
    pub(crate) domain: String,
}

/// Writes the files of a pod into `directory`.
pub(crate) fn write(directory: &Path, pod: &Pod, address: &str, dns: &ClusterDns) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let of_node = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for (name, text) in [
        ("resolv.conf", resolv_conf(pod, dns, &of_node)),
        ("hosts", hosts(pod, address, dns)),
        ("hostname", format!("{}\n", hostname(pod))),
        // Plain: resolvers that speak to services of the host would ask the wrong place.
        ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n".to_owned()),
    ] {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// The pod's host name: its own choice, or its name as far as a host name may go.
pub(crate) fn hostname(pod: &Pod) -> String {
    let stated = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.hostname.as_ref())
        .filter(|name| !name.is_empty());
    let name = stated.or(pod.metadata.name.as_ref()).cloned().unwrap_or_default();
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}

fn resolv_conf(pod: &Pod, dns: &ClusterDns, of_node: &str) -> String {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = &dns.domain;
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let in_node = spec.host_network == Some(true);
    let (mut servers, mut searches, mut options) = match policy {
        "None" => (vec![], vec![], vec![]),
        "ClusterFirst" if in_node => parse(of_node),
        "Default" => parse(of_node),
        _ => (
            vec![dns.address.clone()],
            vec![
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.clone(),
            ],
            vec!["ndots:5".to_owned()],
        ),
    };
    if let Some(own) = &spec.dns_config {
        servers.extend(own.nameservers.iter().flatten().cloned());
        searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            options.retain(|earlier| earlier.split(':').next() != Some(&name));
            options.push(
                option
                    .value
                    .as_ref()
                    .map_or(name.clone(), |value| format!("{name}:{value}")),
            );
        }
    }
    let mut text = String::new();
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// Servers, searches and options of a `resolv.conf`.
type Resolver = (Vec<String>, Vec<String>, Vec<String>);

fn parse(text: &str) -> Resolver {
    let (mut servers, mut searches, mut options) = (vec![], vec![], vec![]);
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => servers.extend(words),
            Some("search") => searches.extend(words),
            Some("options") => options.extend(words),
            _ => {}
        }
    }
    (servers, searches, options)
}

fn hosts(pod: &Pod, address: &str, dns: &ClusterDns) -> String {
    let name = hostname(pod);
    let mut text =
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            .to_owned();
    let spec = pod.spec.as_ref();
    let subdomain = spec
        .and_then(|spec| spec.subdomain.as_ref())
        .filter(|name| !name.is_empty());
    let _ = match subdomain {
        Some(subdomain) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            writeln!(
                text,
                "{address}\t{name}.{subdomain}.{namespace}.svc.{}\t{name}",
                dns.domain
            )
        }
        None => writeln!(text, "{address}\t{name}"),
    };
    for alias in spec
        .into_iter()
        .flat_map(|spec| spec.host_aliases.iter().flatten())
    {
        let names: Vec<_> = alias.hostnames.iter().flatten().map(String::as_str).collect();
        let _ = writeln!(text, "{}\t{}", alias.ip, names.join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let metadata = json!({"name": "web-0", "namespace": "shop"});
        let object = Value::from_iter([("metadata", metadata), ("spec", spec)]);
        serde_json::from_value(object).unwrap()
    }

    fn dns() -> ClusterDns {
        ClusterDns {
            address: "10.96.0.10".to_owned(),
            domain: "cluster.local".to_owned(),
        }
    }

    #[test]
    fn names_are_looked_for_in_the_pod_s_namespace_first() {
        let text = resolv_conf(&pod(json!({"containers": []})), &dns(), "nameserver 1.1.1.1");
        assert_eq!(
            text,
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
    }

    #[test]
    fn the_pod_s_own_dns_settings_count() {
        let spec = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["9.9.9.9"], "searches": ["x.y"], "options": [{"name": "ndots", "value": "2"}]}});
        assert_eq!(
            resolv_conf(&pod(spec), &dns(), ""),
            "search x.y\nnameserver 9.9.9.9\noptions ndots:2\n"
        );
        let spec = json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}});
        assert!(resolv_conf(&pod(spec), &dns(), "").ends_with("options ndots:1\n"));
        let spec = json!({"containers": [], "dnsPolicy": "Default"});
        assert_eq!(
            resolv_conf(&pod(spec), &dns(), "nameserver 1.1.1.1\n"),
            "nameserver 1.1.1.1\n"
        );
    }

    #[test]
    fn a_pod_knows_its_own_name_and_its_aliases() {
        let spec = json!({"containers": [], "subdomain": "web", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]});
        let text = hosts(&pod(spec), "10.244.0.9", &dns());
        assert!(
            text.contains("10.244.0.9\tweb-0.web.shop.svc.cluster.local\tweb-0\n"),
            "{text}"
        );
        assert!(text.ends_with("1.2.3.4\ta\tb\n"), "{text}");
        let mut long = pod(json!({"containers": []}));
        long.metadata.name = Some("x".repeat(62) + "-y");
        assert_eq!(hostname(&long), "x".repeat(62));
    }
}
