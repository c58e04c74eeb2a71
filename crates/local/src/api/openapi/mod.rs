//! OpenAPI v3: that the server validates fields itself, and what `kubectl explain` shows of built-in kinds and of
//! custom resources.
//!
//! Documents are made when somebody asks, once for each set of CRDs. The hash in each address changes with what a
//! document is made of, because clients keep documents by address. There is no strategic merge in them: kubectl would
//! compute patches from these schemas, and does it better from its own types.

mod schema;
mod words;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::discovery;
use super::protobuf::tables;
use super::registry::{Registry, Shape, Type};

/// The documents of one set of types, as far as they were asked for.
#[derive(Debug, Default)]
pub(super) struct Documents {
    index: OnceLock<Bytes>,
    /// By group and version; there are no more of them than the registry has.
    pages: Mutex<Pages>,
}

type Pages = BTreeMap<(String, String), Bytes>;

/// `/openapi/v3`: where each group-version is described.
pub(super) fn index(registry: &Registry) -> Bytes {
    let index = registry.documents.index.get_or_init(|| {
        let mut paths = Map::new();
        let mut groups: Vec<&str> = registry.all().iter().map(|kind| &*kind.gvr.group).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            for version in discovery::versions(registry, group) {
                let types = types(registry, group, &version);
                if types.is_empty() {
                    continue;
                }
                let root = root(group, &version);
                let url = format!("/openapi/v3/{root}?hash={:016X}", fingerprint(&types));
                paths.insert(root, json!({"serverRelativeURL": url}));
            }
        }
        json!({"paths": paths}).to_string().into()
    });
    index.clone()
}

/// The document of one group-version.
pub(super) fn document(registry: &Registry, group: &str, version: &str) -> Option<Bytes> {
    let types = types(registry, group, version);
    if types.is_empty() {
        return None;
    }
    let mut pages = registry
        .documents
        .pages
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let page = pages.entry((group.to_owned(), version.to_owned()));
    let page = page.or_insert_with(|| describe(&types, group, version).to_string().into());
    Some(page.clone())
}

fn types<'a>(registry: &'a Registry, group: &str, version: &str) -> Vec<&'a Type> {
    let types = registry.all().iter().map(|kind| &**kind);
    types
        .filter(|kind| kind.gvr.group == group && kind.gvr.version == version)
        .collect()
}

/// Changes with everything that a document is made of.
fn fingerprint(types: &[&Type]) -> u64 {
    static TABLES: OnceLock<u64> = OnceLock::new();
    let mut hasher = DefaultHasher::new();
    for kind in types {
        (&kind.gvr, &kind.kind, kind.namespaced).hash(&mut hasher);
        match &kind.shape {
            Shape::Custom(custom) => custom.openapi().to_string().hash(&mut hasher),
            Shape::BuiltIn(_) => TABLES
                .get_or_init(|| {
                    let mut hasher = DefaultHasher::new();
                    schema::all().to_string().hash(&mut hasher);
                    hasher.finish()
                })
                .hash(&mut hasher),
        }
    }
    hasher.finish()
}

fn describe(types: &[&Type], group: &str, version: &str) -> Value {
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
        let message = tables::find(&kind.api_version(), &kind.kind);
        match (&kind.shape, message) {
            (Shape::Custom(custom), _) => {
                let name = format!("{}.{version}.{}", reversed(group), kind.kind);
                schemas.insert(name, identified(kind, custom.openapi().clone()));
            }
            (Shape::BuiltIn(_), Some(message)) => {
                schema::add(message, &mut schemas);
                if let Some(root) = schemas.get_mut(&schema::name(message)) {
                    *root = identified(kind, root.take());
                }
            }
            (Shape::BuiltIn(_), None) => {
                let name = format!("{}.{version}.{}", reversed(group), kind.kind);
                let object = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
                schemas.insert(name, identified(kind, object));
            }
        }
    }
    let title = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({
        "openapi": "3.0.0", "info": {"title": title, "version": "v1.33.4"}, "paths": paths,
        "components": {"schemas": schemas},
    })
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

/// A schema with its kind, and with the fields that every object has.
fn identified(kind: &Type, mut schema: Value) -> Value {
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    for field in ["apiVersion", "kind", "metadata"] {
        let kind_of = if field == "metadata" { "object" } else { "string" };
        if schema["properties"][field].is_null() {
            schema["properties"][field] = json!({"type": kind_of, "description": words::of_field("", field)});
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

    fn page(registry: &Registry, group: &str, version: &str) -> Value {
        serde_json::from_slice(&document(registry, group, version).unwrap()).unwrap()
    }

    #[test]
    fn kubectl_finds_that_the_server_validates_fields() {
        let document = page(&Registry::built_in(), "apps", "v1");
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        assert!(patch["parameters"].to_string().contains("fieldValidation"));
        assert!(!document.to_string().contains("strategic-merge"));
    }

    #[test]
    fn every_field_of_a_pod_can_be_explained() {
        let document = page(&Registry::built_in(), "", "v1");
        let schemas = &document["components"]["schemas"];
        let pod = &schemas["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
        let spec = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"];
        let container = "#/components/schemas/io.k8s.api.core.v1.Container";
        assert_eq!(spec["containers"]["items"]["allOf"][0]["$ref"], container);
        let probe = &schemas["io.k8s.api.core.v1.Probe"]["properties"];
        assert_eq!(
            probe["httpGet"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.api.core.v1.HTTPGetAction"
        );
        assert!(spec["containers"]["description"].as_str().unwrap().len() > 20);
    }

    #[test]
    fn every_reference_leads_to_a_schema_in_the_same_document() {
        let registry = Registry::built_in();
        for kind in registry.all() {
            let document = page(&registry, &kind.gvr.group, &kind.gvr.version);
            let text = document.to_string();
            for reference in text.split("\"$ref\":\"#").skip(1) {
                let pointer = reference.split('"').next().unwrap();
                assert!(document.pointer(pointer).is_some(), "{}: {pointer}", kind.gvr);
            }
        }
    }

    #[test]
    fn addresses_stay_as_long_as_their_documents_and_change_with_them() {
        let addresses =
            |registry: &Registry| serde_json::from_slice::<Value>(&index(registry)).unwrap()["paths"].take();
        let (first, second) = (addresses(&Registry::built_in()), addresses(&Registry::built_in()));
        assert_eq!(first, second);
        let url = first["api/v1"]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
        let crd = |description: &str| {
            json!({"metadata": {"name": "dogs.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"kind": "Dog", "plural": "dogs", "singular": "dog", "listKind": "DogList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "description": description}}}]},
                "status": {"conditions": [{"type": "Established", "status": "True"}, {"type": "NamesAccepted", "status": "True"}],
                    "acceptedNames": {"kind": "Dog", "plural": "dogs", "singular": "dog", "listKind": "DogList"}}})
        };
        let of = |description: &str| addresses(&Registry::with_crds([&crd(description)]));
        assert_eq!(of("barks")["apis/apps/v1"], first["apis/apps/v1"]);
        assert_ne!(
            of("barks")["apis/example.com/v1"],
            of("bites")["apis/example.com/v1"]
        );
    }
}
