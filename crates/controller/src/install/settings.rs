//! The ConfigMaps that the running controller reads: mesh settings and injection values.

use serde_json::{Map, Value, json};

use super::{Values, labels};

/// Key of the mesh settings in ConfigMap `istio`.
pub(crate) const MESH_KEY: &str = "mesh";
/// Key of the injection values in ConfigMap `istio-sidecar-injector`.
pub(crate) const VALUES_KEY: &str = "values";

pub(super) fn manifests(values: &Values) -> Vec<Value> {
    vec![
        config_map(
            values,
            "istio",
            &json!({MESH_KEY: yaml(&mesh_settings(values)), "meshNetworks": "networks: {}"}),
        ),
        config_map(
            values,
            "istio-sidecar-injector",
            &json!({VALUES_KEY: injection_values(values)}),
        ),
    ]
}

fn config_map(values: &Values, name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": values.global.istio_namespace, "labels": labels()},
        "data": data,
    })
}

/// What the user gave, over what follows from the other values.
fn mesh_settings(values: &Values) -> Value {
    let mut default_config = json!({"discoveryAddress": values.discovery_address()});
    if values.global.proxy.hold_application_until_proxy_starts {
        default_config["holdApplicationUntilProxyStarts"] = true.into();
    }
    if !values.global.mesh_id.is_empty() {
        default_config["meshId"] = values.global.mesh_id.as_str().into();
    }
    let mut settings = Map::new();
    settings.insert("defaultConfig".to_owned(), default_config);
    settings.insert(
        "rootNamespace".to_owned(),
        values.global.istio_namespace.as_str().into(),
    );
    settings.insert("trustDomain".to_owned(), "cluster.local".into());
    for (name, value) in &values.mesh_config {
        match (settings.get_mut(name), value) {
            (Some(Value::Object(known)), Value::Object(given)) => known.extend(given.clone()),
            _ => {
                settings.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(settings)
}

/// What injection reads, without what only the installation does.
fn injection_values(values: &Values) -> String {
    let chosen = json!({
        "global": values.global,
        "sidecarInjectorWebhook": values.sidecar_injector_webhook,
    });
    serde_json::to_string_pretty(&chosen).expect("values have a JSON form")
}

fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("JSON has a YAML form")
}
