//! Fields of a pod as values: `fieldRef` and `resourceFieldRef` of environment and volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};

use crate::api::validate::quantity;

/// A pod, and what its status will say about addresses.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) pod_address: &'a str,
    pub(crate) node_address: &'a str,
}

impl Fields<'_> {
    /// The value of a field.
    pub(crate) fn value(&self, selector: &ObjectFieldSelector) -> Result<String, String> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
        let path = selector.field_path.as_str();
        match path {
            "metadata.name" => text(meta.name.as_ref()),
            "metadata.namespace" => text(meta.namespace.as_ref()),
            "metadata.uid" => text(meta.uid.as_ref()),
            "metadata.labels" => Ok(map(meta.labels.as_ref())),
            "metadata.annotations" => Ok(map(meta.annotations.as_ref())),
            "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
            "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
            "status.hostIP" | "status.hostIPs" => Ok(self.node_address.to_owned()),
            "status.podIP" | "status.podIPs" => Ok(self.pod_address.to_owned()),
            _ => {
                let of = |map: Option<&BTreeMap<String, String>>, key: &str| {
                    map.and_then(|map| map.get(key)).cloned().unwrap_or_default()
                };
                if let Some(key) = subscript(path, "metadata.labels") {
                    Ok(of(meta.labels.as_ref(), key))
                } else if let Some(key) = subscript(path, "metadata.annotations") {
                    Ok(of(meta.annotations.as_ref(), key))
                } else {
                    Err(format!("unsupported fieldPath: {path}"))
                }
            }
        }
    }

    /// A limit or request, of `container` unless the selector names another; a limit that is not set is the node's.
    pub(crate) fn resource(
        &self,
        selector: &ResourceFieldSelector,
        container: Option<&Container>,
    ) -> Result<String, String> {
        let spec = self.pod.spec.as_ref();
        let named = selector
            .container_name
            .as_ref()
            .filter(|name| !name.is_empty())
            .and_then(|name| {
                let all = spec.into_iter().flat_map(|spec| {
                    spec.containers
                        .iter()
                        .chain(spec.init_containers.iter().flatten())
                });
                all.into_iter().find(|container| container.name == *name)
            });
        let container = named.or(container).ok_or("resourceFieldRef: no such container")?;
        let (side, name) = selector
            .resource
            .split_once('.')
            .ok_or_else(|| format!("unsupported resource: {}", selector.resource))?;
        let resources = container.resources.clone().unwrap_or_default();
        let stated = match side {
            "limits" => resources.limits,
            "requests" => resources.requests,
            _ => return Err(format!("unsupported resource: {}", selector.resource)),
        };
        let stated = stated.and_then(|stated| stated.get(name).map(|quantity| quantity.0.clone()));
        let value = stated.unwrap_or_else(|| {
            if side == "limits" {
                of_node(name)
            } else {
                "0".to_owned()
            }
        });
        let divisor = selector
            .divisor
            .as_ref()
            .map_or("1", |divisor| divisor.0.as_str());
        let divisor = if divisor == "0" { "1" } else { divisor };
        let counted = quantity::parse(&value)
            .zip(quantity::parse(divisor))
            .and_then(|(value, divisor)| value.counted_in(divisor))
            .ok_or_else(|| format!("cannot divide {value} by {divisor}"))?;
        Ok(counted.to_string())
    }
}

fn of_node(resource: &str) -> String {
    match resource {
        "cpu" => std::thread::available_parallelism()
            .map_or(1, std::num::NonZero::get)
            .to_string(),
        "memory" => {
            let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
            total.map_or_else(|| "0".to_owned(), |total| total.trim().replace(" kB", "Ki"))
        }
        _ => "0".to_owned(),
    }
}

/// `key` of `prefix['key']`.
fn subscript<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")
}

/// One `key="value"` a line, as the downward API writes maps.
fn map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<_> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_labels_and_limits_have_values() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "labels": {"app.io/x": "1", "b": "two \"quoted\""}},
            "spec": {"nodeName": "node", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "1Mi"}}}]},
        }))
        .unwrap();
        let fields = Fields {
            pod: &pod,
            pod_address: "10.244.0.9",
            node_address: "10.244.0.1",
        };
        let value = |path: &str| {
            fields.value(&ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            })
        };
        assert_eq!(value("metadata.labels['app.io/x']").unwrap(), "1");
        assert_eq!(
            value("metadata.labels").unwrap(),
            "app.io/x=\"1\"\nb=\"two \\\"quoted\\\"\""
        );
        assert_eq!(value("status.podIP").unwrap(), "10.244.0.9");
        assert!(value("spec.containers").unwrap_err().contains("spec.containers"));
        let resource = |name: &str| {
            let selector = ResourceFieldSelector {
                container_name: Some("c".to_owned()),
                resource: name.to_owned(),
                ..ResourceFieldSelector::default()
            };
            fields.resource(&selector, None)
        };
        assert_eq!(resource("limits.cpu").unwrap(), "2");
        assert_eq!(resource("requests.memory").unwrap(), "1048576");
        assert_eq!(resource("requests.cpu").unwrap(), "0");
        assert_ne!(resource("limits.memory").unwrap(), "0");
    }
}
