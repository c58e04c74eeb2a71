//! OpenAPI v3, as much as kubectl looks at: that the server validates fields itself, and the schemas of custom
//! resources for `kubectl explain`.
//!
//! The hash in each address changes with the document, because clients keep documents by address.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use super::discovery;
use super::registry::{Registry, Shape, Type};

/// `/openapi/v3`: where each group-version is described.
pub(super) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    let mut groups: Vec<&str> = registry.all().iter().map(|kind| &*kind.gvr.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        for version in discovery::versions(registry, group) {
            let Some(document) = document(registry, group, &version) else {
                continue;
            };
            let mut hasher = DefaultHasher::new();
            document.to_string().hash(&mut hasher);
            let root = root(group, &version);
            let url = format!("/openapi/v3/{root}?hash={:016X}", hasher.finish());
            paths.insert(root, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The document of one group-version.
pub(super) fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let types: Vec<&Type> = registry
        .all()
        .iter()
        .map(|kind| &**kind)
        .filter(|kind| kind.gvr.group == group && kind.gvr.version == version)
        .collect();
    if types.is_empty() {
        return None;
    }
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in types {
        let place = if kind.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let path = format!("/{}/{place}{}/{{name}}", root(group, version), kind.gvr.resource);
        paths.insert(
            path,
            json!({"get": operation(kind, &[]), "patch": operation(kind, WRITES)}),
        );
        if let Shape::Custom(custom) = &kind.shape {
            let name = format!("{}.{version}.{}", reversed(group), kind.kind);
            schemas.insert(name, schema(kind, custom.openapi()));
        }
    }
    let title = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(json!({
        "openapi": "3.0.0", "info": {"title": title, "version": "v1.33.4"}, "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// Parameters of writes: `fieldValidation` tells kubectl that it need not validate.
const WRITES: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];

fn operation(kind: &Type, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
        .collect();
    json!({"parameters": parameters, "x-kubernetes-group-version-kind": identity(kind)})
}

fn identity(kind: &Type) -> Value {
    json!({"group": kind.gvr.group, "version": kind.gvr.version, "kind": kind.kind})
}

/// The schema of a custom resource, with the fields that every object has.
fn schema(kind: &Type, given: &Value) -> Value {
    const OBJECT: &str = "Standard object's metadata. More info: \
        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
    let mut schema = given.clone();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    for (field, of) in [
        ("apiVersion", json!({"type": "string"})),
        ("kind", json!({"type": "string"})),
        ("metadata", json!({"type": "object", "description": OBJECT})),
    ] {
        if schema["properties"][field].is_null() {
            schema["properties"][field] = of;
        }
    }
    schema["x-kubernetes-group-version-kind"] = json!([identity(kind)]);
    schema
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn reversed(group: &str) -> String {
    let parts: Vec<&str> = group.rsplit('.').collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_finds_that_the_server_validates_fields() {
        let registry = Registry::built_in();
        let document = document(&registry, "apps", "v1").unwrap();
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        assert!(patch["parameters"].to_string().contains("fieldValidation"));
    }

    #[test]
    fn every_group_version_has_an_address_that_stays_as_long_as_its_document() {
        let (first, second) = (index(&Registry::built_in()), index(&Registry::built_in()));
        assert_eq!(first, second);
        let url = first["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
    }
}
