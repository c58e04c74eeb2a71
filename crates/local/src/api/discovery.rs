//! What the API serves, in the three forms in which clients ask: aggregated v2 and v2beta1, and the older
//! document per group-version. Made anew for each request from the registry in force.
//!
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>

use http::HeaderValue;
use serde_json::{Value, json};

use super::registry::{Registry, Type};
use super::reviews::REVIEWS;

const VERSION: &str = "v1.33.4";

/// A row of the documents: one resource, or one part of one.
struct Row {
    resource: String,
    /// Empty for a whole resource.
    subresource: &'static str,
    kind: String,
    /// Group and version of what a subresource answers with, where they are not the resource's own.
    answers: Option<(&'static str, &'static str)>,
    singular: String,
    namespaced: bool,
    verbs: Vec<&'static str>,
    short_names: Vec<String>,
    categories: Vec<String>,
}

/// `/version`.
pub(super) fn version() -> Value {
    let platform = format!(
        "linux/{}",
        if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        }
    );
    json!({
        "major": "1", "minor": "33", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": platform,
    })
}

/// The content type of an aggregated document; without it clients take it for a legacy one.
pub(super) fn content_type(version: &str) -> HeaderValue {
    HeaderValue::from_static(match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    })
}

/// `/api` (the core group) and `/apis` (the others) in one document each.
pub(super) fn aggregated(registry: &Registry, core: bool, version: &str) -> Value {
    let items: Vec<Value> = group_names(registry)
        .into_iter()
        .filter(|group| group.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = versions(registry, &group)
                .into_iter()
                .map(|version| {
                    let resources = aggregated_resources(&rows(registry, &group, &version));
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn aggregated_resources(rows: &[Row]) -> Vec<Value> {
    let whole = rows.iter().filter(|row| row.subresource.is_empty());
    whole
        .map(|row| {
            let mut resource = json!({
                "resource": row.resource,
                "responseKind": response_kind(row),
                "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": row.singular,
                "verbs": row.verbs,
            });
            if !row.short_names.is_empty() {
                resource["shortNames"] = json!(row.short_names);
            }
            if !row.categories.is_empty() {
                resource["categories"] = json!(row.categories);
            }
            let parts: Vec<Value> = rows
                .iter()
                .filter(|part| part.resource == row.resource && !part.subresource.is_empty())
                .map(|part| {
                    json!({"subresource": part.subresource, "responseKind": response_kind(part), "verbs": part.verbs})
                })
                .collect();
            if !parts.is_empty() {
                resource["subresources"] = parts.into();
            }
            resource
        })
        .collect()
}

fn response_kind(row: &Row) -> Value {
    let (group, version) = row.answers.unwrap_or_default();
    json!({"group": group, "version": version, "kind": row.kind})
}

/// `/api` for older clients.
pub(super) fn core_versions() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
    })
}

/// `/apis` for older clients.
pub(super) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = group_names(registry)
        .iter()
        .filter(|group| !group.is_empty())
        .map(|group| group_entry(registry, group))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub(super) fn group(registry: &Registry, name: &str) -> Option<Value> {
    group_names(registry).iter().any(|group| group == name).then(|| {
        let mut entry = group_entry(registry, name);
        entry["kind"] = "APIGroup".into();
        entry["apiVersion"] = "v1".into();
        entry
    })
}

fn group_entry(registry: &Registry, group: &str) -> Value {
    let versions: Vec<Value> = versions(registry, group)
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": group, "versions": versions, "preferredVersion": preferred})
}

/// `/api/v1`, `/apis/GROUP/VERSION`.
pub(super) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let rows = rows(registry, group, version);
    if rows.is_empty() {
        return None;
    }
    let resources: Vec<Value> = rows.iter().map(legacy_resource).collect();
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut list = json!({"kind": "APIResourceList"});
    // The core group's list has never had one.
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list["groupVersion"] = group_version.into();
    list["resources"] = resources.into();
    Some(list)
}

