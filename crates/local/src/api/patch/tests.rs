//! Patches: recorded ones, and properties against models that are simpler than the code.
#![allow(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{PatchKind, apply, merge, strategic};
use crate::api::fields::Rule;
use crate::api::registry::Registry;

#[expect(clippy::needless_pass_by_value, reason = "reads better at the call")]
fn deployment(containers: Value) -> Value {
    json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": containers}}}})
}

fn strategically(kind: &str, current: &Value, patch: &Value) -> Value {
    let group = if kind == "Deployment" { "apps" } else { "" };
    strategic::apply(&Rule::of_kind(group, kind), current, patch).expect("is a patch")
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
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
    assert_eq!(
        failed.details,
        json!({}),
        "kubectl would print causes without a field"
    );
    let moved = answer(
        PatchKind::Json,
        r#"[{"op": "move", "from": "/data/a", "path": "/data/b"}]"#,
    );
    assert_eq!(moved, Ok(json!({"data": {"b": "1"}})));
}

#[test]
fn what_a_strategic_patch_says_wrongly_is_answered_as_kubernetes_does() {
    let refused = |patch: Value| {
        let current = containers(json!([{"name": "a"}]));
        let status = strategic::apply(&Rule::of_kind("", "Pod"), &current, &patch).expect_err("is no patch");
        (status.code, status.message)
    };
    assert_eq!(
        refused(containers(json!([{"image": "x"}]))),
        (
            500,
            "map: map[image:x] does not contain declared merge key: name".to_owned()
        )
    );
    assert_eq!(
        refused(json!({"spec": {"$patch": "merge", "x": 1}})),
        (
            500,
            "unknown patch type: merge in map: map[$patch:merge x:1]".to_owned()
        )
    );
    assert_eq!(
        refused(json!({"spec": {"$retainKeys": ["a"], "b": 1}})),
        (400, "invalid patch format of retainKeys".to_owned())
    );
    let disordered = json!({"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b"}, {"name": "a"}]}});
    assert_eq!(
        refused(disordered),
        (
            500,
            "The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:a] \
             map[name:b]]\n"
                .to_owned()
        )
    );
}

#[test]
fn what_is_not_there_is_neither_merged_nor_deleted() {
    let patch = json!({"spec": {"affinity": {"$patch": "delete"}, "tolerations": null,
        "containers": [{"name": "gone", "$patch": "delete"}, {"name": "new", "image": null}],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "$patch": "delete"}]}});
    let after = json!({"spec": {"containers": [{"name": "a"}, {"name": "new"}],
        "volumes": [{"name": "v", "emptyDir": {}}]}});
    assert_eq!(
        strategically("Pod", &containers(json!([{"name": "a"}])), &patch),
        after
    );
}

#[test]
fn copies_cannot_blow_an_object_up_nor_moves_make_it_deep() {
    let registry = Registry::built_in();
    let kind = registry.find("", "v1", "configmaps").expect("it is built in");
    let current = json!({"data": {"a": "0123456789"}});
    let doubling: Vec<Value> = (0..60)
        .map(|round| json!({"op": "copy", "from": "", "path": format!("/x{round}")}))
        .collect();
    let refused = apply(
        kind,
        PatchKind::Json,
        &current,
        Value::from(doubling).to_string().as_bytes(),
    );
    assert_eq!(refused.expect_err("is too much").code, 422);
    let mut deepening = Vec::new();
    for _ in 0..3000 {
        deepening.push(json!({"op": "add", "path": "/n", "value": {}}));
        deepening.push(json!({"op": "move", "from": "/data", "path": "/n/d"}));
        deepening.push(json!({"op": "move", "from": "/n", "path": "/data"}));
    }
    let refused = apply(
        kind,
        PatchKind::Json,
        &current,
        Value::from(deepening).to_string().as_bytes(),
    );
    assert_eq!(refused.expect_err("is too deep").message, "exceeded max depth");

    // The innermost object is empty, but a level all the same.
    for (rounds, fits) in [(125, true), (126, false)] {
        let mut patch = vec![json!({"op": "add", "path": "/data", "value": {}})];
        for _ in 0..rounds {
            patch.push(json!({"op": "add", "path": "/n", "value": {}}));
            patch.push(json!({"op": "move", "from": "/data", "path": "/n/d"}));
            patch.push(json!({"op": "move", "from": "/n", "path": "/data"}));
        }
        let patch = Value::from(patch).to_string();
        let patched = apply(kind, PatchKind::Json, &current, patch.as_bytes());
        assert_eq!(patched.is_ok(), fits, "{rounds}");
    }
    let many = vec![json!({"op": "test", "path": "/data/a", "value": "0123456789"}); 10_001];
    let refused = apply(
        kind,
        PatchKind::Json,
        &current,
        Value::from(many).to_string().as_bytes(),
    );
    assert_eq!(refused.expect_err("are too many").code, 413);
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
        let pod = |list: Vec<Value>| containers(json!([{"name": "c", "env": list}]));
        let result = strategically("Pod", &pod(variables(&before)), &pod(patch));
        let list = &result["spec"]["containers"][0]["env"];
        let mut found = list.as_array().cloned().unwrap_or_default();
        found.sort_by_key(|one| one["name"].to_string());
        prop_assert_eq!(found, variables(&wanted));
    }

    #[test]
    fn a_named_order_is_kept(names in Just(vec!["a", "b", "c", "d"]).prop_shuffle(),
                             order in Just(vec!["a", "b", "c", "d"]).prop_shuffle()) {
        let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let patch = json!({"spec": {"$setElementOrder/containers": list(&order)}});
        let result = strategically("Pod", &containers(list(&names).into()), &patch);
        prop_assert_eq!(result, containers(list(&order).into()));
    }
}
