//! Rights as users write them: roles and bindings in, decisions and messages out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Access, Index, Objects, Resource, Rights, Rule, What, aggregate, default_roles, rule};
use crate::api::User;
use crate::api::client::Object;

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        ..User::default()
    }
}

fn objects(list: Value) -> Vec<Object> {
    let Value::Array(list) = list else {
        panic!("{list} is no list")
    };
    list.into_iter().map(Arc::new).collect()
}

/// Pods of namespace `n` may be read by `bob`; everything in all namespaces by ServiceAccount `robot` of `n`.
fn some_rights() -> Objects {
    Objects {
        cluster_roles: objects(json!([
            {"metadata": {"name": "scaler"}, "rules": [
                {"verbs": ["get"], "apiGroups": [""], "resources": ["*/scale"]},
                {"verbs": ["get"], "nonResourceURLs": ["/debug/*"]}]},
            {"metadata": {"name": "all"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]},
        ])),
        cluster_role_bindings: objects(json!([
            {"metadata": {"name": "robot"}, "roleRef": {"kind": "ClusterRole", "name": "all"},
             "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "n"}]},
            {"metadata": {"name": "scalers"}, "roleRef": {"kind": "ClusterRole", "name": "scaler"},
             "subjects": [{"kind": "Group", "name": "scalers"}]},
            {"metadata": {"name": "broken"}, "roleRef": {"kind": "ClusterRole", "name": "gone"},
             "subjects": [{"kind": "User", "name": "carl"}]},
        ])),
        roles: objects(json!([
            {"metadata": {"name": "reader", "namespace": "n"}, "rules": [
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
                {"verbs": ["update"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"]}]},
        ])),
        role_bindings: objects(json!([
            {"metadata": {"name": "bob", "namespace": "n"}, "roleRef": {"kind": "Role", "name": "reader"},
             "subjects": [{"kind": "User", "name": "bob"}]},
        ])),
    }
}

fn rights() -> Rights {
    let rights = Rights::default();
    rights.replace(some_rights);
    rights
}

/// `VERB RESOURCE[/PART] [NAMESPACE [NAME]]` in the core group.
fn allowed(rights: &Rights, user: &User, words: &str) -> bool {
    let words: Vec<&str> = words.split(' ').collect();
    let (resource, subresource) = words[1].split_once('/').unwrap_or((words[1], ""));
    let of = Resource {
        group: "",
        resource,
        subresource,
        namespace: words.get(2).copied().unwrap_or_default(),
        name: words.get(3).copied().unwrap_or_default(),
    };
    let what = What::Resource(of);
    rights.allows(user, &Access { verb: words[0], what })
}

#[test]
fn a_role_holds_in_its_namespace_for_its_verbs_parts_and_names() {
    let (rights, bob) = (rights(), user("bob", &[]));
    for words in [
        "get pods n",
        "list pods n",
        "get pods/log n x",
        "update configmaps n one",
    ] {
        assert!(allowed(&rights, &bob, words), "{words}");
    }
    for words in [
        "get pods",
        "get pods m",
        "delete pods n",
        "get pods/exec n x",
        "update configmaps n two",
        "update configmaps n",
        "get secrets n",
    ] {
        assert!(!allowed(&rights, &bob, words), "{words}");
    }
}

#[test]
fn groups_service_accounts_parts_of_anything_and_paths() {
    let rights = rights();
    let robot = user("system:serviceaccount:n:robot", &[]);
    assert!(allowed(&rights, &robot, "delete nodes"));
    assert!(!allowed(
        &rights,
        &user("system:serviceaccount:m:robot", &[]),
        "delete nodes"
    ));
    let scaler = user("x", &["scalers"]);
    assert!(allowed(&rights, &scaler, "get deployments/scale m d"));
    assert!(!allowed(&rights, &scaler, "get deployments m d"));
    let path = |path| {
        let what = What::Path(path);
        rights.allows(&scaler, &Access { verb: "get", what })
    };
    assert!(path("/debug/pprof") && !path("/debug") && !path("/api"));
    assert!(allowed(
        &Rights::default(),
        &user("root", &["system:masters"]),
        "delete nodes"
    ));
}

#[test]
fn a_refusal_says_who_cannot_do_what_where() {
    let rights = rights();
    let refused = |user: &User, verb, what| rights.require(user, &Access { verb, what }).unwrap_err();
    let pods = Resource {
        resource: "pods",
        namespace: "y",
        ..Resource::default()
    };
    let status = refused(&user("x", &[]), "list", What::Resource(pods));
    assert_eq!((status.code, status.reason), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"y\""
    );
    assert_eq!(status.details, json!({"kind": "pods"}));
    let scale = Resource {
        group: "apps",
        resource: "deployments",
        subresource: "scale",
        name: "d",
        ..Resource::default()
    };
    assert_eq!(
        refused(&user("carl", &[]), "get", What::Resource(scale)).message,
        "deployments.apps \"d\" is forbidden: User \"carl\" cannot get resource \"deployments/scale\" in API group \
         \"apps\" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"
    );
    let status = refused(&user("system:anonymous", &[]), "get", What::Path("/<x>"));
    assert_eq!(
        status.message,
        "forbidden: User \"system:anonymous\" cannot get path \"/&lt;x&gt;\""
    );
}

#[test]
fn nobody_gives_away_what_they_do_not_have() {
    let rights = rights();
    let bob = user("bob", &["system:authenticated"]);
    let role = |rules: Value| json!({"metadata": {"name": "r", "namespace": "n"}, "rules": rules});
    let held = role(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    assert_eq!(rights.check_escalation(&bob, &super::ROLES, &held, None), Ok(()));
    let more = role(json!([{"verbs": ["get", "delete", "watch"], "apiGroups": [""], "resources": ["pods"]}]));
    let status = rights
        .check_escalation(&bob, &super::ROLES, &more, None)
        .unwrap_err();
    assert_eq!(
        status.message,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"bob\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], \
         Verbs:[\"delete\" \"watch\"]}"
    );
    assert_eq!(
        rights.check_escalation(&bob, &super::ROLES, &more, Some(&more)),
        Ok(()),
        "what is there may have its finalizers removed"
    );
    let binding = json!({"metadata": {"name": "b", "namespace": "n"},
        "roleRef": {"kind": "ClusterRole", "name": "all"}, "subjects": []});
    let refused = rights.check_escalation(&bob, &super::ROLE_BINDINGS, &binding, None);
    assert_eq!(refused.unwrap_err().code, 403);
    let robot = user("system:serviceaccount:n:robot", &[]);
    assert_eq!(
        rights.check_escalation(&robot, &super::ROLE_BINDINGS, &binding, None),
        Ok(())
    );
    let mut nowhere = binding;
    nowhere["roleRef"]["name"] = json!("gone");
    let bob = rights.check_escalation(&bob, &super::ROLE_BINDINGS, &nowhere, None);
    assert_eq!(bob.unwrap_err().code, 404);
}

#[test]
fn a_label_gives_rights_too_since_roles_are_aggregated_by_it() {
    let bob = user("bob", &["system:authenticated"]);
    let role = json!({"metadata": {"name": "secrets", "resourceVersion": "1", "finalizers": ["a/b"]},
        "rules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"]}]});
    let check =
        |changed: &Value| rights().check_escalation(&bob, &super::CLUSTER_ROLES, changed, Some(&role));
    let mut released = role.clone();
    released["metadata"]["finalizers"] = json!([]);
    assert_eq!(check(&released), Ok(()));
    let mut labelled = role.clone();
    labelled["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    assert_eq!(check(&labelled).map_err(|status| status.code), Err(403));
}

#[test]
fn a_rule_of_long_lists_is_not_written_out() {
    let bob = user("bob", &["system:authenticated"]);
    let list: Vec<String> = (0..20_000).map(|number| format!("x{number}")).collect();
    let rule = json!({"verbs": list, "apiGroups": list, "resources": list, "resourceNames": list});
    let role = json!({"metadata": {"name": "r", "namespace": "n"}, "rules": [rule]});
    let refused = rights().check_escalation(&bob, &super::ROLES, &role, None);
    assert_eq!(refused.map_err(|status| status.code), Err(403));
}

#[test]
fn aggregated_roles_have_the_rules_of_their_parts() {
    let all = default_roles::cluster_roles();
    let named = |name: &str| all.iter().find(|role| role["metadata"]["name"] == name).unwrap();
    for name in ["admin", "edit", "view"] {
        let role = named(name);
        let rules = aggregate::rules(role, &all).unwrap();
        assert_eq!(
            role["rules"],
            Value::Array(rules),
            "{name} begins as aggregation leaves it"
        );
    }
    let (view, edit, admin) = (named("view"), named("edit"), named("admin"));
    assert_eq!(rule::missing(&Rule::all_of(edit), &Rule::all_of(view)), []);
    assert_eq!(rule::missing(&Rule::all_of(admin), &Rule::all_of(edit)), []);
    assert_ne!(rule::missing(&Rule::all_of(view), &Rule::all_of(edit)), []);
    assert!(aggregate::rules(named("cluster-admin"), &all).is_none());
}

#[test]
fn everybody_may_discover_and_ask_about_themselves() {
    let objects = |list: Vec<Value>| list.into_iter().map(Arc::new).collect();
    let rights = Rights::default();
    rights.replace(|| Objects {
        cluster_roles: objects(default_roles::cluster_roles()),
        cluster_role_bindings: objects(default_roles::cluster_role_bindings()),
        ..Objects::default()
    });
    let path = |user: &User, path| {
        let what = What::Path(path);
        rights.allows(user, &Access { verb: "get", what })
    };
    let known = user("x", &["system:authenticated"]);
    assert!(path(&known, "/apis/apps/v1") && path(&known, "/openapi/v3") && path(&known, "/version"));
    let unknown = User::anonymous();
    assert!(path(&unknown, "/version") && path(&unknown, "/readyz") && !path(&unknown, "/apis"));
    assert!(!allowed(&rights, &known, "list pods default"));
    let index = Index::of(&Objects::default());
    assert!(index.rules(&known, "default").is_empty());
}
