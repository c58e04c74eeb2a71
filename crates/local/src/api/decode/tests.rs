//! Strict decoding against the real server's messages.

use serde_json::{Value, json};

use super::{FieldValidation, decode, parse};
use crate::api::registry::Registry;

fn decoded(
    group: &str,
    resource: &str,
    object: Value,
    how: FieldValidation,
) -> Result<(Value, Vec<String>), String> {
    let registry = Registry::built_in();
    let kind = registry.preferred(group, resource).expect("it is built in");
    decode(kind, object, how)
        .map(|done| (done.object, done.warnings))
        .map_err(|status| status.message)
}

#[test]
fn an_unknown_field_is_named_by_its_path() {
    let object =
        json!({"spec": {"replcas": 1, "template": {"spec": {"containers": [{"name": "a", "imag": "b"}]}}}});
    let unknown = [
        "unknown field \"spec.replcas\"",
        "unknown field \"spec.template.spec.containers[0].imag\"",
    ];
    assert_eq!(
        decoded("apps", "deployments", object.clone(), FieldValidation::Strict),
        Err(format!(
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: {}",
            unknown.join(", ")
        ))
    );
    let (kept, warnings) =
        decoded("apps", "deployments", object, FieldValidation::Warn).expect("is only warned of");
    assert_eq!(warnings, unknown);
    assert_eq!(
        kept["spec"],
        json!({"template": {"spec": {"containers": [{"name": "a"}]}}})
    );
}

#[test]
fn a_wrong_type_is_said_in_the_words_of_go() {
    for (object, wanted) in [
        (
            json!({"spec": {"replicas": "1"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type \
             []v1.Container",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels.a of type string",
        ),
        (
            json!({"spec": "x"}),
            "json: cannot unmarshal string into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "1x"}}}]}}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        let wanted = format!("Deployment in version \"v1\" cannot be handled as a Deployment: {wanted}");
        assert_eq!(
            decoded("apps", "deployments", object, FieldValidation::Warn),
            Err(wanted)
        );
    }
}

#[test]
fn what_the_user_wrote_stays_in_order_and_only_nulls_and_quantities_change() {
    let object = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"nodeName": "n", "hostname": null, "containers": [
        {"resources": {"requests": {"memory": "1024Mi", "cpu": 0.5}}, "name": "a"}]}, "metadata": {"name": "a"}});
    let (kept, _) = decoded("", "pods", object, FieldValidation::Strict).expect("is fine");
    let wanted = r#"{"kind":"Pod","apiVersion":"v1","spec":{"nodeName":"n","containers":[{"resources":{"requests":{"memory":"1Gi","cpu":"500m"}},"name":"a"}]},"metadata":{"name":"a"}}"#;
    assert_eq!(kept.to_string(), wanted);
}

#[test]
fn a_field_given_twice_is_a_strict_error() {
    let body = br#"{"data": {"a": "1"}, "data": {"b": "2"}, "metadata": {"name": "x", "name": "y"}}"#;
    let registry = Registry::built_in();
    let kind = registry.preferred("", "configmaps").expect("it is built in");
    let parsed = parse(body, "application/json").expect("is JSON");
    let refused = decode(kind, parsed, FieldValidation::Strict).expect_err("is given twice");
    assert_eq!(
        refused.message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \
         \"data\", duplicate field \"metadata.name\""
    );
}

#[test]
fn an_object_of_another_kind_is_refused() {
    let pod = json!({"kind": "Pod", "apiVersion": "v1"});
    let status = decoded("apps", "deployments", pod, FieldValidation::Warn).expect_err("is another kind");
    assert_eq!(
        status,
        "the API version in the data (v1) does not match the expected API version (apps/v1)"
    );
    assert!(parse(b"{", "application/json").is_err());
    let yaml = parse(b"metadata:\n  name: a\n", "application/yaml").expect("is YAML");
    assert_eq!(yaml.value, json!({"metadata": {"name": "a"}}));
}
