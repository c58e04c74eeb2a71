//! Host names in Istio objects: short names, wildcards, and what covers what.

/// The name that stands for all sidecars where gateways are listed.
pub const ALL_GATEWAYS_MESH: &str = "mesh";

/// Makes a short name (no dot) fully qualified in the namespace of the object that uses it. Other names, wildcards
/// and addresses stay as they are. Lower case, because DNS does not care.
pub fn resolve_host(host: &str, namespace: &str, domain: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.is_empty() || host.contains(['.', ':', '*']) || namespace.is_empty() {
        host
    } else {
        format!("{host}.{namespace}.svc.{domain}")
    }
}

/// Whether a host begins with a star.
pub fn has_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether every name that `host` stands for is also one that `pattern` stands for: `*.com` covers `*.shop.com`
/// and `shop.com`; a host covers itself.
pub fn host_covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.strip_prefix('*').unwrap_or(host).ends_with(suffix),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_resolved_and_others_stay() {
        let resolve = |host| resolve_host(host, "shop", "cluster.local");
        assert_eq!(resolve("Backend"), "backend.shop.svc.cluster.local");
        assert_eq!(resolve("backend.shop"), "backend.shop");
        assert_eq!(resolve("*.shop"), "*.shop");
        assert_eq!(resolve("*"), "*");
    }

    #[test]
    fn wildcards_cover_names_and_longer_wildcards() {
        assert!(host_covers("*", "*.com"));
        assert!(host_covers("*.com", "shop.com"));
        assert!(host_covers("*.com", "*.shop.com"));
        assert!(host_covers("a.com", "a.com"));
        assert!(!host_covers("*.shop.com", "*.com"));
        assert!(!host_covers("a.com", "*.com"));
    }
}
