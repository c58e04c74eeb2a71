//! Ownership, case by case, as the documentation and the recorded answers of a real API server have it.

use serde_json::{Value, json};

use super::{
    FieldSet, Owners, Rule, Scope, Subresource, apply, from_openapi, problems, unchanged_times, update,
};
use crate::api::Status;

const NOW: &str = "2026-11-23T01:02:03Z";

struct Cluster {
    rule: Rule,
    version: &'static str,
    object: Value,
}

impl Cluster {
    fn new(group: &str, kind: &str, version: &'static str) -> Self {
        Self {
            rule: Rule::of_kind(group, kind),
            version,
            object: json!({}),
        }
    }

    fn deployments() -> Self {
        Self::new("apps", "Deployment", "apps/v1")
    }

    fn custom(spec: &Value) -> Self {
        let schema = json!({"type": "object", "properties": {"spec": spec,
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}});
        Self {
            rule: from_openapi(&schema),
            version: "example.com/v1",
            object: json!({}),
        }
    }

    fn scope<'a>(&'a self, manager: &'a str) -> Scope<'a> {
        Scope {
            rule: &self.rule,
            api_version: self.version,
            subresource: Subresource::None { status: true },
            manager,
            now: NOW,
            versions: &[],
        }
    }

    fn update(&mut self, manager: &str, new: &Value) {
        let owners = Owners::of(&self.object).unwrap();
        let owners = update(&self.scope(manager), &self.object, new, owners);
        self.object = new.clone();
        owners.write_to(&mut self.object);
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better at the call")]
    fn try_apply(&mut self, manager: &str, applied: Value, force: bool) -> Result<(), Status> {
        let (mut object, owners) = apply(&self.scope(manager), &self.object, &applied, force)?;
        owners.write_to(&mut object);
        self.object = object;
        Ok(())
    }

    fn apply(&mut self, manager: &str, applied: Value) {
        self.try_apply(manager, applied, false).unwrap();
    }

    fn fields_of(&self, manager: &str) -> Value {
        let entries = self.object["metadata"]["managedFields"].as_array();
        let entry = entries
            .into_iter()
            .flatten()
            .find(|entry| entry["manager"] == manager);
        entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }
}

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn deployment(spec: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

#[test]
fn a_creation_is_owned_by_its_author_without_identity() {
    let mut cluster = Cluster::deployments();
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "labels": {"app": "a"}, "finalizers": ["f"]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1}}, "template": {"spec": {"containers": [
            {"name": "c", "ports": [{"containerPort": 80}], "resources": {}}]}}},
        "status": {"replicas": 1}});
    cluster.update("kubectl-create", &object);
    assert_eq!(
        cluster.object["metadata"]["managedFields"],
        json!([{"manager": "kubectl-create", "operation": "Update", "apiVersion": "apps/v1", "time": NOW,
            "fieldsType": "FieldsV1", "fieldsV1": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"f\"": {}}},
            "f:spec": {"f:replicas": {}, "f:selector": {},
                "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                    "f:resources": {}}}}}}}}])
    );
}

#[test]
fn what_an_applier_no_longer_states_goes_if_nobody_else_wants_it() {
    let mut cluster = Cluster::new("", "ConfigMap", "v1");
    cluster.apply("a", config_map(&json!({"x": "1", "y": "2", "z": "3"})));
    cluster.apply("b", config_map(&json!({"y": "2"})));
    cluster.apply("a", config_map(&json!({"x": "1"})));
    assert_eq!(cluster.object["data"], json!({"x": "1", "y": "2"}));
    assert_eq!(cluster.fields_of("a"), json!({"f:data": {"f:x": {}}}));
    cluster.apply("b", config_map(&json!({})));
    assert_eq!(cluster.object["data"], json!({"x": "1"}));
}

#[test]
fn another_value_of_somebody_elses_field_is_a_conflict_until_it_is_forced() {
    let mut cluster = Cluster::deployments();
    cluster.apply("mesh", deployment(&json!({"replicas": 1, "paused": false})));
    let refused = cluster
        .try_apply("user", deployment(&json!({"replicas": 2})), false)
        .unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"mesh\": .spec.replicas"
    );
    assert_eq!(
        refused.details["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"mesh\"", "field": ".spec.replicas"}])
    );
    cluster
        .try_apply("user", deployment(&json!({"replicas": 2})), true)
        .unwrap();
    assert_eq!(cluster.object["spec"], json!({"replicas": 2, "paused": false}));
    assert_eq!(cluster.fields_of("mesh"), json!({"f:spec": {"f:paused": {}}}));
}

