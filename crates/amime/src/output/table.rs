//! Columns of text, aligned as kubectl aligns them.

use serde_json::Value;

use crate::cluster::text;

/// Rows under headings, three spaces apart, each line ended.
pub(crate) fn columns(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: String = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}   "))
            .collect();
        padded.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut headings.iter().copied());
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out
}

/// A `Table` of the API server; wide columns only when asked for.
pub(crate) fn server(table: &Value, wide: bool, with_namespace: bool) -> String {
    let list = |field: &str| table[field].as_array().cloned().unwrap_or_default();
    let definitions = list("columnDefinitions");
    let shown: Vec<usize> = (0..definitions.len())
        .filter(|at| wide || definitions[*at]["priority"].as_i64().unwrap_or(0) == 0)
        .collect();
    let rows: Vec<Vec<String>> = list("rows")
        .iter()
        .map(|row| {
            let cells = shown.iter().map(|at| cell(&row["cells"][*at]));
            let namespace = with_namespace.then(|| text(row, "/object/metadata/namespace").to_owned());
            namespace.into_iter().chain(cells).collect()
        })
        .collect();
    if rows.is_empty() {
        return "No resources found.\n".to_owned();
    }
    let names: Vec<String> = shown
        .iter()
        .map(|at| text(&definitions[*at], "/name").to_uppercase())
        .collect();
    let first = with_namespace.then_some("NAMESPACE");
    let headings: Vec<&str> = first
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    columns(&headings, &rows)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_of_the_server_shows_wide_columns_when_asked() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["backend-0", null], "object": {"metadata": {"namespace": "shop"}}}]});
        assert_eq!(server(&table, false, false), "NAME\nbackend-0\n");
        assert_eq!(
            server(&table, true, true),
            "NAMESPACE   NAME        IP\nshop        backend-0   <none>\n"
        );
        assert_eq!(
            server(&json!({"rows": []}), false, false),
            "No resources found.\n"
        );
    }
}
