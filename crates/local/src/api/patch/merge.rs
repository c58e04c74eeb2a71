//! JSON merge patch (RFC 7396): objects merge, null deletes, everything else replaces.

use serde_json::{Map, Value};

pub(super) fn apply(current: &Value, patch: &Value) -> Value {
    let mut result = current.clone();
    merge(&mut result, patch);
    result
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.shift_remove(name);
        } else {
            merge(fields.entry(name.as_str()).or_insert(Value::Null), change);
        }
    }
}
