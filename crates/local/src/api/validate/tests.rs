//! Validation against the texts of the real server.

use serde_json::{Value, json};

use crate::api::registry::Registry;
use crate::api::{Status, defaults};

fn validated(group: &str, resource: &str, new: Value, old: Option<Value>) -> Result<(), Status> {
    let registry = Registry::built_in();
    let kind = registry.preferred(group, resource).expect("it is built in");
    let complete = |mut object: Value| {
        defaults::default_object(kind, &mut object);
        object
    };
    super::validate(kind, &complete(new), old.map(complete).as_ref())
}

fn refused(group: &str, resource: &str, new: Value, old: Option<Value>) -> String {
    let status = validated(group, resource, new, old).expect_err("is wrong");
    assert_eq!((status.code, status.reason), (422, "Invalid"));
    status.message
}

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template":
        {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "echo"}]}}}})
}

#[test]
fn a_good_deployment_passes_and_a_bad_name_does_not() {
    assert_eq!(validated("apps", "deployments", deployment("good"), None), Ok(()));
    assert_eq!(
        refused("apps", "deployments", deployment("Bad_"), None),
        "Deployment.apps \"Bad_\" is invalid: metadata.name: Invalid value: \"Bad_\": a lowercase RFC 1123 subdomain \
         must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
         character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    );
    assert!(
        refused("", "namespaces", json!({"metadata": {"name": "a.b"}}), None).contains(
            "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        )
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_a_cause_each() {
    let mut object = deployment("bad");
    object["spec"]["replicas"] = json!(-1);
    object["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
    object["spec"]["template"]["spec"]["containers"] = json!([{"name": "a"}, {"name": "a", "image": "x"}]);
    let status = validated("apps", "deployments", object, None).expect_err("is wrong");
    assert_eq!(
        status.message,
        "Deployment.apps \"bad\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
         spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`, \
         spec.template.spec.containers[0].image: Required value, spec.template.spec.containers[1].name: Duplicate \
         value: \"a\"]"
    );
    let first = json!({"reason": "FieldValueInvalid", "field": "spec.replicas",
        "message": "Invalid value: -1: must be greater than or equal to 0"});
    assert_eq!(status.details["causes"][0], first);
}

#[test]
fn what_may_not_change_is_immutable() {
    let mut changed = deployment("a");
    changed["spec"]["selector"] = json!({"matchLabels": {"app": "b"}});
    changed["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
    assert_eq!(
        refused("apps", "deployments", changed, Some(deployment("a"))),
        "Deployment.apps \"a\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is \
         immutable"
    );
    let service = |address: &str| json!({"metadata": {"name": "s"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    assert_eq!(
        refused("", "services", service("10.96.0.3"), Some(service("10.96.0.2"))),
        "Service \"s\" is invalid: spec.clusterIPs[0]: Invalid value: [\"10.96.0.3\"]: may not change once set"
    );
    let pod = |command: &str, image: &str| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": image, "command": [command]}]}});
    assert!(
        refused("", "pods", pod("b", "echo"), Some(pod("a", "echo")))
            .contains("pod updates may not change fields")
    );
    assert_eq!(
        validated("", "pods", pod("a", "curl:8"), Some(pod("a", "echo:8"))),
        Ok(())
    );
}

#[test]
fn what_is_fixed_in_part_is_refused_in_part() {
    let claim = |size: &str, class: &str, phase: &str| {
        json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "volumeName": "v", "resources": {"requests": {"storage": size}}},
            "status": {"phase": phase, "capacity": {"storage": "2Gi"}}})
    };
    let claims = |new: Value| {
        let old = claim("2Gi", "a", "Bound");
        validated("", "persistentvolumeclaims", new, Some(old)).map_err(|status| status.message)
    };
    assert_eq!(claims(claim("3Gi", "a", "Bound")), Ok(()));
    let fixed = "PersistentVolumeClaim \"c\" is invalid: spec: Forbidden: spec is immutable after creation except \
                 resources.requests and volumeAttributesClassName for bound claims";
    assert_eq!(claims(claim("3Gi", "a", "Pending")), Err(fixed.to_owned()));
    assert_eq!(claims(claim("2Gi", "b", "Bound")), Err(fixed.to_owned()));
    assert_eq!(
        claims(claim("1Gi", "a", "Bound")).unwrap_err(),
        "PersistentVolumeClaim \"c\" is invalid: spec.resources.requests.storage: Forbidden: field can not be less \
         than status.capacity"
    );
    let job = |completions: u32, parallelism: u32| {
        json!({"metadata": {"name": "j"}, "spec": {"completionMode": "Indexed", "completions": completions,
            "parallelism": parallelism, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "a", "image": "echo"}]}}}})
    };
    assert_eq!(validated("batch", "jobs", job(3, 3), Some(job(2, 2))), Ok(()));
    assert_eq!(
        refused("batch", "jobs", job(3, 2), Some(job(2, 2))),
        "Job.batch \"j\" is invalid: spec.completions: Invalid value: 3: can only be modified in tandem with \
         spec.parallelism"
    );
    let binding = |role: &str| {
        json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": role}})
    };
    assert_eq!(
        refused(
            "rbac.authorization.k8s.io",
            "clusterrolebindings",
            binding("edit"),
            Some(binding("view"))
        ),
        "ClusterRoleBinding.rbac.authorization.k8s.io \"b\" is invalid: roleRef: Invalid value: \
         {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"edit\"}: cannot change roleRef"
    );
    let set = |app: &str| {
        let mut set = deployment("s");
        set["spec"]["selector"]["matchLabels"]["app"] = app.into();
        set["spec"]["template"]["metadata"]["labels"]["app"] = app.into();
        set
    };
    assert_eq!(
        refused("apps", "statefulsets", set("b"), Some(set("a"))),
        "StatefulSet.apps \"s\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than \
         'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
         'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    );
}

#[test]
fn services_pods_and_webhooks_are_looked_at_closely() {
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}, {"port": 80, "name": "b"}]}});
    assert_eq!(
        refused("", "services", service, None),
        "Service \"s\" is invalid: [spec.ports[0].name: Required value, spec.ports[0].port: Invalid value: 0: must be \
         between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, \
         inclusive]"
    );
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "echo",
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}]}});
    assert_eq!(
        refused("", "pods", pod, None),
        "Pod \"p\" is invalid: [spec.containers[0].volumeMounts[0].name: Not found: \"v\", \
         spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1]"
    );
    let webhook = json!({"metadata": {"name": "w"}, "webhooks": [{"name": "a.b.c", "clientConfig": {},
        "admissionReviewVersions": ["v1"]}]});
    assert_eq!(
        refused(
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            webhook,
            None
        ),
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io \"w\" is invalid: [webhooks[0].clientConfig: \
         Required value: exactly one of url or service is required, webhooks[0].sideEffects: Required value: must \
         specify one of None, NoneOnDryRun]"
    );
}
