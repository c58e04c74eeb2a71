//! What `kubectl get` prints: the server makes rows of cells, kubectl only lines them up.
//!
//! Columns of the built-in kinds are those of `pkg/printers/internalversion`; those of custom resources come from
//! their CRD. Ages are texts made here, so the time is passed in.

mod age;
mod cells;
mod custom;
mod machines;
mod pods;
mod policies;
mod workloads;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde_json::{Value, json};

use super::client::Object;
use super::registry::{Shape, Type};

pub use cells::{
    CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, ENDPOINT_SLICES, ENDPOINTS, EVENTS, LEASES, NAME_AND_AGE,
    NAME_AND_CREATED, NAMESPACES, NODES, SECRETS, SERVICES,
};
pub use machines::{
    CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES, RUNTIME_CLASSES, SIGNING_REQUESTS, VOLUME_ATTACHMENTS,
};
pub use pods::PODS;
pub use policies::{
    AUTOSCALERS, AUTOSCALERS_V1, DISRUPTION_BUDGETS, INGRESS_CLASSES, INGRESSES, NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PRIORITY_CLASSES, QUOTAS, ROLE_BINDINGS, STORAGE_CLASSES,
    WEBHOOKS,
};
pub use workloads::{
    CONTROLLER_REVISIONS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, REPLICA_SETS, STATEFUL_SETS,
};

/// How much of each object comes with its row (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// The columns of a built-in kind.
#[derive(Debug)]
pub struct Columns {
    columns: &'static [Column],
    cells: fn(&Row<'_>) -> Vec<Value>,
}

/// Heading and type; those with a priority are shown by `-o wide` only.
#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: &'static str,
    priority: u8,
}

/// One object on its way to cells.
struct Row<'a> {
    object: &'a Value,
    now: SystemTime,
}

const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 0,
    }
}

const fn number(name: &'static str) -> Column {
    Column {
        name,
        kind: "integer",
        priority: 0,
    }
}

const fn wide(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 1,
    }
}

/// The `Table` of some objects; the caller adds `metadata` of the list.
pub fn render(kind: &Type, objects: &[Object], include: Include, now: SystemTime) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| row(kind, object, include, now))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": definitions(kind), "rows": rows,
    })
}

/// The headings.
pub fn definitions(kind: &Type) -> Vec<Value> {
    match &kind.shape {
        Shape::Custom(version) => custom::definitions(version),
        Shape::BuiltIn(built_in) => built_in
            .columns
            .columns
            .iter()
            .map(|column| {
                let format = if column.name == "Name" { "name" } else { "" };
                json!({"name": column.name, "type": column.kind, "format": format, "description": "",
                    "priority": column.priority})
            })
            .collect(),
    }
}

fn row(kind: &Type, object: &Object, include: Include, now: SystemTime) -> Value {
    let row = Row { object, now };
    let cells = match &kind.shape {
        Shape::Custom(version) => custom::cells(version, &row),
        Shape::BuiltIn(built_in) => (built_in.columns.cells)(&row),
    };
    let object = match include {
        Include::None => return json!({"cells": cells, "object": null}),
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
        Include::Object => Value::clone(object),
    };
    json!({"cells": cells, "object": object})
}

impl<'a> Row<'a> {
    fn at(&self, pointer: &str) -> &'a Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> &'a str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// A count; absent is zero.
    fn count(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or(0)
    }

    fn name(&self) -> Value {
        self.at("/metadata/name").clone()
    }

    fn age(&self) -> Value {
        self.since(self.at("/metadata/creationTimestamp"))
    }

    /// The time since a timestamp, as a text.
    fn since(&self, timestamp: &Value) -> Value {
        Value::from(age::since(timestamp.as_str(), self.now))
    }
}

/// The items of a list; none when it is no list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text, or what stands for none.
fn or_none(text: &str) -> Value {
    Value::from(if text.is_empty() { "<none>" } else { text })
}

/// `a=b,c=d`, sorted, as selectors are shown.
fn labels(map: &Value) -> Value {
    let mut pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    or_none(&pairs.join(","))
}
