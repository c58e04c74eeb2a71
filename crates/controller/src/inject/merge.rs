//! Puts the additions into a pod, and takes them out of one that has them already.
//!
//! What was added is written down in two annotations: `sidecar.istio.io/status` names it, and
//! `proxy.istio.io/overrides` keeps the containers by which the user changed ours.

use serde_json::{Map, Value, json};

use super::template::Additions;
use super::{INIT, OVERRIDES, PROXY, STATUS, probes};
use crate::install::values::REVISION;

/// Lists whose items a user's container changes one by one, with what identifies an item.
const KEYED: [(&str, &str); 4] = [
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
    ("volumeDevices", "devicePath"),
];

/// The pod as its user wrote it.
pub(super) fn without_injection(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let Some(status) = annotation(&pod, STATUS) else {
        return pod;
    };
    probes::restore(&mut pod);
    for list in ["initContainers", "containers", "volumes", "imagePullSecrets"] {
        let names = status[list].as_array().cloned().unwrap_or_default();
        retain(&mut pod["spec"], list, |item| !names.contains(&item["name"]));
    }
    let overrides = annotation(&pod, OVERRIDES).unwrap_or_default();
    for list in ["initContainers", "containers"] {
        for container in overrides[list].as_array().into_iter().flatten() {
            push(&mut pod["spec"], list, container.clone());
        }
    }
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove(STATUS);
        annotations.shift_remove(OVERRIDES);
    }
    pod
}

/// The pod with everything in it. Capture comes last among the init containers, so that the others still reach the
/// network; with a native sidecar it comes first, and the sidecar next, so that they reach it through the mesh.
pub(super) fn add(original: &Value, additions: &Additions, native: bool) -> Value {
    let mut pod = original.clone();
    let overrides = take_overrides(&mut pod["spec"]);
    let changed = |ours: &Value| {
        let name = ours["name"].as_str().unwrap_or_default();
        let container = overrides
            .iter()
            .map(|(_, container)| container)
            .find(|container| container["name"] == name);
        container.map_or_else(|| ours.clone(), |container| override_container(ours, container))
    };
    let proxy = changed(&additions.proxy);
    let init = additions.init.as_ref().map(changed);
    let captured = init.is_some();
    place(&mut pod["spec"], init, proxy, native);
    let volumes = append(&mut pod["spec"], "volumes", &additions.volumes);
    let secrets = append(
        &mut pod["spec"],
        "imagePullSecrets",
        &additions.image_pull_secrets,
    );
    let metadata = object(&mut pod, "metadata");
    let labels = object_in(metadata, "labels");
    for (name, value) in &additions.labels {
        labels.entry(name).or_insert_with(|| value.clone());
    }
    let annotations = object_in(metadata, "annotations");
    for (name, value) in &additions.annotations {
        annotations.entry(name).or_insert_with(|| value.clone());
    }
    let mut status = status(captured, native);
    status["volumes"] = volumes;
    status["imagePullSecrets"] = secrets;
    annotations.insert(STATUS.to_owned(), status.to_string().into());
    if !overrides.is_empty() {
        annotations.insert(OVERRIDES.to_owned(), record(&overrides).into());
    }
    pod
}

fn place(spec: &mut Value, init: Option<Value>, proxy: Value, native: bool) {
    if native {
        let list = array(spec, "initContainers");
        list.insert(0, proxy);
        if let Some(init) = init {
            list.insert(0, init);
        }
    } else {
        if let Some(init) = init {
            array(spec, "initContainers").push(init);
        }
        array(spec, "containers").push(proxy);
    }
}

/// Containers of the user's that bear our names, with the list that they stood in.
fn take_overrides(spec: &mut Value) -> Vec<(&'static str, Value)> {
    let mut taken = Vec::new();
    for list in ["initContainers", "containers"] {
        let ours = |item: &Value| item["name"] == PROXY || item["name"] == INIT;
        let found = spec[list]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|item| ours(item))
            .cloned();
        taken.extend(found.map(|container| (list, container)));
        retain(spec, list, |item| !ours(item));
    }
    taken
}

/// The user's fields over ours: maps field by field, keyed lists item by item, all else replaced. The image `auto`
/// stands for ours.
fn override_container(ours: &Value, theirs: &Value) -> Value {
    let mut merged = ours.clone();
    for (name, value) in theirs.as_object().into_iter().flatten() {
        let keyed = KEYED.iter().find(|(list, _)| list == name);
        match (keyed, value) {
            (_, value) if name == "image" && value == "auto" => {}
            (Some((_, key)), Value::Array(items)) => {
                for item in items {
                    put_keyed(array(&mut merged, name), key, item);
                }
            }
            (_, value) => merge_value(&mut merged[name], value),
        }
    }
    merged
}

fn merge_value(base: &mut Value, over: &Value) {
    match (&mut *base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge_value(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn status(captured: bool, native: bool) -> Value {
    let mut init: Vec<&str> = Vec::new();
    if captured {
        init.push(INIT);
    }
    if native {
        init.push(PROXY);
    }
    let containers: &[&str] = if native { &[] } else { &[PROXY] };
    json!({
        "initContainers": init, "containers": containers, "volumes": [], "imagePullSecrets": [], "revision": REVISION,
    })
}

fn record(overrides: &[(&'static str, Value)]) -> String {
    let mut lists = Map::new();
    for (list, container) in overrides {
        let list = lists.entry(*list).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut()
            .expect("made as a list in the line before")
            .push(container.clone());
    }
    Value::Object(lists).to_string()
}

fn annotation(pod: &Value, name: &str) -> Option<Value> {
    let text = pod["metadata"]["annotations"][name].as_str()?;
    serde_json::from_str(text).ok()
}

/// A list that becomes empty goes: the pod should be as it was before.
fn retain(spec: &mut Value, list: &str, keep: impl Fn(&Value) -> bool) {
    let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) else {
        return;
    };
    items.retain(|item| keep(item));
    if items.is_empty()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.shift_remove(list);
    }
}

fn push(spec: &mut Value, list: &str, item: Value) {
    array(spec, list).push(item);
}

/// Adds those whose name is not there yet, and returns their names.
fn append(spec: &mut Value, list: &str, additions: &[Value]) -> Value {
    let known = spec[list].as_array().cloned().unwrap_or_default();
    let missing = additions
        .iter()
        .filter(|item| known.iter().all(|other| other["name"] != item["name"]));
    let missing: Vec<Value> = missing.cloned().collect();
    let names = missing.iter().map(|item| item["name"].clone()).collect();
    if !missing.is_empty() {
        array(spec, list).extend(missing);
    }
    names
}

fn put_keyed(items: &mut Vec<Value>, key: &str, item: &Value) {
    match items.iter_mut().find(|known| known[key] == item[key]) {
        Some(known) => *known = item.clone(),
        None => items.push(item.clone()),
    }
}

fn array<'a>(value: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    let field = &mut value[name];
    if !field.is_array() {
        *field = Value::Array(Vec::new());
    }
    field.as_array_mut().expect("made a list in the line before")
}

fn object<'a>(value: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    let field = &mut value[name];
    if !field.is_object() {
        *field = Value::Object(Map::new());
    }
    field.as_object_mut().expect("made an object in the line before")
}

fn object_in<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let field = map.entry(name).or_insert(Value::Null);
    if !field.is_object() {
        *field = Value::Object(Map::new());
    }
    field.as_object_mut().expect("made an object in the line before")
}