fn legacy_resource(row: &Row) -> Value {
    let name = match row.subresource {
        "" => row.resource.clone(),
        part => format!("{}/{part}", row.resource),
    };
    let mut resource = json!({
        "name": name, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind,
        "verbs": row.verbs,
    });
    if let Some((group, version)) = row.answers {
        resource["group"] = group.into();
        resource["version"] = version.into();
    }
    if !row.short_names.is_empty() {
        resource["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        resource["categories"] = json!(row.categories);
    }
    resource
}

/// All groups, the core group first, each once.
fn group_names(registry: &Registry) -> Vec<String> {
    let types = registry.all().iter().map(|kind| kind.gvr.group.to_string());
    let mut names: Vec<String> = types
        .chain(REVIEWS.iter().map(|(gvr, _, _)| gvr.group.to_string()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The versions of a group, the preferred one first.
pub(super) fn versions(registry: &Registry, group: &str) -> Vec<String> {
    let types = registry
        .all()
        .iter()
        .map(|kind| &kind.gvr)
        .filter(|gvr| gvr.group == group);
    let reviews = REVIEWS
        .iter()
        .map(|(gvr, _, _)| gvr)
        .filter(|gvr| gvr.group == group);
    let mut versions: Vec<String> = types.chain(reviews).map(|gvr| gvr.version.to_string()).collect();
    versions.sort_by(|left, right| priority(right).cmp(&priority(left)).then_with(|| left.cmp(right)));
    versions.dedup();
    versions
}

/// Kubernetes' order of versions: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha3`, then all others.
fn priority(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let (major, stage, minor) = if let Some((major, minor)) = rest.split_once("beta") {
        (major, 1, minor)
    } else if let Some((major, minor)) = rest.split_once("alpha") {
        (major, 0, minor)
    } else {
        (rest, 2, "0")
    };
    Some((stage, major.parse().ok()?, minor.parse().ok()?))
}

fn rows(registry: &Registry, group: &str, version: &str) -> Vec<Row> {
    let types = registry
        .all()
        .iter()
        .filter(|kind| kind.gvr.group == group && kind.gvr.version == version);
    let mut rows: Vec<Row> = types.flat_map(|kind| rows_of(kind)).collect();
    let reviews = REVIEWS
        .iter()
        .filter(|(gvr, _, _)| gvr.group == group && gvr.version == version);
    rows.extend(reviews.map(|(gvr, kind, namespaced)| Row {
        resource: gvr.resource.to_string(),
        subresource: "",
        kind: (*kind).to_owned(),
        answers: None,
        singular: kind.to_lowercase(),
        namespaced: *namespaced,
        verbs: vec!["create"],
        short_names: Vec::new(),
        categories: Vec::new(),
    }));
    rows
}

/// A type and its parts.
fn rows_of(kind: &Type) -> Vec<Row> {
    const CHANGE: &[&str] = &["get", "patch", "update"];
    let texts = |list: &[super::registry::Text]| list.iter().map(ToString::to_string).collect();
    let mut rows = vec![Row {
        resource: kind.gvr.resource.to_string(),
        subresource: "",
        kind: kind.kind.to_string(),
        answers: None,
        singular: kind.singular.to_string(),
        namespaced: kind.namespaced,
        verbs: kind.verbs.to_vec(),
        short_names: texts(&kind.short_names),
        categories: texts(&kind.categories),
    }];
    let mut part = |subresource, of: &str, answers, verbs: &[&'static str]| {
        rows.push(Row {
            resource: kind.gvr.resource.to_string(),
            subresource,
            kind: of.to_owned(),
            answers,
            singular: String::new(),
            namespaced: kind.namespaced,
            verbs: verbs.to_vec(),
            short_names: Vec::new(),
            categories: Vec::new(),
        });
    };
    if kind.scale.is_some() {
        part("scale", "Scale", Some(("autoscaling", "v1")), CHANGE);
    }
    if kind.status {
        part("status", &kind.kind, None, CHANGE);
    }
    match kind.gvr.to_string().as_str() {
        "pods" => {
            part("attach", "PodAttachOptions", None, &["create", "get"]);
            part("eviction", "Eviction", Some(("policy", "v1")), &["create"]);
            part("exec", "PodExecOptions", None, &["create", "get"]);
            part("log", "Pod", None, &["get"]);
            part("portforward", "PodPortForwardOptions", None, &["create", "get"]);
        }
        "namespaces" => part("finalize", "Namespace", None, &["update"]),
        "serviceaccounts" => {
            part(
                "token",
                "TokenRequest",
                Some(("authentication.k8s.io", "v1")),
                &["create"],
            );
        }
        _ => {}
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    #[test]
    fn versions_stand_in_kubernetes_order() {
        let mut versions = ["v1alpha3", "v1", "beta", "v1beta1", "v2", "v1beta2"];
        versions.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(versions, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha3", "beta"]);
    }

    #[test]
    fn both_forms_name_the_same_resources() {
        let registry = Registry::built_in();
        let document = aggregated(&registry, false, "v2");
        let apps = document["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|group| group["metadata"]["name"] == "apps");
        let listed = apps.unwrap()["versions"][0]["resources"].as_array().unwrap();
        let deployments = listed
            .iter()
            .find(|resource| resource["resource"] == "deployments")
            .unwrap();
        assert_eq!(
            deployments["subresources"][0]["responseKind"]["group"],
            "autoscaling"
        );
        assert_eq!(deployments["categories"][0], "all");
        let legacy = resources(&registry, "apps", "v1").unwrap();
        let names: Vec<_> = legacy["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["name"])
            .collect();
        assert!(names.contains(&&json!("deployments/scale")), "{names:?}");
        assert!(resources(&registry, "apps", "v9").is_none());
    }

    #[test]
    fn questions_are_served_for_create_alone() {
        let legacy = resources(&Registry::built_in(), "authorization.k8s.io", "v1").unwrap();
        let one = legacy["resources"].as_array().unwrap();
        let review = one
            .iter()
            .find(|one| one["name"] == "selfsubjectaccessreviews")
            .unwrap();
        assert_eq!(review["verbs"], json!(["create"]));
    }
}
