//! The scale subresource: the number of replicas of any kind that has one, as `autoscaling/v1 Scale`.

use serde_json::{Value, json};

use super::registry::{ScalePaths, Type};
use super::{Status, label_selector};

/// The Scale of an object; 404 when the kind has none.
pub fn read(kind: &Type, object: &Value) -> Result<Value, Status> {
    let paths = paths(kind)?;
    let number = |path: &[String]| lookup(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    let selector = paths.selector.as_deref().and_then(|path| lookup(object, path));
    match selector {
        Some(Value::String(text)) => status["selector"] = json!(text),
        Some(selector) if selector.is_object() => status["selector"] = json!(query(selector)),
        _ => {}
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(&paths.spec_replicas)}, "status": status,
    }))
}

/// The object with the replicas that a Scale asks for. A Scale that carries a version must carry the object's.
pub fn write(kind: &Type, object: &Value, scale: &Value) -> Result<Value, Status> {
    let paths = paths(kind)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let version = &scale["metadata"]["resourceVersion"];
    if version.as_str().is_some_and(|version| !version.is_empty())
        && *version != object["metadata"]["resourceVersion"]
    {
        return Err(Status::conflict(
            &kind.gvr,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        ));
    }
    let replicas = replicas(&scale["spec"]["replicas"], name)?;
    let mut changed = object.clone();
    put(&mut changed, &paths.spec_replicas, replicas);
    Ok(changed)
}

/// What somebody who applies a Scale states of the object.
pub fn stated(kind: &Type, scale: &Value) -> Result<Value, Status> {
    let paths = paths(kind)?;
    let name = scale["metadata"]["name"].as_str().unwrap_or_default();
    let mut object =
        json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": scale["metadata"]});
    if !scale["spec"]["replicas"].is_null() {
        let replicas = replicas(&scale["spec"]["replicas"], name)?;
        put(&mut object, &paths.spec_replicas, replicas);
    }
    Ok(object)
}

fn replicas(given: &Value, name: &str) -> Result<i64, Status> {
    let replicas = match given {
        Value::Null => 0,
        given => given.as_i64().ok_or_else(|| {
            Status::bad_request(
                "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal string into Go struct \
                 field ScaleSpec.spec.replicas of type int32",
            )
        })?,
    };
    if replicas >= 0 {
        return Ok(replicas);
    }
    let body = format!("Invalid value: {replicas}: must be greater than or equal to 0");
    Err(Status {
        details: json!({"name": name, "group": "autoscaling", "kind": "Scale", "causes":
            [{"reason": "FieldValueInvalid", "message": body, "field": "spec.replicas"}]}),
        ..Status::new(
            422,
            "Invalid",
            format!("Scale.autoscaling \"{name}\" is invalid: spec.replicas: {body}"),
        )
    })
}

fn put(object: &mut Value, path: &[String], replicas: i64) {
    let mut place = object;
    for field in path {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[field.as_str()];
    }
    *place = json!(replicas);
}

fn paths(kind: &Type) -> Result<&ScalePaths, Status> {
    let missing = || {
        Status::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    };
    kind.scale.as_ref().ok_or_else(missing)
}

/// A ReplicationController selects by a plain map.
fn query(selector: &Value) -> String {
    let plain = selector
        .as_object()
        .is_some_and(|fields| fields.values().all(Value::is_string));
    if plain {
        label_selector::to_query(&json!({"matchLabels": selector}))
    } else {
        label_selector::to_query(selector)
    }
}

fn lookup<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |place, field| place.get(field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::registry::Registry;

    #[test]
    fn replicas_are_read_and_written_through_the_scale() {
        let registry = Registry::built_in();
        let kind = registry
            .find("apps", "v1", "deployments")
            .expect("it is built in");
        let object = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"replicas": 1,
            "selector": {"matchLabels": {"app": "a"}}}, "status": {"replicas": 1}});
        let mut scale = read(kind, &object).expect("it has one");
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=a"}));
        scale["spec"]["replicas"] = json!(3);
        assert_eq!(write(kind, &object, &scale).expect("fits")["spec"]["replicas"], 3);
        scale["metadata"]["resourceVersion"] = json!("6");
        assert_eq!(write(kind, &object, &scale).expect_err("is stale").code, 409);
        scale["metadata"] = json!({});
        scale["spec"]["replicas"] = json!(-1);
        assert_eq!(write(kind, &object, &scale).expect_err("is negative").code, 422);
    }
}
