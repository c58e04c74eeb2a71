//! Patches: recorded ones, and properties against models that are simpler than the code.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{PatchKind, apply, merge, strategic};
use crate::api::registry::Registry;

#[expect(clippy::needless_pass_by_value, reason = "reads better at the call")]
fn deployment(containers: Value) -> Value {
    json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": containers}}}})
}

fn strategically(kind: &str, current: &Value, patch: &Value) -> Value {
    strategic::apply(kind, current, patch).expect("is a patch")
}

#[test]
fn the_patch_that_kubectl_sends_for_a_changed_variable_changes_that_only() {
    let before = deployment(json!([{"name": "backend", "image": "echo", "env":
        [{"name": "PORT", "value": "9090"}, {"name": "VERSION", "value": "0"}]}]));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "backend"}],
        "containers": [{"$setElementOrder/env": [{"name": "VERSION"}, {"name": "PORT"}],
            "env": [{"name": "PORT", "value": "8081"}], "name": "backend"}]}}}});
    let after = deployment(json!([{"name": "backend", "image": "echo", "env":
        [{"name": "VERSION", "value": "0"}, {"name": "PORT", "value": "8081"}]}]));
    assert_eq!(strategically("Deployment", &before, &patch), after);
}

#[test]
fn directives_delete_replace_and_retain() {
    let before = deployment(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]));
    let delete = deployment(json!([{"name": "a", "$patch": "delete"}]));
    assert_eq!(
        strategically("Deployment", &before, &delete),
        deployment(json!([{"name": "b", "image": "2"}]))
    );
    let replace = deployment(json!([{"name": "c"}, {"$patch": "replace"}]));
    assert_eq!(
        strategically("Deployment", &before, &replace),
        deployment(json!([{"name": "c"}]))
    );
    let rolling = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let retain = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(
        strategically("Deployment", &rolling, &retain),
        json!({"spec": {"strategy": {"type": "Recreate"}}})
    );
    let whole = json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}});
    assert_eq!(
        strategically("Deployment", &rolling, &whole),
        json!({"spec": {"strategy": {"type": "Recreate"}}})
    );
}

#[test]
fn plain_lists_are_united_and_others_replaced() {
    let before = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"tolerations": [{"key": "x"}]}});
    let patch = json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]},
        "spec": {"tolerations": [{"key": "y"}]}});
    let after = json!({"metadata": {"finalizers": ["b", "c"]}, "spec": {"tolerations": [{"key": "y"}]}});
    assert_eq!(strategically("Pod", &before, &patch), after);
}

#[test]
fn ports_of_a_service_and_of_a_container_have_different_keys() {
    let service = json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}]}});
    let patch = json!({"spec": {"ports": [{"port": 80, "name": "b"}]}});
    let after = json!({"spec": {"ports": [{"port": 80, "name": "b"}, {"port": 81}]}});
    assert_eq!(strategically("Service", &service, &patch), after);
    let container = deployment(json!([{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2}]}]));
    let patch = deployment(json!([{"name": "a", "ports": [{"containerPort": 2, "name": "x"}]}]));
    let after = deployment(
        json!([{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2, "name": "x"}]}]),
    );
    assert_eq!(strategically("Deployment", &container, &patch), after);
}

#[test]
fn patches_that_do_not_fit_are_refused_as_kubernetes_does() {
    let registry = Registry::built_in();
    let kind = registry.find("", "v1", "configmaps").expect("it is built in");
    let current = json!({"data": {"a": "1"}});
    let answer = |patch, body: &str| apply(kind, patch, &current, body.as_bytes());
    let failed = answer(
        PatchKind::Json,
        r#"[{"op": "test", "path": "/data/a", "value": "2"}]"#,
    )
    .expect_err("differs");
    assert_eq!((failed.code, failed.reason), (422, "Invalid"));
    assert_eq!(
        failed.message,
        "the server rejected our request due to an error in our request"
    );
    assert_eq!(answer(PatchKind::Json, "{}").expect_err("is no list").code, 400);
    assert_eq!(
        answer(PatchKind::Merge, "[]").expect_err("is no object").code,
        400
    );
    assert_eq!(
        answer(PatchKind::Apply, "{}").expect_err("is not taken").code,
        415
    );
    let moved = answer(
        PatchKind::Json,
        r#"[{"op": "move", "from": "/data/a", "path": "/data/b"}]"#,
    );
    assert_eq!(moved, Ok(json!({"data": {"b": "1"}})));
}

/// Any JSON without nulls, which a merge patch cannot set.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The merge patch from one value to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Some(old), Some(new)) = (from.as_object(), to.as_object()) else {
        return to.clone();
    };
    let mut patch: Map<String, Value> = old
        .keys()
        .filter(|name| !new.contains_key(*name))
        .map(|name| (name.clone(), Value::Null))
        .collect();
    for (name, value) in new.iter().filter(|(name, value)| old.get(*name) != Some(value)) {
        patch.insert(
            name.clone(),
            difference(old.get(name).unwrap_or(&Value::Null), value),
        );
    }
    Value::Object(patch)
}

fn variables(map: &BTreeMap<String, i64>) -> Vec<Value> {
    map.iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

proptest! {
    #[test]
    fn a_merge_patch_leads_from_any_object_to_any_other(from in tree(), to in tree()) {
        prop_assert_eq!(merge::apply(&from, &difference(&from, &to)), to);
    }

    #[test]
    fn merging_by_key_is_what_maps_do(
        before in prop::collection::btree_map("[a-f]", 0..9_i64, 0..6),
        change in prop::collection::btree_map("[a-f]", prop::option::of(0..9_i64), 0..6),
    ) {
        let patch: Vec<Value> = change.iter().map(|(name, value)| match value {
            Some(value) => json!({"name": name, "value": value}),
            None => json!({"name": name, "$patch": "delete"}),
        }).collect();
        let mut wanted = before.clone();
        for (name, value) in &change {
            match value {
                Some(value) => wanted.insert(name.clone(), *value),
                None => wanted.remove(name),
            };
        }
        let result = strategically("Pod", &json!({"env": variables(&before)}), &json!({"env": patch}));
        let mut found = result["env"].as_array().cloned().unwrap_or_default();
        found.sort_by_key(|one| one["name"].to_string());
        prop_assert_eq!(found, variables(&wanted));
    }

    #[test]
    fn a_named_order_is_kept(names in Just(vec!["a", "b", "c", "d"]).prop_shuffle(),
                             order in Just(vec!["a", "b", "c", "d"]).prop_shuffle()) {
        let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let patch = json!({"$setElementOrder/env": list(&order)});
        let result = strategically("Pod", &json!({"env": list(&names)}), &patch);
        prop_assert_eq!(&result["env"], &Value::from(list(&order)));
    }
}
