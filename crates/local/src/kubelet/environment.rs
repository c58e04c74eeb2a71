//! The environment of a container, and `$(NAME)` in its command and arguments.
//! <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};
use serde_json::Value;

use super::fields::Fields;
use super::sources::{Data, Sources};

pub(crate) type Environment = BTreeMap<String, String>;

/// Replaces `$(NAME)` by its value; `$$(NAME)` stands for `$(NAME)`, and an unknown name stays as it is.
pub(crate) fn expand(text: &str, environment: &Environment) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        let name = rest
            .strip_prefix("$(")
            .and_then(|after| after.split_once(')'))
            .map(|(name, _)| name);
        let (written, length) = match name {
            _ if rest.starts_with("$$") => ("$", 2),
            Some(name) => {
                let length = name.len() + 3;
                (
                    environment.get(name).map_or(&rest[..length], String::as_str),
                    length,
                )
            }
            None => ("$", 1),
        };
        expanded.push_str(written);
        rest = &rest[length..];
    }
    expanded + rest
}

/// The environment that a container states, on top of `base` (image and service variables).
/// An error says what is missing, in kubelet's words.
pub(crate) fn resolve(
    container: &Container,
    base: Environment,
    fields: Fields<'_>,
    sources: &dyn Sources,
) -> Result<Environment, String> {
    let mut environment = base;
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let data = if let Some(reference) = &from.config_map_ref {
            or_nothing(sources.config_map(&reference.name), reference.optional)?
        } else if let Some(reference) = &from.secret_ref {
            or_nothing(sources.secret(&reference.name), reference.optional)?
        } else {
            Data::new()
        };
        for (key, value) in data {
            // Names with `=` can't be said to a program.
            if !key.is_empty() && !key.contains('=') {
                environment.insert(
                    format!("{prefix}{key}"),
                    String::from_utf8_lossy(&value).into_owned(),
                );
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(variable, container, &environment, fields, sources)? {
            environment.insert(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

fn value_of(
    variable: &EnvVar,
    container: &Container,
    so_far: &Environment,
    fields: Fields<'_>,
    sources: &dyn Sources,
) -> Result<Option<String>, String> {
    let Some(from) = &variable.value_from else {
        return Ok(Some(expand(
            variable.value.as_deref().unwrap_or_default(),
            so_far,
        )));
    };
    match from {
        EnvVarSource {
            field_ref: Some(field),
            ..
        } => fields.value(field).map(Some),
        EnvVarSource {
            resource_field_ref: Some(field),
            ..
        } => fields.resource(field, Some(container)).map(Some),
        EnvVarSource {
            config_map_key_ref: Some(key),
            ..
        } => {
            let data = sources.config_map(&key.name);
            pick(
                data,
                &key.key,
                key.optional,
                &format!("ConfigMap {}", fields.place(&key.name)),
            )
        }
        EnvVarSource {
            secret_key_ref: Some(key),
            ..
        } => {
            let data = sources.secret(&key.name);
            pick(
                data,
                &key.key,
                key.optional,
                &format!("Secret {}", fields.place(&key.name)),
            )
        }
        _ => Err(format!(
            "env {}: this kind of valueFrom is not supported here",
            variable.name
        )),
    }
}

fn pick(
    data: Result<Data, String>,
    key: &str,
    optional: Option<bool>,
    of: &str,
) -> Result<Option<String>, String> {
    let found = or_nothing(data, optional)?
        .remove(key)
        .map(|value| String::from_utf8_lossy(&value).into_owned());
    match found {
        None if optional != Some(true) => Err(format!("couldn't find key {key} in {of}")),
        found => Ok(found),
    }
}

fn or_nothing(data: Result<Data, String>, optional: Option<bool>) -> Result<Data, String> {
    match data {
        Err(_) if optional == Some(true) => Ok(Data::new()),
        data => data,
    }
}

impl Fields<'_> {
    /// `namespace/name` of an object beside the pod.
    fn place(&self, name: &str) -> String {
        format!(
            "{}/{name}",
            self.pod.metadata.namespace.as_deref().unwrap_or_default()
        )
    }
}

/// Variables for services: `KUBERNETES_SERVICE_HOST` always, the namespace's own where the pod wants them.
pub(crate) fn of_services<'a>(services: impl IntoIterator<Item = &'a Value>) -> Environment {
    let mut environment = Environment::new();
    for service in services {
        let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        if address.is_empty() || address == "None" {
            continue;
        }
        let name = service["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_uppercase()
            .replace('-', "_");
        let ports = service["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
        environment.insert(format!("{name}_SERVICE_HOST"), address.to_owned());
        for (position, port) in ports.iter().enumerate() {
            let number = &port["port"];
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let link = format!("{}://{address}:{number}", protocol.to_lowercase());
            if position == 0 {
                environment.insert(format!("{name}_SERVICE_PORT"), number.to_string());
                environment.insert(format!("{name}_PORT"), link.clone());
            }
            if let Some(port_name) = port["name"].as_str().filter(|name| !name.is_empty()) {
                let port_name = port_name.to_uppercase().replace('-', "_");
                environment.insert(format!("{name}_SERVICE_PORT_{port_name}"), number.to_string());
            }
            let prefix = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
            environment.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
            environment.insert(format!("{prefix}_PORT"), number.to_string());
            environment.insert(format!("{prefix}_ADDR"), address.to_owned());
            environment.insert(prefix, link);
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sources::fake::Two;
    use super::*;

    fn resolved(container: Value) -> Result<Environment, String> {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "ns"}, "spec": {"containers": []}
        }));
        let pod = pod.unwrap();
        let fields = Fields {
            pod: &pod,
            pod_address: "10.244.0.9",
            node_address: "10.244.0.1",
        };
        let base = [("BASE".to_owned(), "b".to_owned())].into();
        resolve(&serde_json::from_value(container).unwrap(), base, fields, &Two)
    }

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let environment: Environment = [("A".to_owned(), "1".to_owned())].into();
        for (text, expanded) in [
            ("x$(A)y", "x1y"),
            ("$$(A)", "$(A)"),
            ("$(B) $(A", "$(B) $(A"),
            ("$A $", "$A $"),
            ("$$$(A)", "$1"),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(super::expand(text, &environment), expanded, "{text}");
        }
    }

    #[test]
    fn every_kind_of_source_is_used_and_later_ones_win() {
        let environment = resolved(json!({"name": "c",
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "no", "optional": true}}],
            "env": [
                {"name": "PLAIN", "value": "$(BASE)-$(P_COLOUR)"},
                {"name": "P_COLOUR", "value": "blue"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
                {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "x", "optional": true}}},
            ]}))
        .unwrap();
        for (name, value) in [
            ("PLAIN", "b-red"),
            ("P_COLOUR", "blue"),
            ("IP", "10.244.0.9"),
            ("TOKEN", "s3cret"),
            ("P_not-a-name!", "x"),
        ] {
            assert_eq!(environment[name], value, "{name}");
        }
        assert!(!environment.contains_key("NONE"));
    }

    #[test]
    fn what_is_missing_is_said_in_kubelet_s_words() {
        let key = |kind: &str, name: &str| {
            resolved(
                json!({"name": "c", "env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": "k"}}}]}),
            )
        };
        assert_eq!(
            key("configMapKeyRef", "no").unwrap_err(),
            "configmaps \"no\" not found"
        );
        assert_eq!(
            key("configMapKeyRef", "settings").unwrap_err(),
            "couldn't find key k in ConfigMap ns/settings"
        );
        assert_eq!(
            key("secretKeyRef", "key").unwrap_err(),
            "couldn't find key k in Secret ns/key"
        );
    }

    #[test]
    fn services_are_announced_by_variables() {
        let service = json!({"metadata": {"name": "my-app"}, "spec": {"clusterIP": "10.96.0.7",
            "ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}});
        let headless = json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None"}});
        let environment = of_services([&service, &headless]);
        assert_eq!(environment["MY_APP_SERVICE_HOST"], "10.96.0.7");
        assert_eq!(environment["MY_APP_SERVICE_PORT"], "80");
        assert_eq!(environment["MY_APP_SERVICE_PORT_WEB"], "80");
        assert_eq!(environment["MY_APP_PORT_80_TCP"], "tcp://10.96.0.7:80");
        assert!(!environment.contains_key("H_SERVICE_HOST"));
    }
}