#[test]
fn several_conflicts_are_listed_by_owner() {
    let mut cluster = Cluster::new("", "ConfigMap", "v1");
    cluster.update("kubectl", &config_map(&json!({"x": "1"})));
    let mut next = cluster.object.clone();
    next["data"]["y"] = "1".into();
    cluster.update("curl", &next);
    let wanted = config_map(&json!({"x": "2", "y": "2"}));
    let refused = cluster.try_apply("a", wanted, false).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 2 conflicts: conflicts with \"curl\" using v1:\n- .data.y\nconflicts with \"kubectl\" using \
         v1:\n- .data.x"
    );
    assert_eq!(refused.details["causes"].as_array().unwrap().len(), 2);
}

#[test]
fn the_same_value_is_shared() {
    let mut cluster = Cluster::new("", "ConfigMap", "v1");
    cluster.update("curl", &config_map(&json!({"x": "1"})));
    cluster.apply("a", config_map(&json!({"x": "1"})));
    assert_eq!(cluster.fields_of("a"), json!({"f:data": {"f:x": {}}}));
    assert_eq!(cluster.fields_of("curl"), json!({"f:data": {".": {}, "f:x": {}}}));
    cluster.apply("a", config_map(&json!({})));
    assert_eq!(cluster.object["data"], json!({"x": "1"}), "curl wants it still");
}

#[test]
fn items_of_a_list_are_told_apart_by_their_keys_and_defaults_count() {
    let mut cluster = Cluster::new("", "Service", "v1");
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}});
    cluster.apply("a", service(json!([{"port": 80, "name": "http"}])));
    cluster.apply(
        "b",
        service(json!([{"port": 80, "protocol": "UDP"}, {"port": 81}])),
    );
    cluster.apply(
        "b",
        service(json!([{"port": 80, "protocol": "TCP", "targetPort": 8080}])),
    );
    assert_eq!(
        cluster.object["spec"]["ports"],
        json!([{"port": 80, "name": "http", "protocol": "TCP", "targetPort": 8080}])
    );
    let twice = service(json!([{"port": 80}, {"port": 80, "protocol": "TCP"}]));
    assert_eq!(
        problems(&cluster.rule, &twice, &[]),
        [".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]"]
    );
}

