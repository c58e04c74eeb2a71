//! Defaults against what a real server answered.

use serde_json::{Value, json};

use crate::api::registry::Registry;

fn defaulted(group: &str, resource: &str, mut object: Value) -> Value {
    let registry = Registry::built_in();
    super::default_object(
        registry.preferred(group, resource).expect("it is built in"),
        &mut object,
    );
    object
}

#[test]
fn a_deployment_becomes_what_the_real_server_answered() {
    let given = json!({"replicas": 1, "selector": {"matchLabels": {"app": "client", "version": "0"}},
        "template": {"metadata": {"labels": {"app": "client", "version": "0"}}, "spec": {"containers": [
            {"env": [{"name": "SERVER_HOST", "value": "backend"}, {"name": "SERVER_PORT", "value": "9090"}],
             "image": "h3poteto/playground-echo-client:master", "imagePullPolicy": "Always", "name": "client"}]}}});
    let answered = json!({"replicas": 1, "selector": {"matchLabels": {"app": "client", "version": "0"}},
        "template": {"metadata": {"labels": {"app": "client", "version": "0"}}, "spec": {
            "containers": [{"name": "client", "image": "h3poteto/playground-echo-client:master",
                "env": [{"name": "SERVER_HOST", "value": "backend"}, {"name": "SERVER_PORT", "value": "9090"}],
                "resources": {}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600});
    assert_eq!(
        defaulted("apps", "deployments", json!({"spec": given}))["spec"],
        answered
    );
}

#[test]
fn the_pull_policy_follows_the_tag() {
    let policy = |image: &str| {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": image}]}});
        defaulted("", "pods", pod)["spec"]["containers"][0]["imagePullPolicy"].clone()
    };
    assert_eq!(policy("curl"), "Always");
    assert_eq!(policy("host:5000/curl"), "Always");
    assert_eq!(policy("curl:latest"), "Always");
    assert_eq!(policy("curl:8"), "IfNotPresent");
    assert_eq!(policy("curl@sha256:00"), "IfNotPresent");
}

#[test]
fn plain_text_of_a_secret_is_encoded_over_its_data() {
    let secret = json!({"data": {"a": "eA==", "b": "eA=="}, "stringData": {"a": "hello"}});
    let wanted = json!({"data": {"a": "aGVsbG8=", "b": "eA=="}, "type": "Opaque"});
    assert_eq!(defaulted("", "secrets", secret), wanted);
}

#[test]
fn a_service_forwards_to_its_own_port() {
    let service = json!({"spec": {"ports": [{"port": 9090}]}});
    let spec = &defaulted("", "services", service)["spec"];
    assert_eq!(
        spec["ports"][0],
        json!({"port": 9090, "protocol": "TCP", "targetPort": 9090})
    );
    assert_eq!(spec["type"], "ClusterIP");
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
}

#[test]
fn defaults_do_not_change_what_they_made() {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "curl",
        "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"httpGet": {"port": 80}}}],
        "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}]}});
    let once = defaulted("", "pods", pod);
    assert_eq!(once["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
    assert_eq!(defaulted("", "pods", once.clone()), once);
}
