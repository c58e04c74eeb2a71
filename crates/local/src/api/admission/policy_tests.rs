//! Policies and conditions, as users write them.

use serde_json::{Value, json};

use super::policy::{BINDINGS, POLICIES};
use super::tests::Cluster;
use super::{Admission, Operation, Review};
use crate::api::{Status, User, gvr};

/// A policy about pods of namespace `shop`, and its binding.
fn cluster(spec: &Value, binding: &Value) -> Cluster {
    let mut policy = json!({"matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [{
        "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"}]}});
    let mut bound = json!({"policyName": "p", "validationActions": ["Deny"]});
    for (into, from) in [(&mut policy, spec), (&mut bound, binding)] {
        for (field, value) in from.as_object().into_iter().flatten() {
            into[field] = value.clone();
        }
    }
    Cluster::namespaced()
        .with(&POLICIES, "", "p", json!({"spec": policy}))
        .with(&BINDINGS, "", "b", json!({"spec": bound}))
}

async fn create(cluster: &Cluster, image: &str) -> Result<Vec<String>, Status> {
    let registry = crate::api::registry::Registry::built_in();
    let kind = registry.find("", "v1", "pods").expect("is built in");
    let user = User {
        name: "bob".to_owned(),
        ..User::default()
    };
    let review = Review {
        user: &user,
        kind,
        namespace: "shop",
        name: "web",
        subresource: None,
        operation: Operation::Create,
        old: None,
        dry_run: false,
    };
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop",
        "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    Admission::default().validate(cluster, &review, &pod).await
}

#[tokio::test]
async fn a_policy_refuses_in_kubernetes_words_or_only_warns() {
    let spec = json!({"validations": [{"expression": "object.spec.containers.all(c, c.image.startsWith('good/'))"}]});
    let denying = cluster(&spec, &json!({}));
    assert_eq!(create(&denying, "good/x").await, Ok(Vec::new()));
    let status = create(&denying, "bad/x").await.unwrap_err();
    let why = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: \
               object.spec.containers.all(c, c.image.startsWith('good/'))";
    assert_eq!((status.code, status.reason), (422, "Invalid"));
    assert_eq!(status.message, format!("pods \"web\" is forbidden: {why}"));
    assert_eq!(status.details["causes"], json!([{"message": why}]));
    let warning = cluster(&spec, &json!({"validationActions": ["Warn", "Audit"]}));
    let warned = create(&warning, "bad/x").await.unwrap();
    assert!(warned[0].starts_with(
        "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression"
    ));
}

#[tokio::test]
async fn variables_conditions_messages_and_who_asks() {
    let spec = json!({
        "matchConditions": [{"name": "not-root", "expression": "request.userInfo.username != 'root'"}],
        "variables": [
            {"name": "images", "expression": "object.spec.containers.map(c, c.image)"},
            {"name": "first", "expression": "variables.images[0]"},
            {"name": "broken", "expression": "object.spec.nothing"}],
        "validations": [{"expression": "variables.first != 'bad/x' && namespaceObject.metadata.name == 'shop'",
            "messageExpression": "'%s is bad for %s'.format([variables.first, request.userInfo.username])",
            "reason": "Forbidden"}]});
    let policy = cluster(&spec, &json!({}));
    assert_eq!(create(&policy, "good/x").await, Ok(Vec::new()));
    let status = create(&policy, "bad/x").await.unwrap_err();
    assert_eq!(status.code, 403);
    assert!(
        status.message.ends_with("denied request: bad/x is bad for bob"),
        "{status}"
    );
    let mut excused = spec;
    excused["matchConditions"][0]["expression"] = json!("request.userInfo.username == 'root'");
    assert_eq!(
        create(&cluster(&excused, &json!({})), "bad/x").await,
        Ok(Vec::new())
    );
}

#[tokio::test]
async fn an_expression_that_fails_or_costs_too_much_is_decided_by_the_failure_policy() {
    let list = "[1,2,3,4,5,6,7,8,9,10]";
    let mut endless = "true".to_owned();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        endless = format!("{list}.all({name}, {endless})");
    }
    for (expression, why) in [
        ("object.spec.nothing == 1", "no such key: nothing"),
        (
            endless.as_str(),
            "operation cancelled: actual cost limit exceeded",
        ),
    ] {
        let spec = json!({"validations": [{"expression": expression}]});
        let status = create(&cluster(&spec, &json!({})), "x").await.unwrap_err();
        let end = format!("expression '{expression}' resulted in error: {why}");
        assert!(status.message.ends_with(&end), "{status}");
        let ignoring = json!({"failurePolicy": "Ignore", "validations": [{"expression": expression}]});
        assert_eq!(create(&cluster(&ignoring, &json!({})), "x").await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn parameters_come_from_the_namespace_of_the_request() {
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.spec.containers.all(c, c.image == params.data.image)"}]});
    let reference = json!({"paramRef": {"name": "allowed", "parameterNotFoundAction": "Deny"}});
    let lost = create(&cluster(&spec, &reference), "x").await.unwrap_err();
    assert!(
        lost.message.ends_with(
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        ),
        "{lost}"
    );
    let config = json!({"metadata": {"namespace": "shop"}, "data": {"image": "x"}});
    let found = cluster(&spec, &reference).with(&gvr::CONFIG_MAPS, "shop", "allowed", config);
    assert_eq!(create(&found, "x").await, Ok(Vec::new()));
    assert!(create(&found, "y").await.is_err());
}

#[tokio::test]
async fn a_binding_may_select_less_than_its_policy() {
    let spec = json!({"validations": [{"expression": "false", "message": "never"}]});
    let elsewhere =
        json!({"matchResources": {"namespaceSelector": {"matchLabels": {"istio-injection": "disabled"}}}});
    assert_eq!(create(&cluster(&spec, &elsewhere), "x").await, Ok(Vec::new()));
    let here = json!({"matchResources": {"objectSelector": {"matchLabels": {"app": "web"}}}});
    assert!(create(&cluster(&spec, &here), "x").await.is_err());
    let excluded = json!({"matchResources": {"excludeResourceRules": [{"operations": ["*"], "apiGroups": ["*"],
        "apiVersions": ["*"], "resources": ["pods"], "resourceNames": ["web"]}]}});
    assert_eq!(create(&cluster(&spec, &excluded), "x").await, Ok(Vec::new()));
}
