//! Lines of an object as `kubectl get -o yaml` prints it: fields in the order of the alphabet, one a line; texts of several
//! lines as blocks; items of lists at the column of their field.

use serde_json::{Map, Value};

/// The line where the deepest part of that field path stands which the object has; as in files, the value counts.
pub(super) fn line_of(object: &Value, field: &str) -> usize {
    let (mut value, mut line) = (object, 1);
    for step in field.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match (value, step.strip_suffix(']')) {
            (Value::Array(items), Some(index)) => index.parse().ok().and_then(|at| item(items, at)),
            (Value::Object(fields), _) => member(fields, step),
            _ => None,
        };
        let Some((below, lines_before)) = next else {
            return line;
        };
        (value, line) = (below, line + lines_before);
    }
    line
}

/// A value, and how many lines after the first of what it is in it begins.
type Placed<'v> = (&'v Value, usize);

fn item(items: &[Value], at: usize) -> Option<Placed<'_>> {
    let before = items.iter().take(at).map(lines_of_item).sum();
    Some((items.get(at)?, before))
}

fn member<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<Placed<'v>> {
    let value = fields.get(name)?;
    let before = fields.iter().filter(|(other, _)| other.as_str() < name);
    let before: usize = before.map(|(_, value)| 1 + lines_below(value)).sum();
    Some((value, before + usize::from(is_tree(value))))
}

fn is_tree(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// Lines of a value after that of its name.
fn lines_below(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(|value| 1 + lines_below(value)).sum(),
        Value::Array(items) => items.iter().map(lines_of_item).sum(),
        Value::String(text) if text.contains('\n') => text.lines().count(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The first field of an item stands on the line of its dash.
fn lines_of_item(item: &Value) -> usize {
    let below = lines_below(item);
    if is_tree(item) { below } else { 1 + below }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubectl printed it.
    const PRINTED: &str = r#"apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy"}
  labels: {}
  name: viewers
  namespace: shop
spec:
  action: ALLOW
  rules:
  - from:
    - source:
        principals:
        - cluster.local/ns/shop/sa/web
        - '*'
    to:
    - operation:
        methods:
        - GET
  - {}
  - when:
    - key: request.headers[x-a]
      values: []
"#;

    #[test]
    fn fields_stand_where_kubectl_prints_them() {
        let object = resources::yaml::objects(PRINTED).objects.remove(0).1;
        for (field, beginning) in [
            ("spec.action", "  action"),
            ("spec.rules", "  - from"),
            ("spec.rules[0]", "  - from"),
            ("spec.rules[0].from[0].source.principals[1]", "        - '*'"),
            ("spec.rules[0].to[0]", "    - operation"),
            ("spec.rules[1]", "  - {}"),
            ("spec.rules[2]", "  - when"),
            ("spec.rules[2].when[0].values", "      values"),
            ("metadata.name", "  name"),
        ] {
            let line = line_of(&object, field);
            let found = PRINTED.lines().nth(line - 1).unwrap_or_default();
            assert!(found.starts_with(beginning), "{field} at {line}: {found}");
        }
        assert_eq!(line_of(&object, ""), 1);
        assert_eq!(line_of(&object, "spec.rules[9]"), line_of(&object, "spec.rules"));
    }
}
