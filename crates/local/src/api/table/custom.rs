//! Custom resources: the name, and what their CRD's `additionalPrinterColumns` point at.

use serde_json::{Value, json};

use super::Row;
use crate::api::crd::{Column, CustomVersion};

pub(super) fn definitions(version: &CustomVersion) -> Vec<Value> {
    let heading = |name: &str, kind: &str, format: &str, description: &str, priority: i64| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
    let mut all = vec![heading("Name", "string", "name", "", 0)];
    if version.columns.is_empty() {
        all.push(heading("Age", "date", "", "", 0));
    }
    all.extend(version.columns.iter().map(|column| {
        heading(
            &column.name,
            &column.kind,
            &column.format,
            &column.description,
            column.priority,
        )
    }));
    all
}

pub(super) fn cells(version: &CustomVersion, row: &Row<'_>) -> Vec<Value> {
    let mut cells = vec![row.name()];
    if version.columns.is_empty() {
        cells.push(row.age());
    }
    cells.extend(version.columns.iter().map(|column| cell(column, row)));
    cells
}

/// Absent is null, which kubectl leaves blank.
fn cell(column: &Column, row: &Row<'_>) -> Value {
    let Some(value) = column
        .path
        .find(row.object)
        .first()
        .copied()
        .filter(|value| !value.is_null())
    else {
        return Value::Null;
    };
    match column.kind.as_str() {
        "date" => row.since(value),
        "integer" => value.as_i64().map_or(Value::Null, Value::from),
        "number" if value.is_number() => value.clone(),
        "boolean" if value.is_boolean() => value.clone(),
        "string" => Value::from(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        _ => Value::Null,
    }
}
