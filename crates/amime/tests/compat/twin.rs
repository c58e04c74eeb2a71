//! A pod with stock Envoy in the place of our proxy, and everything else as injection made it.

use serde_json::{Map, Value, json};

/// The twin of a pod that injection made, under another name.
pub(crate) fn of(pod: &Value, name: &str) -> Value {
    let given = &pod["metadata"];
    let mut annotations = given["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|name, _| !name.starts_with("sidecar.istio.io/"));
    annotations.insert("sidecar.istio.io/inject".to_owned(), "false".into());
    // By this rules tell the twins apart that must.
    let mut labels = given["labels"].clone();
    labels["side"] = "envoy".into();
    let mut spec = pod["spec"].clone();
    for field in ["nodeName", "tolerations"] {
        spec.as_object_mut().unwrap().remove(field);
    }
    // The API server adds its own again.
    let own = |item: &Value| {
        item["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("kube-api-access"))
    };
    retain(&mut spec["volumes"], |volume| !own(volume));
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            retain(&mut container["volumeMounts"], |mount| !own(mount));
        }
    }
    ask_applications_themselves(&mut spec);
    let folder = json!({"name": "envoy", "mountPath": "/etc/istio/proxy"});
    spec["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "envoy", "emptyDir": {}}));
    let containers = spec["containers"].as_array_mut().unwrap();
    let proxy = containers
        .iter_mut()
        .find(|container| container["name"] == "istio-proxy")
        .unwrap();
    proxy["volumeMounts"].as_array_mut().unwrap().push(folder);
    let mut bootstrap = keep(
        proxy,
        &["image", "env", "volumeMounts", "securityContext", "resources"],
    );
    bootstrap["name"] = "envoy-bootstrap".into();
    bootstrap["args"] = json!(["bootstrap", "envoy", "--output", "/etc/istio/proxy/envoy.json"]);
    proxy["image"] = "compat-envoy".into();
    proxy["args"] = json!([
        "-c",
        "/etc/istio/proxy/envoy.json",
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--drain-time-s",
        "45",
        "--file-flush-interval-msec",
        "50",
    ]);
    spec["initContainers"].as_array_mut().unwrap().push(bootstrap);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": given["namespace"], "labels": labels, "annotations": annotations,
        },
        "spec": spec,
    })
}

/// Stock Envoy makes no probes in the kubelet's place, as our proxy does: they become what they were.
fn ask_applications_themselves(spec: &mut Value) {
    let Some(were) = probes_before(spec) else { return };
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
                let path = container[probe]["httpGet"]["path"].as_str();
                let Some(before) = path.and_then(|path| were.get(path)).cloned() else {
                    continue;
                };
                let probe = container[probe].as_object_mut().unwrap();
                probe.remove("httpGet");
                probe.extend(before.as_object().cloned().unwrap());
            }
        }
    }
}

/// The probes that injection turned to the proxy, by the path under which it is asked.
fn probes_before(spec: &Value) -> Option<Value> {
    let lists = ["containers", "initContainers"].into_iter();
    let containers = lists.flat_map(|list| spec[list].as_array().into_iter().flatten());
    let mut variables = containers.flat_map(|container| container["env"].as_array().into_iter().flatten());
    let told = variables.find(|variable| variable["name"] == "ISTIO_KUBE_APP_PROBERS")?;
    serde_json::from_str(told["value"].as_str()?).ok()
}

fn retain(list: &mut Value, keep: impl Fn(&Value) -> bool) {
    if let Some(list) = list.as_array_mut() {
        list.retain(keep);
    }
}

fn keep(object: &Value, fields: &[&str]) -> Value {
    let kept = fields
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), object.get(field)?.clone())));
    Value::Object(kept.collect::<Map<_, _>>())
}