#[test]
fn merged_lists_keep_the_order_of_both_as_far_as_that_can_be() {
    let mut cluster = Cluster::new("", "Pod", "v1");
    let pod = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}})
    };
    let names = |cluster: &Cluster| -> Vec<String> {
        let list = cluster.object["spec"]["containers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        list.iter()
            .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    cluster.apply("a", pod(&["a", "b", "c"]));
    cluster.apply("b", pod(&["x", "c", "y"]));
    assert_eq!(names(&cluster), ["a", "b", "x", "c", "y"]);
    cluster.apply("b", pod(&["c", "x", "y"]));
    assert_eq!(names(&cluster), ["a", "b", "c", "x", "y"]);
}

#[test]
fn selectors_are_taken_as_a_whole() {
    let mut cluster = Cluster::new("", "Service", "v1");
    let service =
        |selector: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": {"selector": selector}});
    cluster.apply("a", service(json!({"app": "x"})));
    let refused = cluster
        .try_apply("b", service(json!({"version": "1"})), false)
        .unwrap_err();
    assert_eq!(refused.details["causes"][0]["field"], ".spec.selector");
    cluster
        .try_apply("b", service(json!({"version": "1"})), true)
        .unwrap();
    assert_eq!(cluster.object["spec"]["selector"], json!({"version": "1"}));
    assert_eq!(cluster.fields_of("a"), Value::Null, "an owner of nothing is none");
}

#[test]
fn an_object_from_before_belongs_to_before_first_apply() {
    let mut cluster = Cluster::new("", "ConfigMap", "v1");
    cluster.object = config_map(&json!({"x": "1"}));
    let refused = cluster
        .try_apply("a", config_map(&json!({"x": "2"})), false)
        .unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x"
    );
    cluster.apply("a", config_map(&json!({"y": "1"})));
    assert_eq!(
        cluster.fields_of("before-first-apply"),
        json!({"f:data": {".": {}, "f:x": {}}})
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_clients_side() {
    let mut cluster = Cluster::new("", "ConfigMap", "v1");
    let mut first = config_map(&json!({"x": "1"}));
    let last = format!("{first}\n");
    first["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    cluster.update("kubectl-client-side-apply", &first);
    cluster
        .try_apply("other", config_map(&json!({"x": "2"})), false)
        .unwrap_err();
    cluster.apply("kubectl", config_map(&json!({"x": "2"})));
    assert_eq!(cluster.object["data"]["x"], "2");
    let annotation =
        &cluster.object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    let kept: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    assert_eq!(kept, config_map(&json!({"x": "2"})));
}

#[test]
fn a_custom_resource_merges_as_its_schema_says() {
    let mut cluster = Cluster::custom(&json!({"type": "object", "properties": {
        "hosts": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number", "name"],
            "items": {"type": "object", "properties": {"number": {"type": "integer"},
                "name": {"type": "string", "default": "http"}, "tls": {"type": "boolean"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}));
    let object = |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "X", "spec": spec});
    cluster.apply(
        "a",
        object(
            json!({"hosts": ["a"], "tags": ["x", "y"], "ports": [{"number": 80}],
        "labels": {"l": "1"}, "whole": {"a": "1"}, "open": {"deep": {"one": 1, "list": [1]}}}),
        ),
    );
    assert_eq!(
        cluster.fields_of("a"),
        json!({"f:spec": {"f:hosts": {}, "f:tags": {"v:\"x\"": {}, "v:\"y\"": {}},
        "f:ports": {"k:{\"name\":\"http\",\"number\":80}": {".": {}, "f:number": {}}}, "f:labels": {"f:l": {}},
        "f:whole": {}, "f:open": {"f:deep": {".": {}, "f:one": {}, "f:list": {}}}}})
    );
    cluster.apply(
        "b",
        object(
            json!({"tags": ["y", "z"], "ports": [{"number": 80, "name": "http", "tls": true}],
        "open": {"deep": {"two": 2}}}),
        ),
    );
    cluster.apply("a", object(json!({"tags": ["y"], "ports": [{"number": 80}]})));
    assert_eq!(
        cluster.object["spec"],
        json!({"tags": ["y", "z"], "ports": [{"number": 80, "name": "http", "tls": true}], "open": {"deep": {"two": 2}}})
    );
}

#[test]
fn a_list_that_has_become_atomic_is_owned_as_a_whole() {
    let list = |kind: &str| {
        json!({"type": "object", "properties": {"tags": {"type": "array",
        "x-kubernetes-list-type": kind, "items": {"type": "string"}}}})
    };
    let object = |tags: Value| json!({"apiVersion": "example.com/v1", "kind": "X", "spec": {"tags": tags}});
    let mut cluster = Cluster::custom(&list("set"));
    cluster.apply("a", object(json!(["x"])));
    cluster.rule = Cluster::custom(&list("atomic")).rule;
    cluster.apply("b", object(json!(["x"])));
    assert_eq!(cluster.fields_of("a"), json!({"f:spec": {"f:tags": {}}}));
    cluster.try_apply("b", object(json!(["y"])), false).unwrap_err();
}

#[test]
fn status_is_out_of_reach_of_the_object_and_the_object_of_status() {
    let mut cluster = Cluster::custom(&json!({"type": "object", "properties": {"x": {"type": "integer"}}}));
    cluster.update("a", &json!({"spec": {"x": 1}, "status": {"ready": true}}));
    assert_eq!(cluster.fields_of("a"), json!({"f:spec": {".": {}, "f:x": {}}}));
    let scope = Scope {
        subresource: Subresource::Status,
        ..cluster.scope("controller")
    };
    let new = json!({"metadata": cluster.object["metadata"], "spec": {"x": 2}, "status": {"ready": false}});
    let owners = update(
        &scope,
        &cluster.object,
        &new,
        Owners::of(&cluster.object).unwrap(),
    );
    let status = owners
        .0
        .iter()
        .find(|owner| owner.subresource == "status")
        .unwrap();
    assert_eq!(status.fields.to_value(), json!({"f:status": {"f:ready": {}}}));
    assert_eq!(owners.0.len(), 2);
}

#[test]
fn the_oldest_of_many_updaters_are_folded() {
    let mut cluster = Cluster::new("", "ConfigMap", "v1");
    for number in 0..15 {
        let mut next = cluster.object.clone();
        next["data"][format!("key{number}")] = "1".into();
        cluster.update(&format!("updater-{number:02}"), &next);
    }
    let owners = Owners::of(&cluster.object).unwrap();
    assert_eq!(owners.0.len(), 10);
    let ancient = owners
        .0
        .iter()
        .find(|owner| owner.manager == "ancient-changes")
        .unwrap();
    assert_eq!(ancient.fields.paths().len(), 7, "six keys and the map itself");
}

#[test]
fn an_empty_list_of_owners_forgets_them_and_nonsense_is_ignored() {
    let current = json!({"metadata": {"managedFields": [{"manager": "a", "operation": "Apply", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}}]}});
    let given = |list: Value| {
        Owners::given(&current, &json!({"metadata": {"managedFields": list}}))
            .0
            .len()
    };
    assert_eq!(given(json!([])), 0);
    assert_eq!(given(json!([{}])), 0);
    assert_eq!(given(Value::Null), 1);
    assert_eq!(given(json!([{"manager": "b", "operation": "Steal"}])), 1);
}

#[test]
fn a_set_survives_its_written_form() {
    let written = json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"k:{\"name\":\"x\",\"port\":80}": {".": {}, "f:y": {}},
        "v:1": {}, "v:1.5": {}, "v:true": {}, "i:3": {}}});
    let set = FieldSet::from_value(&written).unwrap();
    assert_eq!(set.to_value(), written);
    assert!(FieldSet::from_value(&json!({"z:later": {}})).unwrap().is_empty());
    assert!(FieldSet::from_value(&json!({"nonsense": {}})).is_err());
    assert!(FieldSet::from_value(&json!({"k:[": {}})).is_err());
}

#[test]
fn times_alone_are_no_change() {
    let object = |time: &str, value: &str| {
        json!({"metadata": {"name": "a", "managedFields": [{"time": time, "manager": "m"}]},
        "data": value})
    };
    let old = object("1", "x");
    let mut same = object("2", "x");
    unchanged_times(&old, &mut same);
    assert_eq!(same, old);
    let mut other = object("2", "y");
    unchanged_times(&old, &mut other);
    assert_eq!(other, object("2", "y"));
}

#[test]
fn versions_that_are_gone_own_nothing() {
    let mut cluster = Cluster::new("", "ConfigMap", "v1");
    cluster.apply("a", config_map(&json!({"x": "1"})));
    let served = ["v2".to_owned()];
    let scope = Scope {
        versions: &served,
        api_version: "v2",
        ..cluster.scope("b")
    };
    let (_, owners) = apply(&scope, &cluster.object, &config_map(&json!({"x": "2"})), false).unwrap();
    assert_eq!(owners.0.len(), 1);
}
