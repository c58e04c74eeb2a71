//! Which workloads an object of `security.istio.io` is for: those of its namespace, or only those with certain labels;
//! objects of the root namespace are for the whole mesh.
//!
//! Kinds differ in what they make of the level: for PeerAuthentication the narrowest counts, others add up.

use std::collections::BTreeMap;

use super::services::contains_all;

/// A workload, as selectors see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub namespace: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

/// How narrowly an object is written; narrower is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// In the root namespace, for all workloads.
    Mesh,
    /// For all workloads of its namespace.
    Namespace,
    /// For those that it selects: of its namespace, or, in the root namespace, of the mesh.
    Workload,
}

/// At which level an object applies to a workload; `None` when it does not. Without labels a selector selects all.
pub fn applies(
    policy_namespace: &str,
    selector: Option<&BTreeMap<String, String>>,
    workload: Subject<'_>,
    root_namespace: &str,
) -> Option<Level> {
    let of_mesh = policy_namespace == root_namespace;
    if !of_mesh && policy_namespace != workload.namespace {
        return None;
    }
    match selector.filter(|selector| !selector.is_empty()) {
        None if of_mesh => Some(Level::Mesh),
        None => Some(Level::Namespace),
        Some(selector) => contains_all(workload.labels, selector).then_some(Level::Workload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_namespace_is_for_all_and_others_for_themselves() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let workload = Subject {
            namespace: "shop",
            labels: &labels,
        };
        let level = |namespace: &str, selector: &[(&str, &str)]| {
            let selector = selector
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            applies(namespace, Some(&selector.collect()), workload, "istio-system")
        };
        assert_eq!(level("istio-system", &[]), Some(Level::Mesh));
        assert_eq!(level("istio-system", &[("app", "web")]), Some(Level::Workload));
        assert_eq!(level("shop", &[]), Some(Level::Namespace));
        assert_eq!(level("shop", &[("app", "web")]), Some(Level::Workload));
        assert_eq!(level("shop", &[("app", "db")]), None);
        assert_eq!(level("far", &[]), None);
        assert_eq!(level("far", &[("app", "web")]), None);
        assert!(Level::Mesh < Level::Namespace && Level::Namespace < Level::Workload);
    }
}
