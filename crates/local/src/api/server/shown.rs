//! Objects and lists in the form that the client asked for: whole, as a Table, or their metadata alone.

use std::sync::Arc;

use daemon::clock;
use http::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::client::{List, Object};
use super::super::registry::Type;
use super::super::table;
use super::super::verbs::{Target, Written};
use super::accept::Form;
use super::respond::{self, Body};
use super::service::Asked;

/// A list on the wire.
#[derive(Serialize)]
struct Listed<'a> {
    kind: &'a str,
    #[serde(rename = "apiVersion")]
    api_version: String,
    metadata: Value,
    items: &'a [Object],
}

/// In which form a client gets objects.
pub(super) struct Shown {
    kind: Arc<Type>,
    form: Form,
    yaml: bool,
    include: table::Include,
}

impl Shown {
    pub(super) fn of(asked: &Asked, target: &Target) -> Self {
        let include = match asked.parameters.get("includeObject") {
            Some("None") => table::Include::None,
            Some("Object") => table::Include::Object,
            _ => table::Include::Metadata,
        };
        Self {
            kind: target.kind.clone(),
            form: asked.accepted.form,
            yaml: asked.accepted.yaml,
            include,
        }
    }

    pub(super) fn written(&self, written: &Written, code: u16) -> Response<Body> {
        let code = if written.created { 201 } else { code };
        let mut response = self.object(&written.object, code);
        respond::warn(&mut response, &written.warnings);
        response
    }

    pub(super) fn object(&self, object: &Object, code: u16) -> Response<Body> {
        match self.form {
            Form::Object => respond::written(code, self.yaml, object),
            Form::Table => respond::written(code, self.yaml, &self.table(std::slice::from_ref(object), true)),
            Form::Metadata => respond::written(code, self.yaml, &metadata_only(object)),
        }
    }

    pub(super) fn list(&self, list: &List) -> Response<Body> {
        let mut metadata = json!({"resourceVersion": list.resource_version.to_string()});
        if let Some(rest) = &list.rest {
            metadata["continue"] = rest.token.clone().into();
            if let Some(remaining) = rest.remaining {
                metadata["remainingItemCount"] = remaining.into();
            }
        }
        match self.form {
            Form::Object => {
                let api_version = self.kind.api_version();
                let listed = Listed {
                    kind: &self.kind.list_kind,
                    api_version,
                    metadata,
                    items: &list.items,
                };
                respond::written(200, self.yaml, &listed)
            }
            Form::Table => {
                let mut table = self.table(&list.items, true);
                table["metadata"] = metadata;
                respond::written(200, self.yaml, &table)
            }
            Form::Metadata => {
                let items = list
                    .items
                    .iter()
                    .map(|object| metadata_only(object))
                    .collect::<Vec<_>>();
                let kind = "PartialObjectMetadataList";
                let listed = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items});
                respond::written(200, self.yaml, &listed)
            }
        }
    }

    /// The object of a watch event. Only a watch's first Table names its columns.
    pub(super) fn event(&self, object: &Object, first: bool) -> Object {
        match self.form {
            Form::Object => object.clone(),
            Form::Table => Arc::new(self.table(std::slice::from_ref(object), first)),
            Form::Metadata => Arc::new(metadata_only(object)),
        }
    }

    fn table(&self, objects: &[Object], columns: bool) -> Value {
        let mut table = table::render(&self.kind, objects, self.include, clock::wall());
        if let [one] = objects {
            table["metadata"] = json!({"resourceVersion": one["metadata"]["resourceVersion"]});
        }
        if !columns {
            table["columnDefinitions"] = Value::Null;
        }
        table
    }
}

fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
