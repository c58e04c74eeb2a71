//! What is explained: the objects of a cluster, of files, or of a cluster with those of files over them; and where each
//! field of them stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use resources::{Code, Key, Kind, Resource, yaml};
use serde_json::{Value, json};
use snapshot::Origin;
use translate::{Mesh, MeshSettings};

use super::lines;
use super::problem::Problem;
use super::report::Reference;
use crate::cluster::{Cluster, text};
use crate::files::{Document, Documents};

/// Objects per page of a list.
const PAGE: u32 = 500;
/// The ConfigMap with the settings of the mesh.
const SETTINGS: &str = "istio";

/// What is explained.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) mesh: Mesh,
    sources: BTreeMap<Key, Source>,
}

/// Where an object was read.
enum Source {
    File {
        file: String,
        text: Arc<str>,
        /// Its key as the file has it, which may leave the namespace out.
        written: Key,
    },
    Cluster(Value),
}

impl Objects {
    /// Where a rule stands.
    pub(super) fn reference(&self, origin: &Origin) -> Reference {
        match Key::from_path(&origin.resource) {
            Some(key) => self.reference_to(&key, &origin.field),
            None => Reference {
                object: origin.resource.to_string(),
                path: origin.field.to_string(),
                place: None,
            },
        }
    }

    /// Where a field stands.
    pub(super) fn reference_to(&self, key: &Key, field: &str) -> Reference {
        let place = match self.sources.get(key) {
            Some(Source::File { file, text, written }) => {
                let line = yaml::line_of(text, written, field);
                Some(line.map_or_else(|| file.clone(), |line| format!("{file}:{line}")))
            }
            Some(Source::Cluster(object)) if !field.is_empty() => {
                Some(format!("line {} of its YAML", lines::line_of(object, field)))
            }
            Some(Source::Cluster(_)) | None => None,
        };
        Reference {
            object: key.to_string(),
            path: field.to_owned(),
            place,
        }
    }
}

/// Collects objects; one that comes later takes the place of one with the same key.
pub(super) struct Collection {
    /// Of objects that name none.
    namespace: String,
    istio_namespace: String,
    resources: BTreeMap<Key, Resource>,
    sources: BTreeMap<Key, Source>,
    settings: MeshSettings,
    /// What is odd about them, and did not stop anybody.
    pub(super) warnings: Vec<String>,
}

impl Collection {
    pub(super) fn new(namespace: &str, istio_namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            istio_namespace: istio_namespace.to_owned(),
            resources: BTreeMap::new(),
            sources: BTreeMap::new(),
            settings: MeshSettings::default(),
            warnings: Vec::new(),
        }
    }

    /// Everything that the mesh reads of a cluster. A kind that it does not have counts as empty.
    pub(super) async fn add_cluster(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let path = format!(
            "/api/v1/namespaces/{}/configmaps/{SETTINGS}",
            self.istio_namespace
        );
        match cluster.get(&path).await {
            Ok(map) => self.add_settings(&map)?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error).context("cannot read the settings of the mesh"),
        }
        for kind in Kind::ALL {
            let objects = list(cluster, kind).await;
            for object in objects.with_context(|| format!("cannot list {}", kind.plural()))? {
                self.add_listed(kind, object);
            }
        }
        Ok(())
    }

    fn add_listed(&mut self, kind: Kind, mut object: Value) {
        // Items of a list do not carry their type, and kubectl does not show who wrote what.
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(kind.api_version()));
            fields.insert("kind".to_owned(), json!(kind.as_str()));
        }
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        match Resource::from_object(&object) {
            Ok(decoded) => {
                let key = decoded.resource.key();
                self.sources.insert(key.clone(), Source::Cluster(object));
                self.resources.insert(key, decoded.resource);
            }
            Err(problem) => self.warnings.push(format!(
                "{problem}; proxies may still follow what it said before, which is not known here"
            )),
        }
    }

    /// What stands in files.
    pub(super) fn add_files(&mut self, documents: &Documents) -> Result<(), Problem> {
        for document in &documents.documents {
            let (kind, name) = (
                text(&document.object, "/kind"),
                text(&document.object, "/metadata/name"),
            );
            let in_place = text(&document.object, "/metadata/namespace") == self.istio_namespace;
            if (kind, name) == ("ConfigMap", SETTINGS) && in_place {
                self.add_settings(&document.object)?;
            } else {
                self.add_document(document);
            }
        }
        Ok(())
    }

    fn add_document(&mut self, document: &Document) {
        let mut object = document.object.clone();
        let kind = Kind::from_object(text(&object, "/apiVersion"), text(&object, "/kind"));
        let written = text(&object, "/metadata/namespace").to_owned();
        if written.is_empty() && kind.is_some_and(Kind::namespaced) {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        let place = format!("{}:{}", document.file, document.line);
        match Resource::from_object(&object) {
            Ok(decoded) => {
                let key = decoded.resource.key();
                let written = Key::new(key.kind, &written, &key.name);
                let problems = decoded.warnings.into_iter().chain(decoded.resource.validate());
                self.warnings.extend(problems.map(|problem| {
                    let line = yaml::line_of(&document.text, &written, &problem.field);
                    let line = line.unwrap_or(document.line);
                    format!("{}:{line}: {problem}", document.file)
                }));
                let source = Source::File {
                    file: document.file.clone(),
                    text: document.text.clone(),
                    written,
                };
                if let Some(Source::File { file, .. }) = self.sources.insert(key.clone(), source) {
                    self.warnings
                        .push(format!("{place}: {key} stands in {file}, too; this one counts"));
                }
                self.resources.insert(key, decoded.resource);
            }
            // Others are nothing to the mesh.
            Err(problem) if problem.code == Code::UnknownKind => {}
            Err(problem) => self.warnings.push(format!("{place}: {problem}; it is left out")),
        }
    }

    fn add_settings(&mut self, map: &Value) -> Result<(), Problem> {
        let understood = serde_json::from_value(map.clone()).map_err(anyhow::Error::new);
        let settings = understood.and_then(|map| controller::mesh_settings(&map));
        self.settings = settings.map_err(|error| Problem::Settings {
            place: format!("{}/{SETTINGS}", self.istio_namespace),
            why: format!("{error:#}"),
        })?;
        Ok(())
    }

    /// All of them.
    pub(super) fn objects(self) -> Objects {
        Objects {
            mesh: Mesh::of(self.resources.into_values()).with_settings(Arc::new(self.settings)),
            sources: self.sources,
        }
    }
}

