//! The installation as a whole.

use serde_json::{Value, json};

use super::{Values, manifests};
use crate::golden;

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let fits = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects
        .iter()
        .find(fits)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn the_default_installation() {
    let objects = manifests(&Values::default());
    // The definitions of Istio's kinds are checked where they are generated.
    let without_crds = objects
        .into_iter()
        .filter(|object| object["kind"] != "CustomResourceDefinition");
    golden::check("install/testdata/default.json", &without_crds.collect());
}

#[test]
fn what_is_needed_first_comes_first() {
    let objects = manifests(&Values::default());
    let first = |kind: &str| objects.iter().position(|object| object["kind"] == kind).unwrap();
    let order = [
        "Namespace",
        "ServiceAccount",
        "ConfigMap",
        "Deployment",
        "MutatingWebhookConfiguration",
    ];
    assert!(order.windows(2).all(|pair| first(pair[0]) < first(pair[1])));
}

#[test]
fn no_webhook_reaches_the_meshs_own_namespace() {
    let mut values = Values::default();
    values.sidecar_injector_webhook.enable_namespaces_by_default = true;
    let objects = manifests(&values);
    let webhooks =
        find(&objects, "MutatingWebhookConfiguration", "istio-sidecar-injector")["webhooks"].clone();
    let webhooks = webhooks.as_array().unwrap();
    assert_eq!(webhooks.len(), 5);
    for webhook in webhooks {
        let selector = webhook["namespaceSelector"]["matchExpressions"]
            .as_array()
            .unwrap();
        let keeps_out = |rule: &Value| {
            rule["operator"] == "NotIn"
                && rule["values"]
                    .as_array()
                    .unwrap()
                    .contains(&json!("istio-system"))
        };
        assert!(selector.iter().any(keeps_out), "{}", webhook["name"]);
    }
}

#[test]
fn the_bundle_is_left_to_the_controller() {
    let text = serde_json::to_string(&manifests(&Values::default())).unwrap();
    assert!(!text.contains("caBundle"));
}

#[test]
fn values_reach_the_objects() {
    let set = [
        "global.istioNamespace=mesh",
        "pilot.env.PILOT_DEBOUNCE_AFTER=50ms",
        "global.logAsJson=true",
    ];
    let values = super::set::values(&[], &set.map(str::to_owned)).unwrap();
    let objects = manifests(&values);
    let container = &find(&objects, "Deployment", "istiod")["spec"]["template"]["spec"]["containers"][0];
    assert!(
        container["env"]
            .as_array()
            .unwrap()
            .contains(&json!({"name": "PILOT_DEBOUNCE_AFTER", "value": "50ms"}))
    );
    assert!(
        container["args"]
            .as_array()
            .unwrap()
            .contains(&json!("--log_as_json"))
    );
    find(&objects, "ValidatingWebhookConfiguration", "istio-validator-mesh");
    let mesh = find(&objects, "ConfigMap", "istio")["data"]["mesh"]
        .as_str()
        .unwrap();
    assert!(mesh.contains("discoveryAddress: istiod.mesh.svc:15012"), "{mesh}");
}

#[test]
fn the_injector_reads_back_what_the_installation_wrote() {
    let mut values = Values::default();
    values.global.proxy.include_ip_ranges = "10.0.0.0/8".to_owned();
    let objects = manifests(&values);
    let text = find(&objects, "ConfigMap", "istio-sidecar-injector")["data"]["values"]
        .as_str()
        .unwrap();
    let read: Values = serde_json::from_str(text).unwrap();
    assert_eq!(read.global, values.global);
}
