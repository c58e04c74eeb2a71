//! Whether a pod wants a sidecar: Istio's order of rules, after the webhook's own selection.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::Settings;
use crate::install::values::AutoInject;

const LABEL: &str = "sidecar.istio.io/inject";
const SYSTEM: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];

/// Why a pod is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It shares the node's network, whose traffic must not be captured.
    HostNetwork,
    /// It belongs to Kubernetes itself.
    SystemNamespace,
    /// There is no sidecar for Windows.
    Windows,
    /// By the pod's own label or annotation.
    Refused,
    /// By `neverInjectSelector`.
    NeverInject,
    /// `autoInject` is off and the pod does not ask.
    NotAsked,
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HostNetwork => "it uses the network of its node",
            Self::SystemNamespace => "its namespace belongs to Kubernetes",
            Self::Windows => "there is no sidecar for Windows",
            Self::Refused => "sidecar.istio.io/inject is \"false\"",
            Self::NeverInject => "neverInjectSelector matches it",
            Self::NotAsked => "automatic injection is disabled and it does not ask",
        })
    }
}

pub(super) fn decide(pod: &Value, namespace: &str, settings: &Settings) -> Result<(), Skipped> {
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return Err(Skipped::HostNetwork);
    }
    if SYSTEM.contains(&namespace) {
        return Err(Skipped::SystemNamespace);
    }
    if pod
        .pointer("/spec/nodeSelector/kubernetes.io~1os")
        .is_some_and(|system| system == "windows")
    {
        return Err(Skipped::Windows);
    }
    match asked(pod) {
        Some(true) => return Ok(()),
        Some(false) => return Err(Skipped::Refused),
        None => {}
    }
    let webhook = &settings.values.sidecar_injector_webhook;
    let labels = labels(pod);
    if webhook
        .never_inject_selector
        .iter()
        .any(|selector| matches(selector, &labels))
    {
        return Err(Skipped::NeverInject);
    }
    if webhook
        .always_inject_selector
        .iter()
        .any(|selector| matches(selector, &labels))
    {
        return Ok(());
    }
    match settings.values.global.proxy.auto_inject {
        AutoInject::Enabled => Ok(()),
        AutoInject::Disabled => Err(Skipped::NotAsked),
    }
}

/// What the pod says itself; its label counts before its annotation. Other values say nothing.
fn asked(pod: &Value) -> Option<bool> {
    let of = |kind: &str| pod.pointer(&format!("/metadata/{kind}"))?.get(LABEL)?.as_str();
    match of("labels").or_else(|| of("annotations"))? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn labels(pod: &Value) -> BTreeMap<String, String> {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(text).collect()
}

/// An empty selector matches nothing here, as in Istio: it would otherwise concern every pod.
fn matches(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let Ok(selector) = serde_json::from_value::<LabelSelector>(selector.clone()) else {
        tracing::warn!(scope = "injection", %selector, "not a label selector; it is ignored");
        return false;
    };
    if selector == LabelSelector::default() {
        return false;
    }
    Selector::try_from(selector).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(labels: &Value, annotations: &Value) -> Value {
        json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": {}})
    }

    fn settings(auto_inject: AutoInject) -> Settings {
        let mut settings = Settings::default();
        settings.values.global.proxy.auto_inject = auto_inject;
        settings.values.sidecar_injector_webhook.never_inject_selector =
            vec![json!({"matchLabels": {"never": "yes"}}), json!({})];
        settings.values.sidecar_injector_webhook.always_inject_selector =
            vec![json!({"matchExpressions": [{"key": "always", "operator": "Exists"}]})];
        settings
    }

    #[test]
    fn the_rules_apply_in_istios_order() {
        let (enabled, disabled) = (settings(AutoInject::Enabled), settings(AutoInject::Disabled));
        let none = json!({});
        for (labels, annotations, with_policy, without_policy) in [
            (json!({}), json!({}), Ok(()), Err(Skipped::NotAsked)),
            (json!({LABEL: "true"}), json!({LABEL: "false"}), Ok(()), Ok(())),
            (
                json!({LABEL: "false"}),
                json!({LABEL: "true"}),
                Err(Skipped::Refused),
                Err(Skipped::Refused),
            ),
            (
                json!({}),
                json!({LABEL: "false"}),
                Err(Skipped::Refused),
                Err(Skipped::Refused),
            ),
            (
                json!({LABEL: "maybe"}),
                none.clone(),
                Ok(()),
                Err(Skipped::NotAsked),
            ),
            (
                json!({"never": "yes"}),
                none.clone(),
                Err(Skipped::NeverInject),
                Err(Skipped::NeverInject),
            ),
            (
                json!({"never": "yes", LABEL: "true"}),
                none.clone(),
                Ok(()),
                Ok(()),
            ),
            (json!({"always": ""}), none.clone(), Ok(()), Ok(())),
            (
                json!({"never": "yes", "always": ""}),
                none,
                Err(Skipped::NeverInject),
                Err(Skipped::NeverInject),
            ),
        ] {
            let pod = pod(&labels, &annotations);
            assert_eq!(
                decide(&pod, "shop", &enabled),
                with_policy,
                "{labels} {annotations}"
            );
            assert_eq!(
                decide(&pod, "shop", &disabled),
                without_policy,
                "{labels} {annotations}"
            );
        }
    }

    #[test]
    fn some_pods_never_get_a_sidecar() {
        let settings = settings(AutoInject::Enabled);
        let asked = json!({LABEL: "true"});
        let mut host = pod(&asked, &json!({}));
        host["spec"]["hostNetwork"] = true.into();
        assert_eq!(decide(&host, "shop", &settings), Err(Skipped::HostNetwork));
        let mut windows = pod(&asked, &json!({}));
        windows["spec"]["nodeSelector"]["kubernetes.io/os"] = "windows".into();
        assert_eq!(decide(&windows, "shop", &settings), Err(Skipped::Windows));
        assert_eq!(
            decide(&pod(&asked, &json!({})), "kube-system", &settings),
            Err(Skipped::SystemNamespace)
        );
    }
}