async fn list(cluster: &Cluster, kind: Kind) -> anyhow::Result<Vec<Value>> {
    let root = match kind.group() {
        "" => format!("/api/{}", kind.version()),
        group => format!("/apis/{group}/{}", kind.version()),
    };
    let path = format!("{root}/{}?limit={PAGE}", kind.plural());
    let (mut all, mut rest) = (Vec::new(), String::new());
    loop {
        let page = match cluster.get(&format!("{path}{rest}")).await {
            Err(error) if error.is_not_found() && all.is_empty() => return Ok(all),
            page => page?,
        };
        all.extend(page["items"].as_array().into_iter().flatten().cloned());
        match text(&page, "/metadata/continue") {
            "" => return Ok(all),
            token => rest = format!("&continue={}", crate::cluster::encoded(token)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: viewers, namespace: shop}
spec:
  rules: [{to: [{operation: {methods: [GET]}}]}]
";

    #[test]
    fn objects_of_files_take_the_place_of_a_clusters() {
        let mut collection = Collection::new("shop", "istio-system");
        let listed = json!({
            "metadata": {"name": "viewers", "namespace": "shop", "managedFields": [{"manager": "kubectl"}]},
            "spec": {"action": "DENY", "rules": [{}, {}]},
        });
        collection.add_listed(Kind::AuthorizationPolicy, listed.clone());
        let mut over = Collection::new("shop", "istio-system");
        over.add_listed(Kind::AuthorizationPolicy, listed);
        let key = Key::new(Kind::AuthorizationPolicy, "shop", "viewers");
        let origin = Origin {
            resource: key.path().into(),
            field: "spec.rules[0]".into(),
        };
        let mut documents = Documents::default();
        documents.add("policy.yaml", POLICY);
        let both = [(Documents::default(), collection), (documents, over)];
        let said = both.map(|(documents, mut collection)| {
            collection.add_files(&documents).unwrap();
            collection.objects().reference(&origin).text()
        });
        assert_eq!(
            said,
            [
                "AuthorizationPolicy shop/viewers spec.rules[0] (line 9 of its YAML)",
                "AuthorizationPolicy shop/viewers spec.rules[0] (policy.yaml:6)",
            ]
        );
    }

    #[test]
    fn settings_that_cannot_be_understood_are_an_error_with_their_field() {
        let mut documents = Documents::default();
        documents.add(
            "mesh.yaml",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'accessLogEncoding: X'}}",
        );
        let error = Collection::new("shop", "istio-system")
            .add_files(&documents)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the settings of the mesh in ConfigMap istio-system/istio cannot be understood: accessLogEncoding: \"X\" is neither TEXT nor JSON [AMI0206]"
        );
    }

    #[test]
    fn what_is_odd_in_a_file_is_named_with_its_line() {
        let mut documents = Documents::default();
        documents.add("a.yaml", POLICY);
        documents.add("b.yaml", &POLICY.replace("methods", "verbs"));
        let mut collection = Collection::new("shop", "istio-system");
        collection.add_files(&documents).unwrap();
        let warnings = &collection.warnings;
        assert!(
            warnings[0].starts_with("b.yaml:6: Warning [AMI0003]"),
            "{warnings:?}"
        );
        assert!(
            warnings
                .last()
                .is_some_and(|last| last.ends_with("stands in a.yaml, too; this one counts")),
            "{warnings:?}"
        );
    }
}
